"""`PostgresJournal`, a journal on a server by its address; and the queue of submitted runs, with
the workers that take them.

```
submit ──► queued ──► taken by a worker, under a lease ──► ended, paused, cancelled or failed
              ▲                  │
              └── its worker died, was stopped, or the model's server could not be reached
```
A submitted run is a run of the journal like any other, whose row also names its agent and its
tenant. A worker takes only runs of the agents that it offers, by name and fingerprint: an agent
with other tools or instructions could not continue them. Of the tenants that have runs waiting, the
one with the fewest runs at work comes first. So a tenant that submits ten thousand runs delays
another's single run by no more than its runs at work. Within a tenant the lower priority number
goes first, and then the older run.

A worker holds nothing of its runs but their leases. If it dies, its leases end, and others take its
runs.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

import anyio
from pydantic import JsonValue

from agentkit.errors import check_counts
from agentkit.journal.entries import FORCED, Lease, Queueing, RunOpened, Ticket
from agentkit.journal.leases import Owner
from agentkit.journal.postgres.connecting import Connection, Listener
from agentkit.journal.postgres.store import (
    CONNECTIONS,
    PATIENCE,
    QUEUED,
    RUNS,
    PostgresStore,
    told_as,
)
from agentkit.journal.store import LEASE, LostRunError, StoredJournal, check_lease

T = TypeVar("T")

WORK: Final = "agentkit_work"
"""The channel (NOTIFY) that tells workers of new runs, and of runs that are to end."""

Settled: TypeAlias = Literal["queued", "ended", "paused", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class Taken:
    """A run that a worker has taken.

    Attributes:
        lease: Its lease.
        ticket: The agent and the tenant that it is for.
        tries: How often it was taken, this time included.
    """

    lease: Lease
    ticket: Ticket
    tries: int


@dataclass(frozen=True, slots=True)
class QueueStats:
    """How a queue stands.

    Attributes:
        waiting: Runs that wait for a worker, by agent.
        at_work: Runs that a worker has.
        oldest: Seconds for which the oldest of those that wait has waited.
        lease_age: Seconds since the last renewal of the lease that was renewed longest ago.
    """

    waiting: Mapping[str, int]
    at_work: int
    oldest: float
    lease_age: float


_TENANTS: Final = """
    WITH RECURSIVE each (tenant) AS (
        (SELECT min(tenant) FROM agentkit.runs WHERE state = 'queued')
        UNION ALL
        SELECT (SELECT min(runs.tenant) FROM agentkit.runs
            WHERE state = 'queued' AND runs.tenant > each.tenant)
        FROM each WHERE each.tenant IS NOT NULL)
    SELECT tenant FROM each WHERE tenant IS NOT NULL
    ORDER BY (SELECT count(*) FROM agentkit.runs WHERE state = 'queued' AND owner <> ''
        AND runs.tenant = each.tenant AND lease_until > clock_timestamp()), random()
