from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentkit.errors import JournalError
from agentkit.journal import CallIntended, CallStarted, SQLiteJournal
from agentkit.journal.leases import Owner
from agentkit.messages import ToolCall
from tests.journal.conformance import CASES, OPENING, entries_of


class FilePlace:
    """A file and its journals; see `tests.journal.conformance`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._made: list[SQLiteJournal] = []

    def journal(self, **options: Any) -> SQLiteJournal:
        self._made.append(SQLiteJournal(self._file, **options))
        return self._made[-1]

    def _do(self, query: str, *values: object) -> Any:
        with closing(sqlite3.connect(self._file, isolation_level=None)) as editing:
            return (editing.execute(query, values).fetchone() or [None])[0]

    def expire(self, run_id: str) -> None:
        self._do("UPDATE runs SET lease_until = 1 WHERE run_id = ?", run_id)

    def owned_by(self, run_id: str, owner: Owner) -> None:
        query = "UPDATE runs SET owner = ?, lease_until = 1e9 WHERE run_id = ?"
        self._do(query, owner.to_json(), run_id)

    def owner(self, run_id: str) -> str:
        return str(self._do("SELECT owner FROM runs WHERE run_id = ?", run_id))

    def lease_end(self, run_id: str) -> float:
        return float(self._do("SELECT lease_until FROM runs WHERE run_id = ?", run_id))

    def cut(self, run_id: str, seq: int) -> None:
        self._do("DELETE FROM events WHERE run_id = ? AND seq >= ?", run_id, seq)

    def change(self, run_id: str, seq: int) -> None:
        query = "UPDATE events SET body = replace(body, 'pay', 'get') WHERE run_id = ? AND seq = ?"
        self._do(query, run_id, seq)

    def rows(self) -> int:
        return sum(int(self._do(f"SELECT count(*) FROM {name}")) for name in ("runs", "events"))

    def close(self) -> None:
        for journal in self._made:
            journal.close()


@pytest.mark.parametrize("name", CASES)
async def test_a_file_does_what_every_journal_must(name: str, tmp_path: Path) -> None:
    with closing(FilePlace(tmp_path / "runs.db")) as place:
        await CASES[name](place)


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


pytestmark = pytest.mark.anyio


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
    with pytest.raises(JournalError, match="has format 9, this agentkit knows 3: update agentkit"):
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
