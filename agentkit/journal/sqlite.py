"""`SQLiteJournal`: runs in one file, by the SQLite of Python's standard library.

WAL mode with `synchronous=FULL` forces every durable transaction to the disk (`PRAGMA synchronous`,
sqlite.org/pragma.html). Not on a network file system: WAL needs shared memory
(sqlite.org/wal.html), and SQLite's locks are only as good as the file system's.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread
from pydantic import JsonValue

from agentkit.errors import JournalError
from agentkit.journal.entries import Entry, Journal, Lease, Record, RunOpened, RunSummary
from agentkit.journal.store import Examined, Store

T = TypeVar("T")

_LEASE = 30.0
"""Seconds. Only for owners whose death cannot be proved: stopped ones, and those elsewhere."""


class SQLiteJournal:
    """Keeps runs in a file; share one between the runs of a process.

    Args:
        path: The file; it and its folder are made. Its `-wal`, `-shm` and `-witness` belong to
            it.
        labels: Kept with each run that begins here, such as who started it and how.
        lease: Seconds after which an owner that does not stir loses its run.

    Attributes:
        path: The file.

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
        self._store = Store(self.path, lease=lease)
        self._lock = threading.Lock()
        self._held: dict[str, Lease] = {}
        self._closed = threading.Event()
        self._heart: threading.Thread | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """To look at the file with SQL; what is written goes through the methods."""
        return self._store.connection

    # --- the protocol ----------------------------------------------------------------------------

    async def open(self, run_id: str, opening: RunOpened) -> Lease:
        """Begins a run; see `Journal.open`."""
        labelled = replace(opening, labels={**self._labels, **opening.labels})
        return self._hold(await self._in_thread(partial(self._store.open, run_id, labelled)))

    async def claim(self, run_id: str) -> Lease:
        """Takes a run over; see `Journal.claim`.

        Raises:
            JournalError: There is no such run, its owner is alive, or a part of it is lost.
        """
        return self._hold(await self._in_thread(partial(self._store.claim, run_id)))

    async def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:
        """Writes entries; see `Journal.append`."""
        await self._in_thread(partial(self._store.append, lease, entries, durable=durable))

    async def read(self, run_id: str) -> list[Record]:
        """A run's entries; see `Journal.read`.

        Raises:
            JournalError: A part of it is lost.
        """
        return await self._in_thread(partial(self._store.read, run_id))

    async def release(self, lease: Lease) -> None:
        """Gives a lease back; see `Journal.release`."""
        self._held.pop(lease.run_id, None)
        await self._in_thread(partial(self._store.release, lease))

    # --- beside it -------------------------------------------------------------------------------

    async def runs(self, limit: int = 50) -> list[RunSummary]:
        """The newest runs, newest first."""
        return await self._in_thread(partial(self._store.runs, limit))

    async def examine(self, run_id: str) -> Examined:
        """What can be read of a run, and what of it is lost."""
        return await self._in_thread(partial(self._store.examine, run_id))

    async def delete(self, run_id: str) -> bool:
        """Removes all that is kept of a run; False if that is nothing.

        Raises:
            JournalError: Someone is at work on it.
        """
        return await self._in_thread(partial(self._store.delete, run_id))

    def close(self) -> None:
        """Gives back all leases and closes the file. It is not an error to leave this out."""
        self._closed.set()
        for lease in list(self._held.values()):
            with suppress(JournalError):
                self._store.release(lease)
        self._store.close()

    def __enter__(self) -> SQLiteJournal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- inside ----------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], T]) -> T:
        # Shielded: what a transaction has decided must reach the caller, and it is short.
        with anyio.CancelScope(shield=True):
            return await anyio.to_thread.run_sync(work)
        raise AssertionError("a shielded scope is not left early")

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
            with suppress(JournalError):
                self._store.renew(held)


if TYPE_CHECKING:
    _: Journal = SQLiteJournal("")
