"""Every command on a terminal that is narrow and knows only ASCII."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.screen import Terminal

REPO = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COMMANDS = [
    "--help",
    "--version",
    "run|--help",
    "chat|--help",
    "eval|run|--help",
    "run|Where is it?|--agent|own.py",
    "run|Where is it?|--agent|own.py|--json",
    "runs|list",
    "runs|show|last",
    "runs|show|last|--full",
    "runs|view|last",
    "runs|export|last",
    "runs|replay|last|--agent|own.py",
    "context|show|last",
    "tools|list|own.py:find",
    "tools|list|own.py:find|--json",
    "tools|show|own.py",
    "tools|lint|own.py",
    "tools|call|own.py:find|find|{}",
    "faults|list",
    "config",
    "doctor",
    "serve|tiny|--dry-run",
    "eval|suites|--help",
    "eval|list",
]

PLAYED = """
import io, json, sys
from agentkit.cli import main

told = []
for argv in json.loads(sys.argv[1]):
    pages = [io.BytesIO(), io.BytesIO()]
    kept = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (io.TextIOWrapper(page, "ascii") for page in pages)
    sys.argv, sys.stdin = ["agentkit", *argv], io.StringIO()
    try:
        main()
    except SystemExit as end:
        code = end.code
    streams, (sys.stdout, sys.stderr) = (sys.stdout, sys.stderr), kept
    for stream in streams:
        stream.flush()
    told.append([code, *(page.getvalue().decode("ascii") for page in pages)])
print(json.dumps(told))
"""

OWN = '''
from agentkit import Agent, tool
from agentkit.testing import ScriptedModel, call, say


@tool(effect="pure", labels=set())
def find(text: str = "…") -> str:
    """Finds → things."""
    return "on the shelf … 中文 🎉"


def agent():
    return Agent(ScriptedModel([call("find", text="→"), say("“There” … 🎉")]), tools=[find])
'''


@pytest.mark.parametrize("columns", [24, 60])
def test_every_command_works_where_there_is_little_room_and_only_ascii(
    tmp_path: Path, columns: int
) -> None:
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AGENTKIT_")}
    done = subprocess.run(
        [sys.executable, "-c", PLAYED, json.dumps([line.split("|") for line in COMMANDS])],
        cwd=tmp_path,
        env={
            **environment,
            "COLUMNS": str(columns),
            "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "tools"), str(REPO / "evals")]),
            "AGENTKIT_RUNS": str(tmp_path / "state" / "runs"),
            "AGENTKIT_CONFIG": os.devnull,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = dict(zip(COMMANDS, json.loads(done.stdout), strict=True))
    for line, (code, out, err) in told.items():
        assert code in (0, 1), f"{line}: {code} {out} {err}"
        assert "Traceback" not in err, line
        assert "fault of agentkit" not in err, f"{line}: {err}"
        assert out or err, line
    answered = told["run|Where is it?|--agent|own.py"][1]
    assert answered == '"There" ... \\ud83c\\udf89\n'
    document = json.loads(told["run|Where is it?|--agent|own.py|--json"][1])
    assert document["output"] == "“There” … 🎉"
    assert json.loads(told["tools|list|own.py:find|--json"][1])[0]["name"] == "find"


def test_a_width_of_0_is_no_width(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from agentkit.cli import main; main()", "tools", "--help"],
        env={**os.environ, "PYTHONPATH": str(REPO), "COLUMNS": "0", "AGENTKIT_RUNS": "off"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Usage:" in done.stdout


def test_a_terminal_that_only_prints_is_as_wide_as_it_is() -> None:
    env = {**os.environ, "TERM": "dumb", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    env = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}
    with Terminal(["config", "--help"], env, columns=50) as terminal:
        assert terminal.until_it_ends() == 0
        tops = [line for line in terminal.all.split("\n") if line.startswith("╭")]
    assert tops
    assert all(line.endswith("╮") for line in tops)
