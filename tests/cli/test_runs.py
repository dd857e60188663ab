from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest
from typer.testing import CliRunner, Result

from agentkit import Agent, Limits, ReasoningDelta, SQLiteJournal, TextDelta, ToolError, tool
from agentkit.cli.app import app
from agentkit.events import ModelEvent
from agentkit.messages import ModelRequest
from agentkit.policy import Approve, Policy
from agentkit.testing import ScriptedModel, call, calls, cut, say

AGENT = '''
from agentkit import Agent, tool
from agentkit.policy import Approve, Policy

@tool(labels={"writes"})
def add(a: int, b: int) -> int:
    """Add two numbers."""
    raise AssertionError("a replay runs no tool")

def agent(model, project):
    return Agent(
        model,
        instructions=f"Add for {project.name}.",
        tools=[add],
        policy=Policy.ask("writes"),
        observers=(),
    )

number = 3

def broken(model, project):
    return 1 / 0
'''


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_RUNS", str(tmp_path / "runs"))
    (tmp_path / "adder.py").write_text(AGENT)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def record(
    *script: Any, run_id: str = "sum", journal: SQLiteJournal | None = None, **options: Any
) -> None:
    @tool(labels={"writes"})
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        if a == 7:
            raise ToolError("no sevens")
        return a + b

    chosen: dict[str, Any] = {"approve": lambda _approval: Approve(), **options}
    Agent(
        ScriptedModel(script),
        instructions="Add for shop.",
        tools=[add],
        policy=Policy.ask("writes"),
        **chosen,
    ).run_sync("What is 1 + 2?", run_id=run_id, journal=journal)


SCRIPT = [
    calls(("Add", {"a": 1, "b": 2}), ("add", {"a": 7, "b": 0}), reasoning="Think.\n" * 9),
    cut(say("It")),
    say("It is 3."),
]


# --- list and show -----------------------------------------------------------------------------


def test_the_list_has_a_line_for_each_run() -> None:
    record(say("Hi."), run_id="first")
    record(*SCRIPT, run_id="second")
    record(call("add", a=1, b=1), run_id="third", approve=None)
    listed = run("runs", "list")
    assert listed.exit_code == 0
    lines = listed.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "third", "second", "first"]
    assert "answer" in lines[2]
    assert "paused" in lines[1]
    assert lines[2].endswith("What is 1 + 2?")
    short = run("runs", "list", "-n", "1").stdout
    assert "… and older ones" in short
    assert "third" in short
    assert "first" not in short


def test_a_file_that_is_no_run_file_is_listed_as_such(tmp_path: Path) -> None:
    record(say("Hi."))
    (tmp_path / "runs" / "odd.jsonl").write_text("{}\n")
    listed = run("runs", "list")
    assert listed.exit_code == 0
    assert "damaged: what is no entry" in listed.stdout


def test_show_tells_what_failed_first_and_then_each_step() -> None:
    record(*SCRIPT)
    shown = run("runs", "show", "sum")
    assert shown.exit_code == 0
    text = shown.stdout
    wrong = text.index("2 went wrong:")
    assert text.index("step 1: add (error): Error: no sevens") > wrong
    first, second = text.index("\nstep 1 "), text.index("\nstep 2 ")
    assert wrong < first < second
    for said in (
        "→ add(a=1, b=2)",
        "⚒ repaired (name): Add",
        "a person was asked: approve",
        "← ok",
        "← error",
        "… 6 more lines",
    ):
        assert first < text.index(said) < second, said
    assert second < text.index("↻ the reply was cut") < text.index("end: answer")
    assert text.count("Think.") == 3
    assert run("runs", "show", "last", "--full").stdout.count("Think.") == 9


def test_show_says_that_a_run_was_killed(tmp_path: Path) -> None:
    record(*SCRIPT)
    file = tmp_path / "runs" / "sum.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))
    assert "was killed, or is still at work" in run("runs", "show", str(file)).stdout


def test_no_control_character_of_a_run_reaches_the_terminal() -> None:
    record(say("\x1b]0;title\x07 and \x9b2J and \u202e"))
    shown = run("runs", "show", "sum", "--full").stdout
    assert not any(c in shown for c in "\x1b\x07\x9b\u202e")