"""

_TAKE: Final = """
    UPDATE agentkit.runs SET epoch = epoch + 1, owner = %(owner)s, taking = %(taking)s,
        tries = tries + 1, lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
    WHERE run_id = (
        SELECT run_id FROM agentkit.runs
        WHERE state = 'queued' AND tenant = %(tenant)s AND due <= clock_timestamp()
            AND (owner = '' OR owner = ANY(%(dead)s) OR lease_until <= clock_timestamp())
            AND (agent, fingerprint) IN (
                SELECT * FROM unnest(%(agents)s::text[], %(prints)s::text[]))
        ORDER BY priority, created LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING run_id, epoch, agent, fingerprint, tenant, priority, tries
"""

_TAKEN: Final = """
    SELECT run_id, epoch, agent, fingerprint, tenant, priority, tries FROM agentkit.runs
    WHERE state = 'queued' AND owner <> '' AND taking = %s
"""

_OWNERS: Final = "SELECT DISTINCT owner FROM agentkit.runs WHERE state = 'queued' AND owner <> ''"

_SETTLE: Final = """
    UPDATE agentkit.runs SET owner = '', problem = %s, cancelled = false,
        state = CASE WHEN cancelled AND %s = 'queued' THEN 'cancelled' ELSE %s END,
        tries = CASE WHEN %s THEN 0 ELSE tries END,
        due = clock_timestamp() + make_interval(secs => %s)
    WHERE run_id = %s AND epoch = %s
"""

_CANCEL: Final = """
    UPDATE agentkit.runs SET cancelled = (owner <> '' AND lease_until > clock_timestamp()),
        state = CASE WHEN owner <> '' AND lease_until > clock_timestamp() THEN state
            ELSE 'cancelled' END
    WHERE run_id = %s AND state IN ('queued', 'paused')
"""

_RETRY: Final = """
    UPDATE agentkit.runs SET state = 'queued', tries = 0, problem = '', cancelled = false,
        due = clock_timestamp()
    WHERE run_id = %s AND state IN ('failed', 'cancelled', 'paused', 'ended')
"""


_CANCELLED: Final = """
    SELECT held.run_id FROM unnest(%s::text[], %s::bigint[]) AS held (run_id, epoch)
    LEFT JOIN agentkit.runs ON runs.run_id = held.run_id AND runs.epoch = held.epoch
    WHERE runs.cancelled IS DISTINCT FROM false
"""

_WAITING: Final = """
    SELECT agent, count(*), max(extract(epoch FROM clock_timestamp()) - created)
    FROM agentkit.runs WHERE state = 'queued' AND owner = '' GROUP BY agent
"""

_STATES: Final = "SELECT state, count(*) FROM agentkit.runs WHERE state <> '' GROUP BY state"

_HELD: Final = """
    SELECT count(*), max(%s - extract(epoch FROM lease_until - clock_timestamp()))
    FROM agentkit.runs WHERE state = 'queued' AND owner <> ''
"""


class Queue(StoredJournal):
    """A journal on a server, which also keeps runs for workers to take.

    Args:
        store: The store that holds its entries.
        labels: Kept with each run that begins here.
        lease: Seconds after which an owner that does not stir loses its run.
    """

    def __init__(
        self, store: PostgresStore, labels: Mapping[str, JsonValue] | None, lease: float
    ) -> None:
        super().__init__(store, labels, lease)
        self._server = store
        self._taken: dict[str, Lease] = {}

    # --- who submits -----------------------------------------------------------------------------

    async def submit(self, run_id: str, opening: RunOpened, ticket: Ticket) -> None:
        """Begins a run that a worker is to take; `Agent.submit` makes what it needs.

        Raises:
            JournalError: There is a run of this name, or it could not be written.
        """
        labelled = self._labelled(opening)
        await self._in_thread(lambda: self._server.begin(run_id, labelled, ticket, state=QUEUED))

    async def cancel(self, run_id: str) -> bool:
        """Ends a submitted run: at once where it waits, else as soon as its worker hears of it.
        False if it is no submitted run, or needs no worker any more.
        """
        return await self._asked(lambda one: one.execute(_CANCEL, (run_id,)).rowcount == 1)

    async def retry(self, run_id: str) -> bool:
        """Queues a submitted run again that failed, was cancelled, paused or ended at a limit.
        False if it is no submitted run, or is queued.
        """
        return await self._asked(lambda one: one.execute(_RETRY, (run_id,)).rowcount == 1)

    # --- who works -------------------------------------------------------------------------------

    async def take(self, offers: Mapping[str, str]) -> Taken | None:
        """Takes a run that waits, and holds its lease until it is settled; None if there is none.

        Args:
            offers: The names of the agents that are offered, each with its fingerprint.

        Raises:
            JournalError: The server cannot be asked; a run that was taken waits again when its
                lease has ended. Or a part of the run is lost; it has failed, and waits no more.
        """
        taking = secrets.token_hex(16)
        values = self._server.taking("", taking)
        values |= {"agents": list(offers), "prints": list(offers.values())}

        def found(connection: Connection) -> Sequence[Any] | None:
            # The answer to a first try may have been lost.
            if (row := connection.execute(_TAKEN, (taking,)).fetchone()) is not None:
                return row
            owners = [owner for (owner,) in connection.execute(_OWNERS)]
            dead = [owner for owner in owners if Owner.from_json(owner).is_dead]
            for (tenant,) in connection.execute(_TENANTS).fetchall():
                asked = values | {"tenant": tenant, "dead": dead}
                if (row := connection.execute(_TAKE, asked).fetchone()) is not None:
                    return row
            return None

        if (row := await self._asked(found)) is None:
            return None
        run_id, epoch, agent, fingerprint, tenant, priority, tries = row
        lease = Lease(run_id, epoch, FORCED)
        try:
            await self._in_thread(lambda: self._server.take_up(lease))
        except LostRunError as error:
            await self.settle(lease, "failed", problem=str(error))
            raise
        self._taken[run_id] = self._hold(lease)
        return Taken(lease, Ticket(agent, fingerprint, tenant, priority), tries)

    async def claim(self, run_id: str) -> Lease:
        """Takes a run over; see `Journal.claim`. A run taken from the queue has its lease."""
        return self._taken.get(run_id) or await super().claim(run_id)

    async def release(self, lease: Lease) -> None:
        """Gives a lease back; see `Journal.release`. `settle` gives back what was taken."""
        if self._taken.get(lease.run_id) != lease:
            await super().release(lease)

    async def settle(
        self,
        lease: Lease,
        state: Settled,
        *,
        problem: str = "",
        after: float = 0.0,
        handed_over: bool = False,
    ) -> None:
        """Gives a run that was taken back; does nothing if the lease is lost already.

        Args:
            lease: Its lease.
            state: What becomes of it; `queued` for another worker, or the same one later.
            problem: Why it did not come to its end.
            after: Seconds until it may be taken again.
            handed_over: Whether nothing went wrong, so that this try does not count.
        """
        if self._taken.get(lease.run_id) == lease:
            del self._taken[lease.run_id]
        self._drop(lease)
        self._server.forget(lease)
        values = (problem, state, state, handed_over, after, lease.run_id, lease.epoch)
        await self._asked(lambda connection: connection.execute(_SETTLE, values))

    async def cancelled(self, leases: Sequence[Lease]) -> list[str]:
        """The runs among these that somebody wants to end, or that were taken over."""
        values = ([lease.run_id for lease in leases], [lease.epoch for lease in leases])
        rows = await self._asked(lambda one: one.execute(_CANCELLED, values).fetchall())
        return [run_id for (run_id,) in rows]

    def listener(self) -> Listener:
        """Hears when there may be a run to take or to end."""
        return self._server.listener(WORK)

    # --- who watches -----------------------------------------------------------------------------

    async def stats(self) -> QueueStats:
        """How the queue stands now; only runs that wait or are at work are read for it."""
        rows, held = await self._asked(
            lambda one: (
                one.execute(_WAITING).fetchall(),
                one.execute(_HELD, (self._server.lease,)).fetchone(),
            )
        )
        at_work, age = held or (0, None)
        return QueueStats(
            {agent: count for agent, count, _ in rows},
            at_work,
            max((float(oldest) for *_, oldest in rows), default=0.0),
            max(float(age or 0), 0.0),
        )

    async def states(self) -> dict[str, int]:
        """How many submitted runs there are in each state; all rows are read for it."""
        return dict(await self._asked(lambda one: one.execute(_STATES).fetchall()))

    async def _asked(self, work: Callable[[Connection], T]) -> T:
        """What `work` makes of a connection, in a thread; see `PostgresStore.ask`."""

        def ask() -> T:
            with self._server.errors():
                return self._server.ask(work)

        return await self._in_thread(ask)


if TYPE_CHECKING:
    _: type[Queueing] = Queue


# --- the journal of a server ---------------------------------------------------------------------

_FOLLOWED: Final = 10.0
"""Seconds for which a follower is notified; it asks again before they are over."""


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
        patience: Seconds for which a server that does not answer is asked again; a run whose step
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
        check_counts(connections=connections)
        seconds = check_lease(lease)
        store = PostgresStore(url, lease=seconds, connections=connections, patience=patience)
        super().__init__(store, labels, seconds)

    # --- runs that are followed ------------------------------------------------------------------

    @asynccontextmanager
    async def news_of(self, run_id: str) -> AsyncGenerator[Callable[[], Awaitable[None]]]:
        """A function that waits for news of a run; see `StoredJournal.news_of`."""
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
