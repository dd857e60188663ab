from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit.errors import JournalError
from agentkit.journal import (
    CallIntended,
    CallStarted,
    Entry,
    Lease,
    RunOpened,
    SQLiteJournal,
)
from agentkit.journal.leases import Owner
from agentkit.messages import ToolCall, UserMessage

OPENING = RunOpened((UserMessage("Go."),), "scripted")


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Callable[..., SQLiteJournal]]:
    """Makes journals of one file, and closes them."""
    made: list[SQLiteJournal] = []

    def make(**options: Any) -> SQLiteJournal:
        made.append(SQLiteJournal(tmp_path / "runs.db", **options))
        return made[-1]

    yield make
    for journal in made:
        journal.close()


Journals = Callable[..., SQLiteJournal]


async def entries_of(journal: SQLiteJournal) -> list[Entry]:
    return [record.entry for record in await journal.read("r")]


pytestmark = pytest.mark.anyio


async def test_entries_stay_in_order_and_know_their_owner(journals: Journals) -> None:
    journal = journals()
    lease = await journal.open("r", OPENING)
    await journal.append(lease, [CallStarted("a", 1), CallStarted("b", 1)], durable=True)
    await journal.release(lease)
    later = await journal.claim("r")
    await journal.append(later, [CallStarted("c", 2)], durable=False)
    records = await journals().read("r")
    assert [(record.seq, record.epoch) for record in records] == [(1, 1), (2, 1), (3, 1), (4, 2)]
    assert [getattr(record.entry, "key", "") for record in records] == ["", "a", "b", "c"]


async def test_labels_are_kept_with_each_run(journals: Journals) -> None:
    journal = journals(labels={"who": "Ada", "why": "tests"})
    await journal.open("r", RunOpened(OPENING.messages, labels={"why": "this one"}))
    (run,) = await journal.runs()
    assert run.labels == {"who": "Ada", "why": "this one"}
    assert (run.question, run.state) == ("Go.", "running")


async def test_the_newest_runs_come_first(journals: Journals) -> None:
    journal = journals()
    for name in ("first", "second", "third"):
        await journal.release(await journal.open(name, OPENING))
    assert [run.run_id for run in await journal.runs(2)] == ["third", "second"]
    assert [run.state for run in await journal.runs()] == ["died"] * 3


async def test_a_run_at_work_is_not_taken_over(journals: Journals) -> None:
    await journals().open("r", OPENING)
    with pytest.raises(JournalError, match=r"the run r is at work in process \d+ on .*taken over"):
        await journals().claim("r")


async def test_an_owner_that_does_not_stir_loses_its_run_and_cannot_write_any_more(
    journals: Journals,
) -> None:
    stopped = journals()
    stale = await stopped.open("r", OPENING)
    with closing(sqlite3.connect(stopped.path, isolation_level=None)) as editing:
        editing.execute("UPDATE runs SET lease_until = 1")  # as after a long SIGSTOP
    lease = await journals().claim("r")
    assert lease.epoch == 2
    with pytest.raises(JournalError, match="the run r was taken over by another process"):
        await stopped.append(stale, [CallStarted("a", 1)], durable=True)
    await stopped.release(stale)
    assert await entries_of(stopped) == [OPENING]
    with pytest.raises(JournalError, match="at work"):
        await journals().claim("r")


async def test_a_lease_is_renewed_while_its_owner_lives(journals: Journals) -> None:
    journal = journals(lease=0.3)
    await journal.open("r", OPENING)
    with closing(sqlite3.connect(journal.path)) as reader:
        query = "SELECT lease_until FROM runs"
        first = reader.execute(query).fetchone()[0]
        with anyio.fail_after(10):
            while reader.execute(query).fetchone()[0] <= first:  # noqa: ASYNC110 - a thread writes
                await anyio.sleep(0.02)