@pytest.mark.parametrize("command", [("runs", "show", "x"), ("runs", "list")])
def test_what_is_not_there_is_said(command: tuple[str, ...]) -> None:
    ended = run(*command)
    assert ended.exit_code == 2
    assert re.search(r"there are no runs in|there is no run 'x'", ended.stderr)


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    record(say("Hi."))
    ended = run("runs", "view", "sum", "--output", str(tmp_path))
    assert ended.exit_code == 2
    assert f"{tmp_path} cannot be written: " in ended.stderr


# --- replay ------------------------------------------------------------------------------------


_BOUNDED = """
import pathlib, resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from agentkit.cli.streams import write_private
write_private(pathlib.Path("page.html"), bytes(2000))
"""


@pytest.mark.slow
def test_a_page_of_which_only_a_part_fits_is_an_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", _BOUNDED], cwd=tmp_path, capture_output=True, check=False
    )
    assert b"File too large" in done.stderr


def test_replay_of_a_run_says_that_it_is_identical(tmp_path: Path) -> None:
    record(*SCRIPT)
    shop = tmp_path / "shop"
    shop.mkdir()
    ended = run("runs", "replay", "sum", "--agent", "adder.py:agent", "--project", str(shop))
    assert ended.stdout == "sum: 3 model calls and 2 tool calls from the record, identical\n"
    assert ended.exit_code == 0
    assert (
        run("runs", "replay", "last", "--agent", "adder.py", "--project", str(shop)).exit_code == 0
    )


def test_replay_shows_the_first_difference_and_ends_with_1() -> None:
    record(*SCRIPT)
    ended = run("runs", "replay", "sum", "--agent", "adder.py:agent", "--project", "/bakery")
    assert ended.exit_code == 1
    assert "step 1: message 1 of the model call (system)" in ended.stdout
    assert "-Add for shop.\n+Add for bakery.\n" in ended.stdout


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("adder.py:nobody", "has no agent 'nobody'"),
        ("adder.py:number", "has no agent 'number'"),
        ("adder.py:broken", "adder.py:broken raised ZeroDivisionError"),
        ("gone.py", "there is no file gone.py"),
        ("no_such_module:agent", "there is no module 'no_such_module'"),
        ("", "is no Python file and no module"),
        (".", "is no Python file and no module"),
        (":agent", "is no Python file and no module"),
        ("my agent", "is no Python file and no module"),
    ],
)
def test_replay_names_what_is_wrong_with_the_agent(target: str, why: str) -> None:
    record(*SCRIPT)
    ended = run("runs", "replay", "sum", "--agent", target)
    assert ended.exit_code == 2
    assert why in ended.stderr


def test_replay_of_no_run_ends_with_2() -> None:
    record(*SCRIPT)
    ended = run("runs", "replay", "other", "--agent", "adder.py")
    assert ended.exit_code == 2
    assert "there is no run 'other'" in ended.stderr


# --- export, delete, and the names of before ---------------------------------------------------


def test_an_export_replays_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    with SQLiteJournal(tmp_path / "runs" / "journal.db") as journal:
        record(*SCRIPT, journal=journal)
    shop = tmp_path / "shop"
    shop.mkdir()
    exported = run("runs", "export", "last")
    assert (exported.exit_code, exported.stdout) == (0, "sum.jsonl\n")
    assert (tmp_path / "sum.jsonl").stat().st_mode & 0o777 == 0o600
    kinds = [
        json.loads(line)["event"] for line in (tmp_path / "sum.jsonl").read_text().splitlines()
    ]
    assert (kinds[0], kinds[-1]) == ("RunStarted", "RunFinished")
    for name in ("sum", "sum.jsonl"):
        ended = run("runs", "replay", name, "--agent", "adder.py", "--project", str(shop))
        assert "3 model calls and 2 tool calls from the record, identical" in ended.stdout
    told = run("runs", "show", "sum").stdout
    assert run("runs", "show", "sum.jsonl").stdout.splitlines()[3:] == told.splitlines()[3:]


def test_a_run_is_deleted_when_that_is_confirmed(tmp_path: Path) -> None:
    record(say("Hi."))
    assert run("runs", "delete", "sum").exit_code == 1, "nobody said yes"
    assert run("runs", "show", "sum").exit_code == 0
    deleted = run("runs", "delete", "sum", "--yes")
    assert deleted.stdout == f"deleted sum from {tmp_path / 'runs' / 'sum.jsonl'}\n"
    assert run("runs", "delete", "sum", "--yes").exit_code == 2


