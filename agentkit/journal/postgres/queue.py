"""Runs that are submitted, and the workers that take them.

```
submit ──► queued ──► taken by a worker, under a lease ──► ended, paused, cancelled or failed
              ▲                  │
              └── its worker died, was stopped, or the model's server could not be reached
```
A submitted run is a run of the journal like any other, whose row says besides for which agent it
is and whose. A worker takes only runs of the agents that it offers, by name and fingerprint: an
agent with other tools or instructions could not go on with them. Of the tenants that have something
waiting, the one with the fewest runs at work comes first, so that one with ten thousand delays
another's single one by no more than it has runs at work; within a tenant the lower priority number
goes first, and then the older run.

What a worker knows of its runs is only their leases. One that dies is not missed: its leases end,
and others take its runs.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, LiteralString, TypeAlias

from agentkit.errors import JournalError
from agentkit.journal.entries import FORCED, Lease, RunOpened, Ticket
from agentkit.journal.leases import Owner
from agentkit.journal.postgres.connecting import Connection
from agentkit.journal.postgres.store import QUEUED, PostgresStore

WORK: Final = "agentkit_work"
"""The channel (NOTIFY) that tells workers of new runs, and of runs that are to end."""

Settled: TypeAlias = Literal["queued", "ended", "paused", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class Taken:
    """A run that a worker has taken.

    Attributes:
        lease: Its lease.
        ticket: For whom it is.
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
        states: Submitted runs by state.
        oldest: Seconds for which the oldest of those that wait has waited.
        lease_age: Seconds since the lease was renewed that was not renewed for longest.
    """

    waiting: Mapping[str, int]
    at_work: int
    states: Mapping[str, int]
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


class Queue:
    """The submitted runs of a journal. All of it blocks; see `PostgresJournal`.

    Args:
        store: The journal's store.
    """

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    def submit(self, run_id: str, opening: RunOpened, ticket: Ticket) -> None:
        """Begins a run that a worker is to take.

        Raises:
            JournalError: There is a run of this name, or it could not be written.
        """
        self._store.begin(run_id, opening, ticket, state=QUEUED)

    def take(self, offers: Mapping[str, str]) -> Taken | None:
        """Takes a run that waits; None if there is none.

        Args:
            offers: The names of the agents that are offered, each with its fingerprint.

        Raises:
            JournalError: The server cannot be asked, or a part of the run is lost; such a run has
                failed, and is not taken again.
        """
        taking = secrets.token_hex(16)
        values = self._store.taking("", taking)
        values |= {"agents": list(offers), "prints": list(offers.values())}

        def taken(connection: Connection) -> Sequence[Any] | None:
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

        with self._store.errors():
            row = self._store.ask(taken)
        if row is None:
            return None
        run_id, epoch, agent, fingerprint, tenant, priority, tries = row
        lease = Lease(run_id, epoch, FORCED)
        try:
            self._store.take_up(run_id)
        except JournalError as error:
            self.settle(lease, "failed", problem=str(error))
            raise
        return Taken(lease, Ticket(agent, fingerprint, tenant, priority), tries)

    def settle(
        self,
        lease: Lease,
        state: Settled,
        *,
        problem: str = "",
        after: float = 0.0,
        handed_over: bool = False,
    ) -> None:
        """Gives a run back that was taken; does nothing if the lease is lost already.

        Args:
            lease: Its lease.
            state: What becomes of it; `queued` for another worker, or the same one later.
            problem: Why it did not come to its end.
            after: Seconds from when on it may be taken again.
            handed_over: Nothing went wrong with it, so that this try does not count.
        """
        self._store.forget(lease)
        values = (problem, state, state, handed_over, after, lease.run_id, lease.epoch)

        with self._store.errors():
            self._store.ask(lambda connection: connection.execute(_SETTLE, values))

    def cancel(self, run_id: str) -> bool:
        """Ends a submitted run: at once where it waits, else as soon as its worker hears of it.
        False if it is none, or needs no worker any more.
        """
        return self._changed(_CANCEL, run_id)

    def retry(self, run_id: str) -> bool:
        """Queues a submitted run again that failed, was cancelled, paused or ended at a limit.
        False if it is none, or is queued.
        """
        return self._changed(_RETRY, run_id)

    def _changed(self, query: LiteralString, run_id: str) -> bool:
        """Whether the run was in a state that the statement changes."""
        with self._store.errors():
            return self._store.ask(lambda one: one.execute(query, (run_id,)).rowcount == 1)

    def cancelled(self, leases: Sequence[Lease]) -> list[str]:
        """Which of these runs somebody wants to end, or has been taken over."""
        query = (
            "SELECT held.run_id FROM unnest(%s::text[], %s::bigint[]) AS held (run_id, epoch) "
            "LEFT JOIN agentkit.runs ON runs.run_id = held.run_id AND runs.epoch = held.epoch "
            "WHERE runs.cancelled IS DISTINCT FROM false"
        )
        values = ([lease.run_id for lease in leases], [lease.epoch for lease in leases])
        with self._store.errors():
            rows = self._store.ask(lambda one: one.execute(query, values).fetchall())
        return [run_id for (run_id,) in rows]

    def stats(self) -> QueueStats:
        """How the queue stands now."""
        waiting = (
            "SELECT agent, count(*), max(extract(epoch FROM clock_timestamp()) - created) "
            "FROM agentkit.runs WHERE state = 'queued' AND owner = '' GROUP BY agent"
        )
        states = "SELECT state, count(*) FROM agentkit.runs WHERE state <> '' GROUP BY state"
        work = (
            "SELECT count(*), max(%s - extract(epoch FROM lease_until - clock_timestamp())) "
            "FROM agentkit.runs WHERE state = 'queued' AND owner <> ''"
        )
        with self._store.errors():
            rows, by_state, held = self._store.ask(
                lambda one: (
                    one.execute(waiting).fetchall(),
                    one.execute(states).fetchall(),
                    one.execute(work, (self._store.lease,)).fetchone(),
                )
            )
        at_work, age = held or (0, None)
        return QueueStats(
            {agent: count for agent, count, _ in rows},
            at_work,
            dict(by_state),
            max((float(oldest) for *_, oldest in rows), default=0.0),
            max(float(age or 0), 0.0),
        )