async def test_of_many_who_resume_one_gets_the_run(tmp_path: Path, journals: Journals) -> None:
    dead = Owner("here", Owner.this_process().boot, Owner.this_process().namespace, 1, "no such")
    for number in range(10):
        name = f"r{number}"
        await journals().open(name, OPENING)
        with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as editing:
            editing.execute("UPDATE runs SET owner = ?", (dead.to_json(),))
        won: list[Lease] = []

        async def claim(name: str, won: list[Lease]) -> None:
            with suppress(JournalError):
                won.append(await journals().claim(name))

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(claim, name, won)
        assert [lease.epoch for lease in won] == [2]


async def test_a_full_journal_takes_nothing_and_says_so(journals: Journals) -> None:
    journal = journals()
    lease = await journal.open("r", OPENING)
    pages = journal.connection.execute("PRAGMA page_count").fetchone()[0]
    journal.connection.execute(f"PRAGMA max_page_count = {pages}")
    big = CallIntended("k", ToolCall("c", "t", {"text": "x" * 100_000}), "once", "", 1)
    with pytest.raises(JournalError, match=r"runs\.db cannot be used: database or disk is full"):
        await journal.append(lease, [CallStarted("a", 1), big], durable=True)
    assert await entries_of(journal) == [OPENING], "all or none"
    journal.connection.execute("PRAGMA max_page_count = 1000000")
    await journal.append(lease, [big], durable=True)
    assert await entries_of(journal) == [OPENING, big]


async def test_a_read_only_journal_takes_nothing(journals: Journals) -> None:
    journal = journals()
    lease = await journal.open("r", OPENING)
    journal.connection.execute("PRAGMA query_only = 1")
    with pytest.raises(JournalError, match="attempt to write a readonly database"):
        await journal.append(lease, [CallStarted("a", 1)], durable=True)
    journal.connection.execute("PRAGMA query_only = 0")
    await journal.append(lease, [CallStarted("b", 1)], durable=True)
    assert await entries_of(journal) == [OPENING, CallStarted("b", 1)]


async def test_a_cancelled_run_still_writes_what_it_knows(journals: Journals) -> None:
    journal = journals()
    lease = await journal.open("r", OPENING)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await journal.append(lease, [CallStarted("a", 1)], durable=True)
    assert await entries_of(journal) == [OPENING, CallStarted("a", 1)]


async def test_durable_means_forced_to_the_disk(journals: Journals) -> None:
    journal = journals()
    lease = await journal.open("r", OPENING)
    told: list[str] = []
    journal.connection.set_trace_callback(told.append)
    await journal.append(lease, [CallStarted("a", 1)], durable=True)
    await journal.append(lease, [CallStarted("b", 1)], durable=False)
    journal.connection.set_trace_callback(None)
    modes = [text.split()[-1] for text in told if "synchronous" in text]
    assert modes == ["FULL", "NORMAL"]
    assert journal.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "theirs.db"
    with closing(sqlite3.connect(file)) as theirs:
        theirs.execute("CREATE TABLE things (a)")
    with pytest.raises(JournalError, match="a database of another program; name another file"):
        SQLiteJournal(file)
    text = tmp_path / "text.db"
    text.write_text("not a database at all " * 100)
    with pytest.raises(JournalError, match="file is not a database"):
        SQLiteJournal(text)


def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path, journals: Journals) -> None:
    file = journals().path
    with closing(sqlite3.connect(file)) as later:
        later.execute("PRAGMA user_version = 9")
    with pytest.raises(JournalError, match="has format 9, this agentkit knows 2: update agentkit"):
        SQLiteJournal(file)


def test_a_journal_is_for_its_owner_alone(journals: Journals) -> None:
    journal = journals()
    journal.connection.execute("BEGIN IMMEDIATE")
    journal.connection.execute("ROLLBACK")
    files = [journal.path, journal.path.with_name("runs.db-wal")]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="file/runs"):
        SQLiteJournal(tmp_path / "file" / "runs.db")