def test_runs_of_which_nothing_is_newer_are_deleted_wherever_they_are(tmp_path: Path) -> None:
    with SQLiteJournal(tmp_path / "runs" / "journal.db") as journal:
        for name in ("kept", "old"):
            record(say("Hi."), run_id=name, journal=journal)
        journal.connection.execute("UPDATE runs SET created = 1 WHERE run_id = 'old'")
        journal.connection.execute("UPDATE events SET at = 1 WHERE run_id = 'old'")
    record(say("Hi."), run_id="old file")
    record(say("Hi."), run_id="new file")
    os.utime(tmp_path / "runs" / "old%20file.jsonl", (1, 1))
    assert run("runs", "delete", "--yes").exit_code == 2
    assert "write a number and m, h or d" in run("runs", "delete", "--older-than", "soon").stderr
    assert run("runs", "delete", "--older-than", "30d", "--yes").stdout == "deleted 2 runs\n"
    listed = run("runs", "list").stdout
    assert "old" not in listed
    assert {"kept", "new file"} <= set(re.findall("kept|new file", listed))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (("trace", "list"), ("runs", "list")),
        (("trace", "show", "last"), ("runs", "show", "last")),
        (("trace", "view", "last"), ("runs", "view", "last")),
        (("replay", "last", "-a", "adder.py"), ("runs", "replay", "last", "-a", "adder.py")),
        (("resume", "last"), ("runs", "resume", "last")),
    ],
)
def test_the_names_of_before_do_the_same_and_say_the_new_one(
    old: tuple[str, ...], new: tuple[str, ...]
) -> None:
    record(say("Hi."))
    before, now = run(*old), run(*new)
    assert (before.exit_code, before.stdout) == (now.exit_code, now.stdout)
    first, *rest = before.stderr.splitlines()
    words = " ".join(word for word in new if word not in ("last", "-a", "adder.py"))
    assert f"is now agentkit {words}; the old name goes with the next version" in first
    assert rest == now.stderr.splitlines()


# --- what a person looks for -------------------------------------------------------------------


def shown_and_viewed(run_id: str) -> tuple[str, str]:
    """What `runs show` says of a run, and its page."""
    shown = run("runs", "show", run_id)
    viewed = run("runs", "view", run_id, "--output", "page.html")
    assert (shown.exit_code, viewed.exit_code) == (0, 0)
    return shown.stdout, Path("page.html").read_text()


def test_of_a_run_that_failed_in_a_tool_the_place_is_shown() -> None:
    @tool
    def divide(a: int, b: int) -> float:
        """Divides."""
        return a / b

    model = ScriptedModel([call("divide", a=1, b=0), say("It cannot be.")])
    Agent(model, tools=[divide]).run_sync("What is 1 / 0?", run_id="failed")
    shown, page = shown_and_viewed("failed")
    assert "step 1: divide (error): Error: ZeroDivisionError: division by zero" in shown
    assert re.search(r'File ".*test_runs\.py", line \d+, in divide', shown)
    assert "return a / b" in page
    assert "return a / b" in run("runs", "show", "failed", "--full").stdout


def test_of_a_run_that_was_cancelled_in_mid_answer_what_it_had_said_is_shown() -> None:
    class Stops(ScriptedModel):
        async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
            self.requests.append(request)
            yield ReasoningDelta("Let me see. ")
            yield TextDelta("The answer ")
            await anyio.sleep_forever()

    Agent(Stops([])).run_sync("Tell me.", run_id="cancelled", limits=Limits(seconds=0.2))
    shown, page = shown_and_viewed("cancelled")
    for said in ("Let me see.", "The answer", "interrupted after", "end: seconds"):
        assert said in shown
    for said in ("Let me see.", "The answer", "interrupted after", "No answer: seconds"):
        assert said in page


def test_of_a_run_that_was_killed_in_mid_call_it_is_said_that_it_may_have_taken_effect(
    tmp_path: Path,
) -> None:
    golden = Path(__file__).parents[1] / "golden" / "0.1.0" / "journal.db"
    journal = Path(shutil.copy(golden, tmp_path))
    shown = run("runs", "show", "died", "--journal", str(journal)).stdout
    viewed = run("runs", "view", "died", "--journal", str(journal), "-o", "page.html")
    assert viewed.exit_code == 0
    told = "it had begun, and may have taken effect"
    assert f"no result: {told}" in shown
    assert "the run was killed, or is still at work" in shown
    assert told in (tmp_path / "page.html").read_text()
