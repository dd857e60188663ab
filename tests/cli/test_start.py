"""The script `agentkit` before its package is imported, and after the command has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
STARTED = "from agentkit_start import main\nmain()\n"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def started(
    folder: Path, *arguments: str, closed: str = "", first: Path | None = None
) -> subprocess.Popen[str]:
    """Starts the script; `closed` is a redirection, and modules are looked for in `first` first."""
    places = [*([first] if first else []), REPO, REPO / "tools", REPO / "evals"]
    return subprocess.Popen(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", STARTED, *arguments],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if name[:9] != "AGENTKIT_"},
            "PYTHONPATH": os.pathsep.join(map(str, places)),
            "AGENTKIT_RUNS": str(folder / "runs"),
            "AGENTKIT_CONFIG": os.devnull,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def package(folder: Path, code: str) -> Path:
    """A package in the place of agentkit, with this code for its command."""
    (folder / "agentkit" / "cli").mkdir(parents=True)
    (folder / "agentkit" / "__init__.py").touch()
    (folder / "agentkit" / "cli" / "__init__.py").write_text(code)
    return folder


INTERRUPTED = """
import signal


class Member:
    def __set_name__(self, owner, name):
        signal.raise_signal(signal.SIGINT)


class Owner:  # Python 3.11 makes a RuntimeError of what is raised in here
    member = Member()
"""


def test_ctrl_c_while_the_package_is_imported_ends_with_one_line(tmp_path: Path) -> None:
    with started(tmp_path, first=package(tmp_path / "p", INTERRUPTED)) as script:
        assert script.communicate() == ("", "agentkit: stopped\n")
    assert script.returncode == 130


def test_no_file_gets_the_number_of_a_standard_stream_that_is_closed(tmp_path: Path) -> None:
    code = "import os, sys\ndef main():\n    sys.exit(os.open(os.devnull, os.O_RDONLY))\n"
    with started(tmp_path, closed="<&- >&- 2>&-", first=package(tmp_path / "p", code)) as script:
        assert script.wait() >= 3


def test_a_question_to_somebody_whose_input_is_closed_is_not_answered(tmp_path: Path) -> None:
    with started(tmp_path, "runs", "delete", "x", closed="<&-") as script:
        _, err = script.communicate()
    assert script.returncode == 1
    assert "nothing was answered, so nothing was done" in err


def interrupted(script: subprocess.Popen[str]) -> str:
    """What the script says on Ctrl-C. It is pressed again where Python is deaf for it: asyncio does
    not hear a signal that comes on its way into the selector.
    """
    while True:
        script.send_signal(signal.SIGINT)
        try:
            return script.communicate(timeout=15)[1]
        except subprocess.TimeoutExpired:
            continue


BUSY = """
import threading
from agentkit import Agent, tool
from agentkit.testing import ScriptedModel, call


@tool(effect="pure")
def search() -> str:
    \"""Searches.\"""
    print("I search.")
    threading.Event().wait()
    return ""


agent = Agent(ScriptedModel([call("search")]), tools=[search])
"""


def test_a_tool_that_never_ends_does_not_keep_a_stopped_command(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(BUSY)
    with started(tmp_path, "run", "Where?", "--agent", "busy.py") as script:
        assert script.stderr is not None
        assert any("I search." in line for line in script.stderr)
        err = interrupted(script)
    assert script.returncode == 130
    assert "agentkit: stopped" in err
    assert "Traceback" not in err
