"""Runs pytest again and again in one folder, each time in a fork of a process that has loaded all
that is not under test: most of what a short test run costs is loading.

Each line of its input is a JSON object: `arguments` for pytest, `output` (a file), `seconds` at
most. Each line of its output is the exit code, or `time` where time was up.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from contextlib import suppress

import pytest

_LOADED = (
    *("anyio", "httpx2", "hypothesis", "jsonschema"),
    *("pydantic", "referencing", "structlog", "tenacity", "trio", "xdist", "pytest_timeout"),
)
"""Libraries that the tests of agentkit use; one that is missing is not needed."""


def main() -> None:
    """Serves requests until there are no more."""
    for name in _LOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _test(request["arguments"], request["output"])
        print(_wait(child, request["seconds"]), flush=True)


def _test(arguments: list[str], output: str) -> None:
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 3
    try:
        code = int(pytest.main(arguments))
    except BaseException:  # noqa: BLE001 - the process ends here, and its last words are kept
        traceback.print_exc()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _wait(child: int, seconds: float) -> str:
    end = time.monotonic() + seconds
    status = 0
    done = 0
    while not done and time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # and what it has started
    if done:
        return str(os.waitstatus_to_exitcode(status))
    os.waitpid(child, 0)
    return "time"


if __name__ == "__main__":
    main()
