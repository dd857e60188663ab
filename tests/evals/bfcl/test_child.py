from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from agentkit_evals.bfcl import suite as suite_module
from agentkit_evals.core import SuiteError
from agentkit_evals.isolated import Child

pytestmark = pytest.mark.anyio

CHILD = Path(suite_module.__file__).with_name("child.py")
TRY = """
import sys, runpy
sys.stdin.readline()  # who asks must not find the process gone
child = runpy.run_path(sys.argv[1])
child["_bound"](sys.argv[2])
try:
    exec(sys.argv[3])
except PermissionError as error:
    print('{"refused": "%s"}' % str(error).split(" ")[0])
except MemoryError:
    print('{"refused": "memory"}')
else:
    print('{"done": true}')
"""


async def tried(code: str, scratch: str) -> dict[str, object]:
    """What becomes of code in a process that is bounded as the suite's is."""
    child = Child([sys.executable, "-I", "-S", "-c", TRY, str(CHILD), scratch, code], scratch)
    try:
        return await child.ask({})
    finally:
        child.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "refused"),
    [
        ("import socket; socket.socket().connect(('127.0.0.1', 1))", "socket.__new__"),
        ("import subprocess; subprocess.Popen(['true'])", "subprocess.Popen"),
        ("import os; os.system('true')", "os.system"),
        ("import os; os.fork()", "os.fork"),
        ("open('/tmp/../tmp/agentkit-escaped', 'w')", "open"),
        ("open(sys.argv[2] + '/../agentkit-escaped', 'a')", "open"),
        ("import os; os.remove(sys.argv[1])", "os.remove"),
        ("import os; os.symlink('/etc', '/tmp/agentkit-escaped')", "os.symlink"),
        ("x = bytearray(3 << 30)", "memory"),
    ],
)
async def test_the_child_is_refused_what_it_does_not_need(code: str, refused: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        assert await tried(code, scratch) == {"refused": refused}


async def test_the_child_may_read_and_write_its_own_folder() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        assert await tried("open(sys.argv[2] + '/x', 'w').write('x')", scratch) == {"done": True}
        assert (Path(scratch) / "x").read_text() == "x"


async def test_a_child_that_dies_is_an_error_of_the_suite() -> None:
    ended = pytest.raises(SuiteError, match=r"it ended \(exit code 3\)")
    with tempfile.TemporaryDirectory() as scratch, ended:
        await tried("raise SystemExit(3)", scratch)
