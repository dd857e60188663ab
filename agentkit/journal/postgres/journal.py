"""`PostgresJournal`: the journal above a server's store, with its queue of submitted runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import anyio
from pydantic import JsonValue

from agentkit.journal.entries import Lease, RunOpened, Ticket
from agentkit.journal.postgres.connecting import Listener
from agentkit.journal.postgres.queue import WORK, Queue, QueueStats, Settled, Taken
from agentkit.journal.postgres.store import (
    CONNECTIONS,
    PATIENCE,
    RUNS,
    PostgresStore,
    told_as,
)
from agentkit.journal.store import LEASE, StoredJournal, check_lease

_FOLLOWED: Final = 10.0
"""Seconds for which a follower's interest lasts; it says so again before they are over."""


class PostgresJournal(StoredJournal):
    """Keeps runs on a server, for all machines that know its address.

    `agentkit journal migrate URL` makes its tables. It needs a connection of its own to the server,
    or a pooler that keeps sessions: statements are prepared.

    Args:
        url: A connection URI of libpq: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.
        labels: Kept with each run that begins here, such as who started it and how.
        lease: Seconds, by the server's clock, after which an owner that does not stir loses its
            run.
        connections: Most connections of this process at a time.
        patience: Seconds in which a server that does not answer is asked again; a run whose step
            cannot be recorded by then ends with an error, and can be resumed.

    Raises:
        JournalError: The server cannot be reached, or has no journal of this version.
        ModuleNotFoundError: The extra is not installed.
        ValueError: `lease` is not above 0, or `connections` is below 1.
    """

    def __init__(
        self,
        url: str,
        *,
        labels: Mapping[str, JsonValue] | None = None,
        lease: float = LEASE,
        connections: int = CONNECTIONS,
        patience: float = PATIENCE,
    ) -> None:
        if connections < 1:
            raise ValueError(f"connections is {connections}; a journal needs one")
        seconds = check_lease(lease)
        self._server = PostgresStore(url, lease=seconds, connections=connections, patience=patience)
        self._queue = Queue(self._server)
        super().__init__(self._server, labels, lease)

    # --- runs for workers ------------------------------------------------------------------------

    async def submit(self, run_id: str, opening: RunOpened, ticket: Ticket) -> None:
        """Begins a run that a worker is to take; `Agent.submit` makes what it needs.

        Raises:
            JournalError: There is a run of this name, or it could not be written.
        """
        labelled = replace(opening, labels={**self._labels, **opening.labels})
        await self._in_thread(lambda: self._queue.submit(run_id, labelled, ticket))

    async def take(self, offers: Mapping[str, str]) -> Taken | None:
        """Takes a run that waits, and holds its lease; None if there is none.

        Args:
            offers: The names of the agents that are offered, each with its fingerprint.

        Raises:
            JournalError: The server cannot be asked, or a part of the run is lost; that run has
                failed then, and is not taken again.
        """
        taken = await self._in_thread(lambda: self._queue.take(offers))
        if taken is not None:
            self._hold(taken.lease)
        return taken

    async def settle(
        self,
        lease: Lease,
        state: Settled,
        *,
        problem: str = "",
        after: float = 0.0,
        handed_over: bool = False,
    ) -> None:
        """Gives a run back that was taken; see `Queue.settle`."""
        self._drop(lease)
        await self._in_thread(
            lambda: self._queue.settle(
                lease, state, problem=problem, after=after, handed_over=handed_over
            )
        )

    async def cancel(self, run_id: str) -> bool:
        """Ends a submitted run: at once where it waits, else as soon as its worker hears of it.
        False if it is none, or needs no worker any more.
        """
        return await self._in_thread(lambda: self._queue.cancel(run_id))

    async def retry(self, run_id: str) -> bool:
        """Queues a submitted run again that failed, was cancelled, paused or ended at a limit.
        False if it is none, or is queued.
        """
        return await self._in_thread(lambda: self._queue.retry(run_id))

    async def cancelled(self, leases: Sequence[Lease]) -> list[str]:
        """Which of these runs somebody wants to end, or has been taken over."""
        return await self._in_thread(lambda: self._queue.cancelled(leases))

    async def stats(self) -> QueueStats:
        """How the queue of submitted runs stands now."""
        return await self._in_thread(self._queue.stats)

    def listener(self) -> Listener:
        """What workers are told: that there may be something to take or to end."""
        return self._server.listener(WORK)

    # --- runs that are followed ------------------------------------------------------------------

    async def is_open(self, run_id: str) -> bool:
        """Whether something may still be added to a run."""
        return await self._in_thread(lambda: self._server.is_open(run_id))

    @asynccontextmanager
    async def news_of(self, run_id: str) -> AsyncGenerator[Callable[[], Awaitable[None]]]:
        """What waits until something was added to a run; see `StoredJournal.news_of`."""
        listener, name = self._server.listener(RUNS), told_as(run_id)
        await self._in_thread(lambda: listener.hear(0.0))

        async def wait() -> None:
            await self._in_thread(lambda: self._server.follow(run_id, _FOLLOWED))
            end = anyio.current_time() + _FOLLOWED / 2
            while anyio.current_time() < end:
                if name in await self._in_thread(lambda: listener.hear(0.5)):
                    return

        try:
            yield wait
        finally:
            listener.close()
