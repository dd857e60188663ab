"""The journal's file, asked directly: what it refuses, how, and what it leaves behind."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import anyio
import pytest

from agentkit import Agent, SQLiteJournal
from agentkit.errors import JournalError
from agentkit.journal import (
    CallIntended,
    CallStarted,
    Entry,
    JournaledRun,
    RunOpened,
    journal_at,
    store_at,
)
from agentkit.journal.entries import Lease
from agentkit.journal.integrity import Damage
from agentkit.journal.sqlite import FORMAT
from agentkit.journal.sqlite import SQLiteStore as Store
from agentkit.journal.store import Head, LostRunError, StoredJournal, refuse_lost
from agentkit.messages import ToolCall, UserMessage
from agentkit.redaction import keep_secret
from agentkit.testing import ScriptedModel, say

OPENING = RunOpened((UserMessage("Go."),), "scripted")
INTENDED = CallIntended("k", ToolCall("c", "pay", {}), "once", "b", 1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "deep" / "runs.db", lease=60)
    yield made
    made.close()


def kept(store: Store, query: str) -> object:
    return store.connection.execute(query).fetchone()[0]


def test_a_file_is_made_for_its_owner_alone_and_says_what_it_is(store: Store) -> None:
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    assert kept(store, "PRAGMA application_id").to_bytes(4, "big") == b"agkj"  # type: ignore[attr-defined] # a number
    assert kept(store, "PRAGMA user_version") == FORMAT == 3
    assert kept(store, "PRAGMA journal_mode") == "wal"


def test_a_run_begins_once(store: Store) -> None:
    lease = store.open("r", OPENING)
    assert lease == Lease("r", 1)
    with pytest.raises(JournalError, match="has a run r already: resume it, or choose another"):
        store.open("r", OPENING)
    assert len(store.read("r")) == 1
    assert store.open("s", OPENING) == Lease("s", 1)


def test_a_lost_run_is_not_begun_again_under_its_name(store: Store) -> None:
    store.release(store.open("r", OPENING))
    for table in ("runs", "events"):
        store.connection.execute(f"DELETE FROM {table}")
    with pytest.raises(JournalError, match="had a run r already, and has lost it"):
        store.open("r", OPENING)
    with pytest.raises(JournalError, match="has lost the run r: "):
        store.claim("r")
    assert [(each.run_id, each.state) for each in store.runs(9)] == [("r", "damaged")]
    assert store.delete("r")
    assert store.runs(9) == []
    assert store.open("r", OPENING) == Lease("r", 1)


def test_a_run_that_is_not_there_is_said_not_to_be(store: Store) -> None:
    with pytest.raises(JournalError, match=r"has no run r$"):
        store.claim("r")
    assert not store.delete("r")
    assert store.read("r") == []


def test_a_run_is_taken_over_when_it_was_given_back_and_by_nobody_before(store: Store) -> None:
    lease = store.open("r", OPENING)
    with pytest.raises(JournalError, match=r"is at work in .*does not stir for (59|60) s more"):
        store.claim("r")
    store.release(lease)
    assert kept(store, "SELECT owner FROM runs") == ""
    taken = store.claim("r")
    assert taken == Lease("r", 2)
    with pytest.raises(JournalError, match="was taken over by another process"):
        store.append(lease, [CallStarted("k", 1)], durable=True)
    store.append(taken, [INTENDED, CallStarted("k", 1)], durable=True)
    assert [(record.seq, record.epoch) for record in store.read("r")] == [(1, 1), (2, 2), (3, 2)]


def test_a_lease_of_before_gives_nothing_back_and_renews_nothing(store: Store) -> None:
    old = store.open("r", OPENING)
    store.release(old)
    new = store.claim("r")
    until = kept(store, "SELECT lease_until FROM runs")
    store.renew([old])
    assert kept(store, "SELECT lease_until FROM runs") == until
    store.renew([new])
    assert kept(store, "SELECT lease_until FROM runs") > until  # type: ignore[operator] # numbers
    store.release(old)
    assert kept(store, "SELECT owner FROM runs") != ""


def test_after_a_release_nothing_is_written(store: Store) -> None:
    lease = store.open("r", OPENING)
    store.release(lease)
    with pytest.raises(JournalError, match="was taken over"):
        store.append(lease, [CallStarted("k", 1)], durable=False)


def test_entries_that_vanish_while_a_run_is_at_work_stop_it(store: Store) -> None:
    lease = store.open("r", OPENING)
    store.append(lease, [INTENDED], durable=True)
    store.connection.execute("DELETE FROM events WHERE seq = 2")
    with pytest.raises(JournalError, match="while it was at work: it ends with entry 1, not 2"):
        store.append(lease, [CallStarted("k", 1)], durable=True)
    store.release(lease)
    with pytest.raises(JournalError, match=r"has lost a part of the run r \(.*cannot be gone on"):
        store.claim("r")
    assert kept(store, "SELECT owner FROM runs") == "", "who may not have it does not hold it"
    with pytest.raises(JournalError, match="has lost a part of the run r "):
        store.read("r")
    assert len(store.examine("r").records) == 1
    (summary,) = store.runs(1)
    assert summary.damage


def test_a_run_at_work_is_not_deleted_and_one_that_is_leaves_nothing(store: Store) -> None:
    lease = store.open("r", OPENING)
    with pytest.raises(JournalError, match=r"is at work in .*; end that first"):
        store.delete("r")
    store.release(lease)
    assert store.delete("r")
    assert not store.delete("r")
    for table in ("runs", "events"):
        assert kept(store, f"SELECT count(*) FROM {table}") == 0
    assert kept(store, "PRAGMA secure_delete") == 1


def test_the_newest_runs_are_listed_and_no_more_than_were_asked_for(store: Store) -> None:
    for number in range(4):
        store.release(store.open(f"r{number}", OPENING))
        store.connection.execute(
            "UPDATE runs SET created = ? WHERE run_id = ?", (number, f"r{number}")
        )
    assert [each.run_id for each in store.runs(3)] == ["r3", "r2", "r1"]
    store.connection.execute("DELETE FROM runs WHERE run_id = 'r0'")
    assert [each.run_id for each in store.runs(9)] == ["r3", "r2", "r1", "r0"]
    assert [each.run_id for each in store.runs(3)] == ["r3", "r2", "r1"]


def test_writes_are_forced_to_the_disk_where_they_must_last(store: Store) -> None:
    lease = store.open("r", OPENING)
    levels = []
    for durable in (True, False):
        store.append(lease, [CallStarted("k", 1)], durable=durable)
        levels.append(kept(store, "PRAGMA synchronous"))
    assert levels == [2, 1]


def test_a_closed_file_can_be_opened_by_others(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.db", lease=60)
    store.open("r", OPENING)
    store.close()
    with pytest.raises(JournalError, match="cannot be used: Cannot operate on a closed database"):
        store.read("r")
    with closing(sqlite3.connect(tmp_path / "runs.db")) as other:
        assert other.execute("SELECT count(*) FROM events").fetchone() == (1,)


def test_another_store_of_the_same_process_takes_no_entry_from_a_file_at_work(
    tmp_path: Path,
) -> None:
    """A file that a process opens and closes by itself loses all locks of that process."""
    file = tmp_path / "runs.db"
    elsewhere = f"import sqlite3; sqlite3.connect({str(file)!r}).execute('SELECT 1 FROM runs')"
    with closing(Store(file, lease=60)) as store:
        lease = store.open("r", OPENING)
        with closing(Store(file, lease=60)):
            subprocess.run([sys.executable, "-c", elsewhere], check=True)
            store.append(lease, [INTENDED], durable=True)
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as other:
            assert other.execute("SELECT count(*) FROM events").fetchone() == (2,)


def test_many_who_open_a_new_file_at_once_all_get_it(tmp_path: Path) -> None:
    for number in range(5):
        file = tmp_path / f"{number}.db"
        ready = threading.Barrier(8)

        def opened(run_id: str, file: Path = file, ready: threading.Barrier = ready) -> None:
            ready.wait()
            with closing(Store(file, lease=60)) as store:
                store.open(run_id, OPENING)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(opened, "abcdefgh"))
        with closing(Store(file, lease=60)) as store:
            assert sorted(run.run_id for run in store.runs(9)) == list("abcdefgh")


def test_a_run_that_others_deleted_and_began_again_is_witnessed_where_it_is_now(
    tmp_path: Path,
) -> None:
    file = tmp_path / "runs.db"
    with closing(Store(file, lease=60)) as store, closing(Store(file, lease=60)) as other:
        store.release(store.open("r", OPENING))
        other.delete("r")
        other.open("takes its place", OPENING)
        other.append(other.open("r", OPENING), [INTENDED], durable=True)
        assert store.examine("r").damage == []


def test_a_run_that_nothing_can_witness_is_not_begun(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.db", lease=60)
    with closing(store):
        (tmp_path / "runs.db-witness").mkdir()
        with pytest.raises(JournalError, match=r"runs\.db-witness"):
            store.open("r", OPENING)
        assert kept(store, "SELECT count(*) FROM runs") == 0


def test_a_list_of_runs_tells_no_secret(store: Store) -> None:
    keep_secret("sk-very-secret-indeed")
    opening = RunOpened((UserMessage("Use sk-very-secret-indeed."),), "scripted")
    lease = store.open("r", opening)
    store.append(lease, [INTENDED, CallStarted("k", 1)], durable=True)
    first, *others = store.raw("r")
    assert "sk-very-secret" not in first.body
    assert "Use " in first.body
    assert [each.kind for each in others] == ["CallIntended", "CallStarted"]
    assert "sk-very-secret-indeed" in str(store.read("r")[0].entry), (
        "the run itself goes on with it"
    )


# --- the journal above a store -------------------------------------------------------------------


class Keeper(Store):
    """A file that notes whom it was told to renew."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, lease=60)
        self.renewed: SimpleQueue[list[str]] = SimpleQueue()
        self.closed = False

    def renew(self, leases: Iterable[Lease]) -> None:
        self.renewed.put([lease.run_id for lease in leases])

    def close(self) -> None:
        self.closed = True
        super().close()


