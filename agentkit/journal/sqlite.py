"""`SQLiteJournal`: runs in one file, by the SQLite of Python's standard library.

WAL mode with `synchronous=FULL` forces every durable transaction to the disk (`PRAGMA synchronous`,
sqlite.org/pragma.html). Not on a network file system: WAL needs shared memory
(sqlite.org/wal.html), and SQLite's locks are only as good as the file system's.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from agentkit.errors import JournalError
from agentkit.journal.base import Journal, Lease, RunSummary
from agentkit.journal.entries import Entry, Record, RunOpened, dump_entry, kind_of, load_entry
from agentkit.journal.owner import Owner
from agentkit.journal.views import summary
from agentkit.messages import JsonValue

__all__ = ["SQLiteJournal"]

T = TypeVar("T")

FORMAT = 1
"""Of the file, in SQLite's `user_version`. A journal of an older format must always open."""

_APPLICATION = 0x61676B6A
"""`agkj`, in SQLite's `application_id`: tells our files from other databases."""

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL, owner TEXT NOT NULL,
    lease_until REAL NOT NULL, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    run_id TEXT NOT NULL, seq INTEGER NOT NULL, epoch INTEGER NOT NULL, at REAL NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (run_id, seq));
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {FORMAT};
COMMIT;
"""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_REMEDY = "if the file is damaged, move it away with its -wal and -shm, and a new one is begun"

_LEASE = 30.0
"""Seconds. Only for owners whose death cannot be proved: stopped ones, and those elsewhere."""


class SQLiteJournal:
    """Keeps runs in a file; share one between the runs of a process.

    Args:
        path: Of the file; it and its folder are made. Its `-wal` and `-shm` belong to it.
        labels: Kept with each run that begins here, such as who started it and how.
        lease: Seconds after which an owner that does not stir loses its run.

    Attributes:
        path: Of the file.
        connection: To look at it with SQL; what is written goes through the methods.

    Raises:
        JournalError: The file cannot be opened, or is something else.
        ValueError: `lease` is not above 0.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        labels: Mapping[str, JsonValue] | None = None,
        lease: float = _LEASE,
    ) -> None:
        if lease <= 0:
            raise ValueError(f"lease is {lease}; give seconds above 0")
        self.path = Path(path)
        self._labels = labels or {}
        self._seconds = lease
        self._lock = threading.Lock()  # one transaction at a time: the connection is shared
        self._held: dict[str, Lease] = {}
        self._closed = threading.Event()
        self._heart: threading.Thread | None = None
        with self._errors():
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # For its owner alone: it holds all that was said. SQLite's other files follow its mode.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self.connection = sqlite3.connect(
                self.path, timeout=10.0, isolation_level=None, check_same_thread=False
            )
            self._prepare()

    def _prepare(self) -> None:
        application, version = (
            self.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        tables = self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and application != _APPLICATION:
            raise JournalError(f"{self.path} is a database of another program; name another file")
        if version > FORMAT:
            raise JournalError(
                f"{self.path} has format {version}, this agentkit knows {FORMAT}: update agentkit"
            )
        self.connection.execute("PRAGMA journal_mode = WAL")
        if not tables:
            self.connection.executescript(_SCHEMA)

    # --- the protocol --------------------------------------------------------------------------

    async def open(self, run_id: str, opening: RunOpened) -> Lease:
        """Begins a run; see `Journal.open`."""
        labelled = replace(opening, labels={**self._labels, **opening.labels})
        return await self._in_thread(partial(self._open, run_id, labelled))

    async def claim(self, run_id: str) -> Lease:
        """Takes a run over; see `Journal.claim`."""
        return await self._in_thread(partial(self._claim, run_id))

    async def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:
        """Writes entries; see `Journal.append`."""
        await self._in_thread(partial(self._append, lease, entries, durable))

    async def read(self, run_id: str) -> list[Record]:
        """A run's entries; see `Journal.read`."""
        return await self._in_thread(partial(self._read, run_id))

    async def release(self, lease: Lease) -> None:
        """Gives a lease back; see `Journal.release`."""
        await self._in_thread(partial(self._release, lease))

    # --- beside it -----------------------------------------------------------------------------

    async def runs(self, limit: int = 50) -> list[RunSummary]:
        """The newest runs, newest first."""
        return await self._in_thread(partial(self._runs, limit))

    def close(self) -> None:
        """Gives back all leases and closes the file. It is not an error to leave this out."""
        self._closed.set()
        for lease in list(self._held.values()):
            with suppress(JournalError):
                self._release(lease)
        with self._lock:
            self.connection.close()

    def __enter__(self) -> SQLiteJournal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- inside: each of these runs in a thread ------------------------------------------------

    async def _in_thread(self, work: Callable[[], T]) -> T:
        # Shielded: what a transaction has decided must reach the caller, and it is short.
        made: list[T] = []

        def guarded() -> None:
            with self._errors():
                made.append(work())

        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(guarded)
        return made[0]

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            # SQLite gives back whatever stands in a damaged file: bytes for a number, say.
            damaged = (
                not isinstance(error, (sqlite3.Error, OSError))
                or getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
            )
            remedy = f"; {_REMEDY}" if damaged else ""
            raise JournalError(
                f"the journal {self.path} cannot be used: {error}{remedy}"
            ) from error

    @contextmanager
    def _transaction(self, *, durable: bool = True) -> Generator[sqlite3.Connection]:
        """All or nothing. The write lock is taken at once: reading first could not be upgraded."""
        with self._lock, self._errors():
            self.connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def _open(self, run_id: str, opening: RunOpened) -> Lease:
        now = time.time()
        with self._transaction() as connection:
            if _row(connection, run_id) is not None:
                raise JournalError(
                    f"the journal {self.path} has a run {run_id} already: "
                    "resume it, or choose another run_id"
                )
            owner = Owner.this_process().to_json()
            row = (run_id, 1, owner, now + self._seconds, now)
            connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", row)
            lease = Lease(run_id, 1)
            _insert(connection, lease, 0, [opening])
        return self._hold(lease)

    def _claim(self, run_id: str) -> Lease:
        now = time.time()
        with self._transaction() as connection:
            row = _row(connection, run_id)
            if row is None:
                raise JournalError(f"the journal {self.path} has no run {run_id}")
            epoch, owner, until = row
            if _is_taken(owner, until, now):
                raise JournalError(
                    f"the run {run_id} is at work in {Owner.from_json(owner)}; it can be taken "
                    f"over when that ends, or does not stir for {until - now:.0f} s more"
                )
            lease = Lease(run_id, epoch + 1)
            connection.execute(
                "UPDATE runs SET epoch = ?, owner = ?, lease_until = ? WHERE run_id = ?",
                (lease.epoch, Owner.this_process().to_json(), now + self._seconds, run_id),
            )
        return self._hold(lease)

    def _append(self, lease: Lease, entries: Sequence[Entry], durable: bool) -> None:
        with self._transaction(durable=durable) as connection:
            row = _row(connection, lease.run_id)
            if row is None or row[0] != lease.epoch:
                raise JournalError(f"the run {lease.run_id} was taken over by another process")
            last = "SELECT coalesce(max(seq), 0) FROM events WHERE run_id = ?"
            seq: int = connection.execute(last, (lease.run_id,)).fetchone()[0]
            _insert(connection, lease, seq, entries)

    def _read(self, run_id: str) -> list[Record]:
        with self._lock, self._errors():
            rows = self.connection.execute(
                "SELECT seq, epoch, at, body FROM events WHERE run_id = ? ORDER BY seq", (run_id,)
            ).fetchall()
        records: list[Record] = []
        for seq, epoch, at, body in rows:
            try:
                records.append(Record(seq, epoch, at, load_entry(body)))
            except JournalError as error:
                raise JournalError(
                    f"the journal {self.path} has in entry {seq} of the run {run_id} {error}; "
                    f"{_REMEDY}"
                ) from error
        return records

    def _release(self, lease: Lease) -> None:
        self._held.pop(lease.run_id, None)
        with self._transaction(durable=False) as connection:
            connection.execute(
                "UPDATE runs SET owner = '', lease_until = 0 WHERE run_id = ? AND epoch = ?",
                (lease.run_id, lease.epoch),
            )

    def _runs(self, limit: int) -> list[RunSummary]:
        with self._lock, self._errors():
            query = "SELECT run_id, owner, lease_until, created FROM runs"
            rows = self.connection.execute(
                f"{query} ORDER BY created DESC LIMIT ?", (limit,)
            ).fetchall()
        now = time.time()
        return [
            summary(run_id, self._read(run_id), created, taken=_is_taken(owner, until, now))
            for run_id, owner, until, created in rows
        ]

    # --- leases --------------------------------------------------------------------------------

    def _hold(self, lease: Lease) -> Lease:
        with self._lock:
            self._held[lease.run_id] = lease
            if self._heart is None:
                self._heart = threading.Thread(
                    target=self._beat, name="agentkit-lease", daemon=True
                )
                self._heart.start()
        return lease

    def _beat(self) -> None:
        """Renews what is held, from a thread of its own: a busy event loop is no dead owner."""
        while not self._closed.wait(self._seconds / 3):
            with self._lock:
                if not (held := list(self._held.values())):
                    self._heart = None
                    return
            with suppress(JournalError), self._transaction(durable=False) as connection:
                until = time.time() + self._seconds
                connection.executemany(
                    "UPDATE runs SET lease_until = ? WHERE run_id = ? AND epoch = ?",
                    [(until, lease.run_id, lease.epoch) for lease in held],
                )


def _row(connection: sqlite3.Connection, run_id: str) -> tuple[int, str, float] | None:
    query = "SELECT epoch, owner, lease_until FROM runs WHERE run_id = ?"
    row: tuple[int, str, float] | None = connection.execute(query, (run_id,)).fetchone()
    return row


def _is_taken(owner: str, until: float, now: float) -> bool:
    return bool(owner) and until > now and not Owner.from_json(owner).is_dead


def _insert(
    connection: sqlite3.Connection, lease: Lease, seq: int, entries: Iterable[Entry]
) -> None:
    now = time.time()
    connection.executemany(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)",
        [
            (lease.run_id, seq + n, lease.epoch, now, kind_of(entry), dump_entry(entry))
            for n, entry in enumerate(entries, 1)
        ],
    )


if TYPE_CHECKING:
    _: Journal = SQLiteJournal("")
