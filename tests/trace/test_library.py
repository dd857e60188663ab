from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import Agent, RunFiles, SQLiteJournal, tool
from agentkit.errors import JournalError
from agentkit.events import RunFinished, ToolFinished
from agentkit.journal import RunOpened, RunSummary
from agentkit.testing import Reply, ScriptedModel, call, cut, say
from agentkit.trace import Library, TraceError, keep_secret, open_run

pytestmark = pytest.mark.anyio
Record = Callable[..., Awaitable[Any]]


@tool
def look(where: str) -> str:
    """Looks."""
    return f"{where}: nothing"


async def in_file(directory: Path, *script: Reply, run_id: str = "r", text: str = "go") -> Path:
    files = RunFiles(directory)
    await Agent(ScriptedModel(script), tools=[look], observers=[files]).run(text, run_id=run_id)
    return files.path(run_id)


async def in_journal(directory: Path, *script: Reply, run_id: str = "r", text: str = "go") -> None:
    with SQLiteJournal(directory / "journal.db", labels={"who": "Ada"}) as journal:
        agent = Agent(ScriptedModel(script), tools=[look])
        await agent.run(text, run_id=run_id, journal=journal)


def summary(directory: Path) -> RunSummary:
    (found,) = Library(directory).runs()
    return found


# --- finding -----------------------------------------------------------------------------------


async def test_a_run_is_found_by_id_by_path_and_as_the_last(tmp_path: Path) -> None:
    old = await in_file(tmp_path, say("a"), run_id="a/b")
    await in_journal(tmp_path, say("b"), run_id="new")
    for name, run_id in (("a/b", "a/b"), (str(old), "a/b"), ("new", "new"), ("last", "new")):
        assert open_run(name, tmp_path).run_id == run_id


async def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no run 'x' in"):
        open_run("x", tmp_path)
    with pytest.raises(TraceError, match=r"there are no runs in .*gone"):
        Library(tmp_path / "gone").runs()
    with pytest.raises(TraceError, match=r"there is no journal .*gone\.db"):
        Library(journal=tmp_path / "gone.db").runs()


async def test_a_run_whose_name_no_file_can_have_is_found_in_the_journal(tmp_path: Path) -> None:
    name = "n" * 300
    await in_journal(tmp_path, say("a"), run_id=name)
    assert open_run(name, tmp_path).run_id == name
    assert Library(tmp_path).delete(name) == [str(tmp_path / "journal.db")]
    with pytest.raises(TraceError, match="no run 'nnn"):
        open_run(name, tmp_path)


async def test_runs_of_the_journal_and_of_files_are_one_list(tmp_path: Path) -> None:
    await in_file(tmp_path, say("a"), run_id="first")
    await in_journal(tmp_path, say("b"), run_id="second")
    await in_file(tmp_path, say("c"), run_id="third")
    assert [run.run_id for run in Library(tmp_path).runs()] == ["third", "second", "first"]
    assert [run.run_id for run in Library(tmp_path).runs(2)] == ["third", "second"]


async def test_a_run_that_is_kept_twice_is_listed_once_as_the_journals(tmp_path: Path) -> None:
    await in_journal(tmp_path, say("a"))
    await in_file(tmp_path, say("a"))
    assert summary(tmp_path).labels == {"who": "Ada"}


async def test_a_run_with_a_journal_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_RUNS", str(tmp_path))
    await in_journal(tmp_path, say("a"))
    assert not [name for name in os.listdir(tmp_path) if name.endswith("jsonl")]
    await Agent(ScriptedModel([say("b")])).run("go", run_id="without")
    assert [n for n in os.listdir(tmp_path) if n.endswith("jsonl")] == ["without.jsonl"]


# --- in one line -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("record", [in_file, in_journal])
@pytest.mark.parametrize("size", [1, 300_000])
async def test_a_run_is_summed_up_whatever_it_holds(
    tmp_path: Path, size: int, record: Record
) -> None:
    script = (
        call("look", where='"step":99,"usage":{},"kind":"unknown"'),
        cut(say("x" * size)),
        say("y" * size),
    )
    await record(tmp_path, *script, text="Say y.")
    found = summary(tmp_path)
    assert (found.run_id, found.question, found.state) == ("r", "Say y.", "ended")
    assert (found.stop_reason, found.steps, found.calls, found.unknown) == ("answer", 2, 1, 0)
    assert found.usage.input_tokens == 30
    assert 0 <= found.seconds < 60
    assert found.created > 1_700_000_000


async def test_a_run_that_was_killed_is_summed_up_as_far_as_it_came(tmp_path: Path) -> None:
    file = await in_file(tmp_path, call("look", where="here"), say("a"))
    file.write_bytes(file.read_bytes()[:-5])
    found = summary(tmp_path)
    assert (found.state, found.stop_reason, found.steps, found.calls) == ("died", "", 2, 1)
    assert found.usage.input_tokens == 20


