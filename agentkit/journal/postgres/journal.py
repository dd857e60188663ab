"""`PostgresJournal`: a journal on a server by its address, and how its runs are followed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import anyio
from pydantic import JsonValue

from agentkit.journal.postgres.queue import Queue
from agentkit.journal.postgres.store import (
    CONNECTIONS,
    PATIENCE,
    RUNS,
    PostgresStore,
    told_as,
)
from agentkit.journal.store import LEASE, check_lease

_FOLLOWED: Final = 10.0
"""Seconds for which a follower's interest lasts; it says so again before they are over."""


class PostgresJournal(Queue):
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
        store = PostgresStore(url, lease=seconds, connections=connections, patience=patience)
        super().__init__(store, labels, seconds)

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