def next_renewal(keeper: Keeper, wanted: list[str]) -> list[str]:
    """Whom it renews, once it is what is wanted; what it is now, after many others."""
    renewed: list[str] = []
    for _ in range(100):
        if (renewed := keeper.renewed.get(timeout=20)) == wanted:
            break
    return renewed


@pytest.mark.anyio
async def test_what_is_held_is_renewed_until_it_is_given_back(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "runs.db")
    with StoredJournal(keeper, {"by": "me"}, 0.01) as journal:
        first = await journal.open("a", OPENING)
        await journal.open("b", replace(OPENING, labels={"by": "you", "at": "noon"}))
        assert next_renewal(keeper, ["a", "b"]) == ["a", "b"]
        await journal.release(first)
        assert next_renewal(keeper, ["b"]) == ["b"]
        listed = {each.run_id: each for each in await journal.runs()}
        assert listed["a"].labels == {"by": "me"}
        assert listed["b"].labels == {"by": "you", "at": "noon"}
        await journal.release(await journal.claim("a"))
    assert keeper.closed
    with closing(Store(keeper.path, lease=60)) as other:
        assert other.claim("b") == Lease("b", 2), "it was given back"


@pytest.mark.anyio
async def test_a_run_is_open_until_it_has_ended(tmp_path: Path) -> None:
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        assert not await journal.is_open("r")
        lease = await journal.open("r", OPENING)
        assert await journal.is_open("r")
        await journal.append(lease, [INTENDED], durable=True)
        assert await journal.is_open("r")
        await journal.release(lease)
        await Agent(ScriptedModel([say("done")])).run("x", run_id="s", journal=journal)
        assert not await journal.is_open("s")
        assert await journal.delete("s")
        assert not await journal.delete("s")