async def test_the_time_between_the_parts_of_a_run_is_not_counted(tmp_path: Path) -> None:
    file = await in_file(tmp_path, say("a"))
    events = [json.loads(line) for line in file.read_bytes().splitlines()]
    first = [{**event, "time": 1000.0 + n} for n, event in enumerate(events)]
    again = [{**event, "time": 5000.0 + n} for n, event in enumerate(events)]
    lines = [json.dumps(event, separators=(",", ":")) for event in [*first[:-1], *again]]
    file.write_text("\n".join([*lines, ""]))
    found = summary(tmp_path)
    assert found.created == 1000.0
    assert found.seconds == len(first[:-1]) - 1 + len(again) - 1


@pytest.mark.parametrize("content", ["", "{}\n", "no json\n", '{"event":"StepStarted","step":1}\n'])
async def test_a_file_that_is_no_run_is_listed_as_such(tmp_path: Path, content: str) -> None:
    (tmp_path / "other.jsonl").write_text(content)
    found = summary(tmp_path)
    assert (found.run_id, found.state) == ("other", "damaged")
    assert found.damage


# --- what is shown -----------------------------------------------------------------------------


async def test_a_line_whose_time_cannot_be_read_hides_no_other_run(tmp_path: Path) -> None:
    await in_file(tmp_path, say("a"), run_id="whole")
    file = await in_file(tmp_path, say("a"), run_id="damaged")
    file.write_bytes(file.read_bytes().replace(b'"time":', b'"time":1.2.'))
    assert {run.run_id for run in Library(tmp_path).runs()} == {"whole", "damaged"}
    with pytest.raises(TraceError, match="holds no event of a run"):
        open_run("damaged", tmp_path)


async def test_both_forms_tell_the_same_events(tmp_path: Path) -> None:
    script = (call("look", where="shelf"), call("Look", where="shelf"), say("Nothing. " * 99))
    await in_file(tmp_path / "file", *script)
    await in_journal(tmp_path / "journal", *script)
    in_a_file = [type(each.event).__name__ for each in open_run("r", tmp_path / "file").events]
    kept = open_run("r", tmp_path / "journal")
    assert [type(each.event).__name__ for each in kept.events] == in_a_file
    assert kept.labels == {"who": "Ada"}
    last = kept.events[-1].event
    assert isinstance(last, RunFinished)
    assert last.result.output == "Nothing. " * 99


async def test_what_the_model_read_of_a_result_is_told_beside_what_was_returned(
    tmp_path: Path,
) -> None:
    await in_journal(tmp_path, *[call("look", where="shelf")] * 2, say("Nothing."))
    events = [each.event for each in open_run("r", tmp_path).events]
    _, again = [each for each in events if isinstance(each, ToolFinished)]
    assert again.returned is not None
    assert again.returned.content == "shelf: nothing"
    assert "You have made this call before" in str(again.result.content)


@pytest.mark.slow
def test_a_secret_of_the_run_is_not_shown_by_a_process_that_does_not_know_it(
    tmp_path: Path,
) -> None:
    keep_secret("hunter2-hunter2")
    script = [call("look", where="hunter2-hunter2 " * 40), say("Done.")]
    anyio.run(partial(in_journal, tmp_path, *script))
    with closing(sqlite3.connect(tmp_path / "journal.db")) as kept:
        assert "hunter2" in "".join(row[0] for row in kept.execute("SELECT body FROM events"))
        places = [row[0] for row in kept.execute("SELECT hidden FROM events") if row[0]]
    assert places
    look_at_it = "import sys; from agentkit.trace import open_run; print(open_run(sys.argv[1]))"
    environment = {**os.environ, "AGENTKIT_RUNS": str(tmp_path)}
    shown = subprocess.check_output(
        [sys.executable, "-c", look_at_it, "r"], env=environment, text=True
    )
    assert "hunter2" not in shown
    assert "[secret] [secret]" in shown


# --- deleting ----------------------------------------------------------------------------------


async def test_a_run_is_deleted_wherever_it_is(tmp_path: Path) -> None:
    await in_journal(tmp_path, say("a"), run_id="kept")
    await in_journal(tmp_path, say("very private words"), run_id="twice")
    file = await in_file(tmp_path, say("a"), run_id="twice")
    assert Library(tmp_path).delete("twice") == [str(tmp_path / "journal.db"), str(file)]
    assert [run.run_id for run in Library(tmp_path).runs()] == ["kept"]
    with pytest.raises(TraceError, match="there is no run 'twice'"):
        Library(tmp_path).delete("twice")
    with closing(sqlite3.connect(tmp_path / "journal.db")) as kept:
        kept.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"very private" not in (tmp_path / "journal.db").read_bytes()


async def test_a_run_at_work_is_not_deleted(tmp_path: Path) -> None:
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        await journal.open("r", RunOpened(()))
        with pytest.raises(JournalError, match="the run r is at work in process"):
            Library(tmp_path).delete("r")


def test_no_other_file_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text("mine\n")
    with pytest.raises(TraceError):
        Library(tmp_path).delete(str(tmp_path / "notes.jsonl"))
    assert os.listdir(tmp_path) == ["notes.jsonl"]
