"""What every journal shares, wherever its entries lie.

```
JournaledRun ──► StoredJournal ──► Store      SQLiteStore     a file and its witness
                 threads, leases              PostgresStore   a server for many machines
```
A `Store` keeps entries and decides who may write them; its methods block. `StoredJournal` is the
same above each store: it calls the store in threads, so that it serves asyncio and trio alike, and
renews its leases in a thread of its own, so that a busy event loop does not look like a dead owner.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, TypeVar

import anyio
import anyio.to_thread
from pydantic import JsonValue

from agentkit.errors import JournalError, check_kinds
from agentkit.events.lines import Values
from agentkit.journal.entries import (
    Entry,
    Journal,
    Lease,
    Record,
    RunOpened,
    RunSummary,
    kind_of,
    line_of,
)
from agentkit.journal.integrity import Damage, seal
from agentkit.redaction import public_address, secret_places

T = TypeVar("T")

LEASE = 30.0
"""Seconds. It matters only where the death of an owner cannot be proved: its process was stopped,
or is on another machine."""

_POLL = 0.5
"""Seconds between two reads of a journal that does not notify those who follow a run."""

LOST = (
    "so it cannot be gone on with: what is lost could run again. "
    "`agentkit runs show` shows what is left of it; begin a new run for what is still to be done"
)
"""Why a run of which something is lost is refused, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A run as far as it can be read.

    Attributes:
        records: What can be read, in order.
        damage: What cannot be read, and what may be missing.
    """

    records: list[Record]
    damage: list[Damage]


class Store(Protocol):
    """Keeps the entries of runs. Every method blocks, and raises `JournalError` where it fails.

    Its methods are called from several threads at the same time.
    """

    @property
    def where(self) -> str:
        """The store as messages name it: a path, or an address without its password."""
        ...

    def open(self, run_id: str, opening: RunOpened) -> Lease:
        """Begins a run; see `Journal.open`."""
        ...

    def claim(self, run_id: str) -> Lease:
        """Takes a run over; see `Journal.claim`.

        Raises:
            JournalError: There is no such run, its owner is alive, or a part of it is lost.
        """
        ...

    def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:
        """Writes entries; see `Journal.append`."""
        ...

    def release(self, lease: Lease) -> None:
        """Gives a lease back; see `Journal.release`."""
        ...

    def renew(self, leases: Iterable[Lease]) -> None:
        """Renews leases, which shows that their owner lives; those that are lost stay lost."""
        ...

    def read(self, run_id: str) -> list[Record]:
        """All entries of a run, to continue it.

        Raises:
            JournalError: Some of them are lost or cannot be read.
        """
        ...

    def examine(self, run_id: str, *, public: bool = False) -> Examined:
        """What can be read of a run, and what cannot.

        Args:
            run_id: Its name.
            public: Without the secrets that were registered when it was written.
        """
        ...

    def is_open(self, run_id: str) -> bool:
        """Whether something may still be added to a run."""
        ...

    def runs(self, limit: int) -> list[RunSummary]:
        """The newest runs, newest first."""
        ...

    def turns(self, conversation: str) -> list[str]:
        """The runs of a conversation; see `Journal.turns`."""
        ...

    def conversations(self) -> list[str]:
        """The names of all conversations, the one with the newest turn first."""
        ...

    def idle_since(self, when: float) -> list[str]:
        """The runs to which nothing was added since a time in seconds since 1970, the oldest first;
        runs that are at work or wait for a worker are left out.
        """
        ...

    def delete(self, run_id: str) -> bool:
        """Removes all that is kept of a run; False if that is nothing.

        Raises:
            RunAtWorkError: Someone is at work on it.
        """
        ...

    def close(self) -> None:
        """Ends all connections."""
        ...


# --- the end of a record -------------------------------------------------------------------------


Row: TypeAlias = tuple[str, int, int, float, str, str, bytes, str | None]
"""A row of the table of entries: the run, the entry's number, the epoch, when it was written, in
seconds since 1970, its kind, its body as JSON, its seal, and where secrets are in the body."""


@dataclass(slots=True)
class Head:
    """The end of a run's record, to which the holder of the lease adds.

    Attributes:
        seq: The number of the last entry.
        digest: The seal of the last entry.
        values: The long texts that were written under this lease.
        calls: The number of calls that were to run by then.
    """

    seq: int = 0
    digest: bytes = b""
    values: Values = field(default_factory=Values)
    calls: int = 0

    def add(self, lease: Lease, entries: Iterable[Entry], now: float) -> list[Row]:
        """Adds entries; returns the rows that hold them."""
        rows: list[Row] = []
        for entry in entries:
            kind, body = kind_of(entry), self.values.pack(line_of(entry))
            self.seq += 1
            place = (lease.run_id, self.seq, lease.epoch, now, kind)
            self.digest = seal(self.digest, place, body)
            secrets = secret_places(body)
            hidden = json.dumps(secrets) if secrets else None
            rows.append((*place, body.decode(), self.digest, hidden))
            self.calls += kind == "CallIntended"
        return rows


# --- the journal above a store -------------------------------------------------------------------


class StoredJournal:
    """A journal whose entries lie in a store; share one between the runs of a process.

    Args:
        store: Where they lie.
        labels: Kept with each run that begins here, such as who started it and how.
        lease: Seconds after which an owner that does not stir loses its run.

    Raises:
        ValueError: `lease` is not above 0.
    """

    def __init__(self, store: Store, labels: Mapping[str, JsonValue] | None, lease: float) -> None:
        self._store = store
        self._labels = labels or {}
        self._seconds = lease
        self._lock = threading.Lock()
        self._held: dict[str, Lease] = {}
        self._closed = threading.Event()
        self._renewing: threading.Thread | None = None

    @property
    def where(self) -> str:
        """Where the entries lie: a path, or an address without its password."""
        return self._store.where

    # --- the protocol ----------------------------------------------------------------------------

    async def open(self, run_id: str, opening: RunOpened) -> Lease:
        """Begins a run; see `Journal.open`."""
        labelled = self._labelled(opening)
        return self._hold(await self._in_thread(lambda: self._store.open(run_id, labelled)))

    async def claim(self, run_id: str) -> Lease:
        """Takes a run over; see `Journal.claim`.

        Raises:
            JournalError: There is no such run, its owner is alive, or a part of it is lost.
        """
        return self._hold(await self._in_thread(lambda: self._store.claim(run_id)))

    async def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:
        """Writes entries; see `Journal.append`."""
        await self._in_thread(lambda: self._store.append(lease, entries, durable=durable))

    async def read(self, run_id: str) -> list[Record]:
        """A run's entries; see `Journal.read`.

        Raises:
            JournalError: A part of it is lost.
        """
        return await self._in_thread(lambda: self._store.read(run_id))

    async def release(self, lease: Lease) -> None:
        """Gives a lease back; see `Journal.release`."""
        self._drop(lease)
        await self._in_thread(lambda: self._store.release(lease))

    async def turns(self, conversation: str) -> list[str]:
        """The runs of a conversation; see `Journal.turns`."""
        return await self._in_thread(lambda: self._store.turns(conversation))

    # --- beside it -------------------------------------------------------------------------------

    async def conversations(self) -> list[str]:
        """The names of all conversations, the one with the newest turn first."""
        return await self._in_thread(self._store.conversations)

    async def runs(self, limit: int = 50) -> list[RunSummary]:
        """The newest runs, newest first."""
        return await self._in_thread(lambda: self._store.runs(limit))

    async def examine(self, run_id: str) -> Examined:
        """What can be read of a run, and what of it is lost."""
        return await self._in_thread(lambda: self._store.examine(run_id))

    async def delete(self, run_id: str) -> bool:
        """Removes all that is kept of a run; False if that is nothing.

        Raises:
            RunAtWorkError: Someone is at work on it.
        """
        return await self._in_thread(lambda: self._store.delete(run_id))

    async def is_open(self, run_id: str) -> bool:
        """Whether something may still be added to a run."""
        return await self._in_thread(lambda: self._store.is_open(run_id))

    @asynccontextmanager
    async def news_of(self, run_id: str) -> AsyncGenerator[Callable[[], Awaitable[None]]]:  # noqa: ARG002 - a file tells nobody
        """A function that waits until something may have been added to a run."""
        yield partial(anyio.sleep, _POLL)

    def close(self) -> None:
        """Gives back all leases and closes the store. It is not an error to leave this out."""
        self._closed.set()
        with self._lock:
            held, self._held = list(self._held.values()), {}
        for lease in held:
            with suppress(JournalError):
                self._store.release(lease)
        self._store.close()

    def __enter__(self) -> Self:
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
        # Shielded, because the caller must learn the outcome of a transaction; it is short.
        with anyio.CancelScope(shield=True):
            return await anyio.to_thread.run_sync(work)
        raise AssertionError("a shielded scope is not left early")

    def _labelled(self, opening: RunOpened) -> RunOpened:
        return replace(opening, labels={**self._labels, **opening.labels})

    def _hold(self, lease: Lease) -> Lease:
        with self._lock:
            self._held[lease.run_id] = lease
            if self._renewing is None:
                self._renewing = threading.Thread(
                    target=self._renew_held, name="agentkit-lease", daemon=True
                )
                self._renewing.start()
        return lease

    def _drop(self, lease: Lease) -> None:
        """Stops renewing a lease."""
        with self._lock:
            if self._held.get(lease.run_id) == lease:
                del self._held[lease.run_id]

    def _renew_held(self) -> None:
        """Renews the leases that are held, as long as there are any."""
        while not self._closed.wait(self._seconds / 3):
            with self._lock:
                if not (held := list(self._held.values())):
                    self._renewing = None
                    return
            with suppress(JournalError):
                self._store.renew(held)


def check_lease(seconds: float) -> float:
    """The length of a lease, if it is one.

    Raises:
        TypeError: It is no number.
        ValueError: It is not above 0, or without end.
    """
    check_kinds({"lease": seconds}, {"lease": ((int, float), "give seconds above 0")})
    if not 0 < seconds < math.inf:
        raise ValueError(f"lease is {seconds}; give seconds above 0")
    return seconds


def file_of(place: str | Path) -> Path:
    """The file that a journal's name says.

    Raises:
        JournalError: The name is the address of something that keeps no journal.
    """
    name = str(place)
    if name == ":memory:" or name.startswith("file:"):
        raise JournalError(
            f"{name} is SQLite's word for something else than a path: name a file; a run whose "
            "journal is left out is kept in memory"
        )
    if "://" in name:
        raise JournalError(
            f"{public_address(name)} is no address of a journal: name a file, or postgresql://..."
        )
    return Path(place)


class LostRunError(JournalError):
    """A part of a run is lost, so the run cannot be continued."""


def refuse_lost(where: str, run_id: str, damage: Iterable[Damage]) -> None:
    """Refuses to continue a run of which something is lost.

    Raises:
        LostRunError: Something is lost.
    """
    if lost := [str(each) for each in damage if each.lost]:
        raise LostRunError(
            f"the journal {where} has lost a part of the run {run_id} ({'; '.join(lost)}), {LOST}"
        )


if TYPE_CHECKING:
    _: type[Journal] = StoredJournal
