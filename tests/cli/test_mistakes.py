"""Forty first mistakes on the command line: each is told in one sentence with the remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MISTAKES: dict[str, tuple[int, str]] = {
    "rnu": (2, "Did you mean 'run'?; agentkit --help shows what there is"),
    "--versoin": (2, "--version); agentkit --help shows"),
    "run|?|--projct|.": (2, "Possible options: --project"),
    "run|?|--allow|all": (2, "'all' is not one of 'read-only', 'ask', 'auto-edit', 'full'"),
    "run|?|--max-steps|zero": (2, "'--max-steps'"),
    "run|?|--max-steps|0": (2, "greater than or equal to 1"),
    "run|?": (2, "--model http://localhost:8000/v1, or set AGENTKIT_BASE_URL"),
    "run|?|-m|gemma": (2, "--model gemma: not an address; it should look like http://localhost"),
    "run|?|-m|localhost:8000": (2, "it should look like http://localhost:8000/v1"),
    "run|?|-m|http://127.0.0.1:9": (1, "no server answers at http://127.0.0.1:9"),
    "run|?|-p|nowhere|-m|tiny": (2, "--project: there is no directory"),
    "run||-m|tiny": (2, "the question is empty; say what to find out or do"),
    "run|-m|tiny": (2, "the question is empty"),
    "run|where|is|it": (2, "unexpected extra argument(s) (is it); agentkit run --help"),
    "run|?|--agent|nowhere.py": (2, "nowhere.py; write it as FILE.py:NAME"),
    "run|?|--agent|own.py:nobody": (2, "has no agent 'nobody': there is helper and breaking"),
    "run|?|--agent|toolless.py": (2, "has no agent 'agent': name an Agent, or a function"),
    "run|?|--agent|script.py": (
        2,
        "script.py, line 11); what runs an agent goes below `if __name__",
    ),
    "run|?|--agent|wrong.py": (2, "wrong.py, line 3)"),
    "run|?|--agent|own.py:helper|--journal|mysql://u:p@h/x": (
        1,
        "mysql://h/x is no address of a j",
    ),
    "run|?|--agent|own.py:helper|--allow|full|--mcp|deep.json": (2, "deep.json is no JSON"),
    "run|?|-m|tiny|--temperature|inf": (2, "infinity is no temperature"),
    "run|?|-m|tiny|-p|loop": (2, "--project: there is no directory"),
    "run|?|-m|http://h/\udcff": (1, "it should look like http://localhost:8000/v1"),
    "runs|show|\udcff": (1, "'\\udcff' is no text"),
    "serve|http://127.0.0.1:9/v1": (2, "agentkit doctor http://127.0.0.1:9/v1 examines it"),
    "serve|own.py": (2, "own.py is a file: name the folder of a checkpoint"),
    "run|?|--agent|nothere:agent": (2, "no module 'nothere' here; write it as module:object"),
    "run|?|--agent|broken.py": (2, "broken.py, line 2)"),
    "run|?|--agent|own.py:helper|--mcp|none.json": (2, "none.json: No such file or directory"),
    "run|?|--agent|own.py:breaking": (1, "own.py, line 10)"),
    "run|?|-m|tiny|--allow|full": (2, "--model tiny only reads; --allow full needs a Gemma 4"),
    "run|?|-m|tiny|--temperature|hot": (2, "'--temperature'"),
    "run|?|-m|tiny|--journal|/proc/no/j.db": (1, "the journal /proc/no/j.db cannot be used"),
    "run|?|-m|tiny|--mcp|x.json": (2, "add --allow ask and decide on each call"),
    "--all": (2, "--all goes with --version"),
    "--json|run|?": (2, "--json goes with --version"),
    "runs|show|nope": (2, "there is no run 'nope'"),
    "runs|resume|nope": (2, "agentkit runs list shows what it has"),
    "runs|delete|nope|-y": (2, "agentkit runs list shows those there"),
    "runs|replay|last|--agent|own.py": (2, "own.py has no agent 'agent'"),
    "tools|list|nowhere": (2, "no module 'nowhere' here; write it as module:object"),
    "tools|list|own.py:nothing": (2, "own.py has no 'nothing'"),
    "tools|list|own.py:number": (2, "name a toolset, a function, or a list of them"),
    'tools|call|own.py|find|{"text":': (2, "cannot be read as JSON"),
    "tools|lint|nowhere.py": (2, "there is no file nowhere.py"),
    "tools|show|toolless.py": (2, "no function marked @tool, no Toolset, no Agent with one"),
    "run|?|--model|tiny|--seed|one": (2, "'--seed'"),
    "run|own.py|?": (2, "unexpected extra argument(s) (?); agentkit run --help"),
    "runs|delete": (2, "name the runs to delete, or say --older-than 30d"),
    "conversations|show|nope": (2, "agentkit conversations list shows those there"),
    "worker": (2, "Missing option '--agent'"),
    "mcp|serve|nowhere": (2, "no module 'nowhere' here"),
    "mcp|serve|own.py|--port|0": (2, "'--port'"),
    "doctor|localhost:8000": (2, "it should look like http://localhost:8000/v1"),
    "serve": (2, "agentkit serve --help shows what there is"),
    "serve|./nowhere": (2, "name the folder of a checkpoint, or a Hugging Face id"),
    "chat|--resume|nope|-m|tiny": (2, "agentkit conversations list shows those there"),
    "chat|-m|gemma": (2, "it should look like http://localhost:8000/v1"),
    "faults|run|nosuch": (2, "no scenario is named nosuch"),
    "faults|serve|nosuch": (2, "there is no fault 'nosuch'; there are"),
    "eval|run|nosuch|-m|tiny": (2, "there are bfcl, context, faults"),
    "eval|compare|nope|nope2": (2, "`agentkit eval list` shows them"),
    "accept|localhost:8000": (2, "it should look like http://localhost:8000/v1"),
    "config|--allow|none": (2, "'none' is not one of"),
}

ALONE = ["", "tools", "runs", "faults"]
"""Commands of commands, with nothing behind them."""

PLAYED = """
import contextlib, io, json, sys
from agentkit.cli import main