@pytest.mark.anyio
async def test_the_newest_fifty_runs_are_listed_and_the_file_is_named(tmp_path: Path) -> None:
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        for number in range(51):
            await journal.release(await journal.open(f"r{number}", OPENING))
        assert [run.run_id for run in await journal.runs()] == [f"r{n}" for n in range(50, 0, -1)]
        assert journal.where == str(tmp_path / "runs.db")
        async with journal.news_of("r50") as news:
            assert callable(news)


@pytest.mark.anyio
async def test_leases_are_renewed_by_a_thread_that_ends_with_the_journal(tmp_path: Path) -> None:
    journal = SQLiteJournal(tmp_path / "runs.db", lease=600)
    before = set(threading.enumerate())
    await journal.open("r", OPENING)
    (renews,) = (each for each in set(threading.enumerate()) - before if "lease" in each.name)
    assert renews.name == "agentkit-lease"
    assert renews.daemon, "it would keep a process that forgets to close from ending"
    journal.close()
    renews.join(20)
    assert not renews.is_alive()


def test_a_run_is_refused_for_what_is_lost_and_for_nothing_else() -> None:
    gone = Damage("entry 2", "is missing", "a call may run twice")
    unseen = Damage("the witness", "is missing", "an end would not be noticed", lost=False)
    refuse_lost("runs.db", "r", [unseen])
    with pytest.raises(LostRunError, match=r"part of the run r \(entry 2 is missing[^;]*\), so"):
        refuse_lost("runs.db", "r", [unseen, gone])