for argv in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    sys.argv, sys.stdin = ["agentkit", *argv], io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    if isinstance(code, str):  # Python itself would say it
        err.write(code)
        code = 1
    print(json.dumps([code, err.getvalue()]))
"""

OWN = '''
from agentkit import Agent, tool
from agentkit.testing import ScriptedModel, say

number = 3
helper = Agent(ScriptedModel([say("Yes.")]))


def instructions(context):
    raise KeyError("shelf")


breaking = Agent(ScriptedModel([say("Yes.")]), instructions=instructions)


@tool(effect="pure", labels=set())
def find(text: str) -> str:
    """Finds."""
    return text
'''

SCRIPT = """
import asyncio
import warnings

warnings.simplefilter("ignore")  # Python's about a coroutine that nobody awaits

async def main():
    print("I run.")


asyncio.run(main())
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each mistake comes to; all in one process, for its start takes longest."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "own.py").write_text(OWN)
    (folder / "broken.py").write_text("\nimport shopp\n")
    (folder / "toolless.py").write_text("number = 3\n")
    (folder / "script.py").write_text(SCRIPT)
    (folder / "wrong.py").write_text("from agentkit import Agent\n\nagent = Agent('http://h/v1')\n")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "loop").symlink_to("loop")
    lines = [*MISTAKES, *ALONE]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AGENTKIT_")}
    done = subprocess.run(
        [sys.executable, "-c", PLAYED],
        cwd=folder,
        env={
            **environment,
            "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "tools"), str(REPO / "evals")]),
            "AGENTKIT_RUNS": str(folder / "state" / "runs"),
            "AGENTKIT_CONFIG": os.devnull,
        },
        input=json.dumps([line.split("|") if line else [] for line in lines]),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(lines, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_told_in_one_sentence_with_the_remedy(line: str, told: dict[str, Any]) -> None:
    code, remedy = MISTAKES[line]
    exit_code, err = told[line]
    beside = (
        "read-only to commands: ",
        "↻ ",
        "look at it with: ",
        "go on with: ",
        "the doctor's examination",
    )
    (said,) = [row for row in err.splitlines() if not row.startswith(beside)]
    assert said.startswith("agentkit")
    assert remedy in said
    assert "Traceback" not in said
    assert exit_code == code


def test_there_are_at_least_forty() -> None:
    assert len(MISTAKES) >= 40


@pytest.mark.parametrize("line", ALONE)
def test_a_command_of_commands_named_alone_shows_its_help_and_no_mistake(
    line: str, told: dict[str, Any]
) -> None:
    assert told[line] == [2, ""]


def test_a_fault_of_agentkit_is_a_sentence_too_and_its_traceback_is_in_the_log(
    tmp_path: Path,
) -> None:
    script = (
        "import sys\nfrom agentkit.cli import main\nfrom agentkit.cli.app import app\n"
        "@app.command()\ndef breaks():\n    raise KeyError('inside')\n"
        "sys.argv = ['agentkit', 'breaks']\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(REPO), "AGENTKIT_RUNS": str(tmp_path / "runs")},
        capture_output=True,
        text=True,
        check=False,
    )
    log = tmp_path / "agentkit.log"
    assert done.returncode == 1
    assert done.stderr == (
        f"agentkit: KeyError: 'inside'. This is a fault of agentkit; the traceback is in {log}\n"
    )
    assert "Traceback (most recent call last)" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