@pytest.mark.parametrize("lease", [0, -1.0])
def test_a_lease_without_length_is_refused(tmp_path: Path, lease: float) -> None:
    with pytest.raises(ValueError, match=f"lease is {lease}; give seconds above 0"):
        SQLiteJournal(tmp_path / "runs.db", lease=lease)


@pytest.mark.parametrize(
    "place", [":memory:", "file:runs.db?mode=memory", "mysql://h/x", "sqlite:///runs.db"]
)
@pytest.mark.parametrize("opened", [SQLiteJournal, journal_at, store_at])
def test_what_names_no_file_makes_none(
    place: str, opened: Callable[[str], object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JournalError, match="name a file"):
        opened(place)
    assert not list(tmp_path.iterdir())


def test_the_end_of_a_record_moves_with_each_entry() -> None:
    head, lease = Head(), Lease("r", 3)
    rows = head.add(lease, [OPENING, INTENDED], 5.0) + head.add(lease, [INTENDED], 6.0)
    assert [row[:5] for row in rows] == [
        ("r", 1, 3, 5.0, "RunOpened"),
        ("r", 2, 3, 5.0, "CallIntended"),
        ("r", 3, 3, 6.0, "CallIntended"),
    ]
    assert (head.seq, head.calls, head.digest) == (3, 2, rows[-1][6])
    assert len({row[6] for row in rows}) == 3
    assert [row[7] for row in rows] == [None] * 3


class Late(StoredJournal):
    """A journal whose first writer is the last to get a thread."""

    first = True

    async def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:
        if self.first:
            self.first = False
            await anyio.wait_all_tasks_blocked()
        await super().append(lease, entries, durable=durable)


@pytest.mark.anyio
async def test_what_calls_of_one_step_write_at_the_same_time_is_written_in_its_order(
    tmp_path: Path,
) -> None:
    with Late(Store(tmp_path / "runs.db", lease=60), None, 60) as journal:
        run = JournaledRun(journal, await journal.open("r", OPENING), [OPENING])
        began: list[str] = []

        async def intend(key: str) -> None:
            began.append(key)
            await run.intend(key, ToolCall(key, "pay", {}), "once")

        async with anyio.create_task_group() as group:
            for key in "abc":
                group.start_soon(intend, key)
        entries = [record.entry for record in await journal.read("r")]
        assert [e.key for e in entries if isinstance(e, CallIntended)] == began


class Full(StoredJournal):
    """A journal whose disk has no room for the first entries, and then has again."""

    refusals = 1

    async def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:
        if self.refusals:
            self.refusals -= 1
            raise JournalError("the disk is full")
        await super().append(lease, entries, durable=durable)


@pytest.mark.anyio
async def test_no_call_starts_behind_entries_that_were_lost(tmp_path: Path) -> None:
    with Full(Store(tmp_path / "runs.db", lease=60), None, 60) as journal:
        run = JournaledRun(journal, await journal.open("r", OPENING), [OPENING])
        with pytest.raises(JournalError, match="the disk is full"):
            await run.intend("a", ToolCall("a", "pay", {}), "once")
        with pytest.raises(JournalError, match="an earlier entry of the run could not be written"):
            await run.intend("b", ToolCall("b", "pay", {}), "once")
        assert [record.entry for record in await journal.read("r")] == [OPENING]
