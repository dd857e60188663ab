"""`PostgresStore`: entries and leases in tables, changed by statements that may be sent twice."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple, TypeVar

import psycopg
from psycopg_pool import PoolTimeout

from agentkit.errors import JournalError, RunAtWorkError
from agentkit.events.lines import Values
from agentkit.journal.entries import (
    FORCED,
    Entry,
    Lease,
    Raw,
    Record,
    RunOpened,
    RunSummary,
    Ticket,
    kind_of,
    summary_of,
)
from agentkit.journal.integrity import Chain, Testimony, first, missing_at_the_end, secrets_in
from agentkit.journal.leases import Owner
from agentkit.journal.postgres.connecting import (
    Address,
    Connection,
    Listener,
    check_tables,
    may_pass,
    trying,
)
from agentkit.journal.store import LEASE, Examined, Head, Row, Store, refuse_lost
from agentkit.redaction import hiding

T = TypeVar("T")

PATIENCE: Final = 60.0
"""Seconds for which to wait for a server that restarts, or takes over from another."""

_OPENING: Final = 5.0
"""The same when a journal is opened, where the address may be wrong as well."""

CONNECTIONS: Final = 8

_INSERT: Final = """
    INSERT INTO agentkit.events (run_id, seq, epoch, at, kind, body, digest, hidden)
    SELECT one.run_id, entry.* FROM one, unnest(%(seqs)s::bigint[], %(epochs)s::bigint[],
        %(ats)s::double precision[], %(kinds)s::text[], %(bodies)s::text[], %(digests)s::bytea[],
        %(hiddens)s::text[]) AS entry
"""

_OPEN: Final = f"""
    WITH one AS (
        INSERT INTO agentkit.runs
            (run_id, epoch, owner, taking, lease_until, created, seq, digest, kind, calls,
            state, agent, fingerprint, tenant, priority, conversation)
        VALUES (%(run_id)s, 1, %(owner)s, %(taking)s,
            clock_timestamp() + make_interval(secs => %(lease)s),
            %(created)s, %(seq)s, %(digest)s, %(kind)s, %(calls)s,
            %(state)s, %(agent)s, %(fingerprint)s, %(tenant)s, %(priority)s, %(conversation)s)
        ON CONFLICT (run_id) DO NOTHING RETURNING run_id)
    {_INSERT}
"""  # noqa: S608 - of a constant

_APPEND: Final = f"""
    WITH one AS (
        UPDATE agentkit.runs SET seq = %(seq)s, digest = %(digest)s, kind = %(kind)s,
            calls = %(calls)s, lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
        WHERE run_id = %(run_id)s AND epoch = %(epoch)s
            AND seq = %(before)s AND digest = %(sealed)s
            AND EXISTS (SELECT FROM agentkit.events WHERE run_id = %(run_id)s AND seq = %(before)s)
        RETURNING run_id)
    {_INSERT}
"""  # noqa: S608 - of a constant

_CLAIM: Final = """
    UPDATE agentkit.runs SET epoch = epoch + 1, owner = %(owner)s, taking = %(taking)s,
        lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
    WHERE run_id = %(run_id)s AND epoch = %(epoch)s AND taking = %(before)s
        AND (%(ended)s OR lease_until <= clock_timestamp())
"""

_RENEW: Final = """
    UPDATE agentkit.runs SET lease_until = clock_timestamp() + make_interval(secs => %s)
    FROM unnest(%s::text[], %s::bigint[]) AS held (run_id, epoch)
    WHERE runs.run_id = held.run_id AND runs.epoch = held.epoch AND runs.owner <> ''
"""

_RUN: Final = """
    SELECT run_id, epoch, owner, taking,
        greatest(extract(epoch FROM lease_until - clock_timestamp())::double precision, 0),
        seq, digest, kind, calls, state FROM agentkit.runs
"""


QUEUED: Final = "queued"
RUNS: Final = "agentkit_run"
"""The channel that tells of new entries of runs that are followed."""


@dataclass(frozen=True, slots=True)
class _RunRow:
    """A run's row.

    Attributes:
        run_id: Its name.
        epoch: The number of the newest lease.
        owner: Who holds it, as `Owner.to_json`; empty for nobody.
        taking: A name that is unique to the taking of this lease.
        left: Seconds until the lease ends.
        seq: The number of the last entry.
        digest: The seal of the last entry.
        kind: The kind of the last entry.
        calls: How many calls were to run by then.
        state: What workers are to do with it; see `agentkit.journal.postgres.queue`.
    """

    run_id: str
    epoch: int
    owner: str
    taking: str
    left: float
    seq: int
    digest: bytes
    kind: str
    calls: int
    state: str

    @property
    def is_ended(self) -> bool:
        """Whether nobody holds it, or its owner is certainly dead, whatever the clock says."""
        return not self.owner or Owner.from_json(self.owner).is_dead

    @property
    def at_work(self) -> float:
        """Seconds for which its owner still counts as living; 0 if it does not."""
        return 0.0 if self.is_ended else self.left

    @property
    def testimony(self) -> Testimony:
        """Where its record ends, by this row, which is stored apart from the entries."""
        return replace(
            first(self.run_id),
            number=1,
            seq=self.seq,
            digest=self.digest.hex(),
            kind=self.kind,
            calls=self.calls,
            forced=self.seq,
        )


class _End(NamedTuple):
    """Where the record of a run ends: the newest epoch, and the last entry's number and seal."""

    epoch: int
    seq: int
    digest: bytes


@dataclass(slots=True)
class _HeldRun:
    """A run whose lease this process holds.

    Attributes:
        head: The end of its record.
        doubts: Other ends that it has if changes took effect whose answers were lost.
        lock: Held while entries are added: calls of one step write at the same time.
    """

    head: Head
    doubts: list[Head] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class PostgresStore:
    """The tables of a journal on a server.

    Args:
        url: A connection URI of libpq: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.
        lease: Seconds after which an owner that does not stir loses its run.
        connections: Most connections at a time; they are made as they are needed.
        patience: Seconds in which a server that does not answer is asked again.

    Raises:
        JournalError: The server cannot be reached, or has no journal of this version.
    """

    def __init__(
        self,
        url: str,
        *,
        lease: float = LEASE,
        connections: int = CONNECTIONS,
        patience: float = PATIENCE,
    ) -> None:
        self._address = Address.of(url)
        self._seconds = lease
        self._patience = patience
        self._silent = False
        self._held: dict[Lease, _HeldRun] = {}
        with self.errors():
            # Without the pool at first: it would not say why there is no connection.
            trying(min(patience, _OPENING))(self._check_tables)
            self._pool = self._address.pool(connections)

    def _check_tables(self) -> None:
        with self._address.connect() as connection:
            check_tables(connection, self.where)

    @property
    def where(self) -> str:
        """The address, without user, password and options."""
        return self._address.public

    @property
    def lease(self) -> float:
        """Seconds of a lease."""
        return self._seconds

    def errors(self) -> AbstractContextManager[None]:
        """Turns whatever the driver or a damaged value raises into a `JournalError`."""
        return self._address.errors()

    def listener(self, channel: str) -> Listener:
        """A listener to a channel, over a connection of its own."""
        return Listener(self._address, channel)

    def is_open(self, run_id: str) -> bool:
        """Whether something may still be added to a run: someone is at work on it, or is to be."""
        with self.errors():
            row = self.ask(lambda connection: _row(connection, run_id))
        return row is not None and (row.state == QUEUED or row.at_work > 0)

    def follow(self, run_id: str, seconds: float) -> None:
        """For so many seconds, the channel `RUNS` tells of new entries of a run; see `told_as`."""
        query = (
            "UPDATE agentkit.runs SET followed_until = "
            "clock_timestamp() + make_interval(secs => %s) WHERE run_id = %s"
        )
        with self.errors():
            self.ask(lambda connection: connection.execute(query, (seconds, run_id)))

    def forget(self, lease: Lease) -> None:
        """Writes no more under a lease."""
        self._held.pop(lease, None)

    def close(self) -> None:
        self._pool.close()

    # --- writing ---------------------------------------------------------------------------------

    def open(self, run_id: str, opening: RunOpened) -> Lease:
        """Begins a run; see `Journal.open`."""
        return self.begin(run_id, opening, Ticket(), state="")

    def begin(self, run_id: str, opening: RunOpened, ticket: Ticket, *, state: str) -> Lease:
        """Begins a run, for this process or for a worker that takes it from the queue.

        Args:
            run_id: Its name.
            opening: What it begins with.
            ticket: The agent and the tenant that it is submitted for.
            state: `queued` for a run that nobody holds until a worker takes it, else empty.

        Raises:
            JournalError: There is a run of this name.
        """
        lease, head, taking = Lease(run_id, 1, FORCED), Head(), secrets.token_hex(16)
        now = time.time()
        with self.errors():
            rows = head.add(lease, [opening], now)
            values = self.taking(run_id, taking) | _values(rows, head) | asdict(ticket)
            values |= {"created": now, "state": state, "conversation": opening.conversation}
            values |= {"owner": ""} if state else {}

            def opened(connection: Connection) -> bool:
                if connection.execute(_OPEN, values).rowcount == len(rows):
                    return True
                row = _row(connection, run_id)
                return row is not None and row.taking == taking

            if not self.ask(opened):
                raise JournalError(
                    f"the journal {self.where} has a run {run_id} already: "
                    "resume it, or choose another run_id"
                )
        if not state:
            self._held[lease] = _HeldRun(head)
        return lease

    def claim(self, run_id: str) -> Lease:
        """Takes a run over; see `Journal.claim`."""
        taking = secrets.token_hex(16)

        def claimed(connection: Connection) -> int:
            row = _row(connection, run_id)
            if row is None:
                raise JournalError(f"the journal {self.where} has no run {run_id}")
            if row.taking == taking:
                return row.epoch
            if row.at_work > 0:
                raise RunAtWorkError(
                    f"the run {run_id} is at work in {Owner.from_json(row.owner)}; it can be taken "
                    f"over when that ends, or does not stir for {row.left:.0f} s more"
                )
            values = self.taking(run_id, taking) | {"epoch": row.epoch, "before": row.taking}
            values |= {"ended": row.is_ended}
            if connection.execute(_CLAIM, values).rowcount == 1:
                return row.epoch + 1
            return claimed(connection)  # another process was quicker, and has the run now

        with self.errors():
            lease = Lease(run_id, self.ask(claimed), FORCED)
        try:
            self.take_up(lease)
        except BaseException:
            self.release(lease)
            raise
        return lease

    def take_up(self, lease: Lease) -> None:
        """Makes sure that the whole run is there, for the holder of a lease."""
        examined, digest = self._examine(lease.run_id)
        refuse_lost(self.where, lease.run_id, examined.damage)
        last = examined.records[-1].seq if examined.records else 0
        calls = sum(kind_of(each.entry) == "CallIntended" for each in examined.records)
        self._held[lease] = _HeldRun(Head(last, digest, calls=calls))

    def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:  # noqa: ARG002 - all of it is
        """Writes entries; see `Journal.append`."""
        held = self._held.get(lease)
        if held is None:
            raise _taken_over(lease.run_id)
        with held.lock, self.errors():
            while not self._added(lease, held, entries):
                pass  # an earlier change without an answer took effect: add behind that one

    def _added(self, lease: Lease, held: _HeldRun, entries: Sequence[Entry]) -> bool:
        """Adds entries behind the known end of the record. False if the record ends elsewhere,
        because an earlier change without an answer took effect; `held` then has that end.

        Raises:
            JournalError: The run is another's now, or does not end where its owner left it.
        """
        head = replace(held.head)
        # Texts that are packed now count as written only once all entries are.
        held.head = replace(head, values=Values())
        rows = head.add(lease, entries, time.time())
        wanted = _End(lease.epoch, head.seq, head.digest)
        values = _values(rows, head) | {
            "run_id": lease.run_id,
            "epoch": lease.epoch,
            "before": held.head.seq,
            "sealed": held.head.digest,
            "lease": self._seconds,
        }

        def add(connection: Connection) -> _End | None:
            if connection.execute(_APPEND, values).rowcount == len(rows):
                return wanted
            row = _row(connection, lease.run_id)
            if row is None:
                return None
            events = _events(connection, lease.run_id, behind=row.seq - 1)
            return _End(row.epoch, row.seq if events else row.seq - 1, row.digest)

        try:
            end = self.ask(add)
        except psycopg.Error:
            held.doubts.append(head)  # it may have taken effect; the next write finds out
            raise
        if end == wanted:
            held.head, held.doubts = head, []
            return True
        if end is None or end.epoch != lease.epoch:
            raise _taken_over(lease.run_id)
        for doubt in held.doubts:
            if (end.seq, end.digest) == (doubt.seq, doubt.digest):
                held.head, held.doubts = doubt, []
                return False
        raise JournalError(
            f"the journal {self.where} has lost a part of the run {lease.run_id} while it was "
            f"at work: it ends with entry {end.seq}, not {held.head.seq}"
        )

    def release(self, lease: Lease) -> None:
        """Gives a lease back; see `Journal.release`."""
        self.forget(lease)
        query = "UPDATE agentkit.runs SET owner = '' WHERE run_id = %s AND epoch = %s"
        with self.errors():
            self.ask(lambda connection: connection.execute(query, (lease.run_id, lease.epoch)))

    def renew(self, leases: Iterable[Lease]) -> None:
        """Renews leases, which shows that their owner lives."""
        held = list(leases)
        values = (self._seconds, [each.run_id for each in held], [each.epoch for each in held])
        with self.errors():
            self.ask(lambda connection: connection.execute(_RENEW, values))

    def delete(self, run_id: str) -> bool:
        """Removes all that is kept of a run; False if that is nothing.

        Raises:
            RunAtWorkError: A living process is at work on it.
        """
        found = False

        def deleted(connection: Connection) -> bool:
            nonlocal found
            with connection.transaction():
                row = _row(connection, run_id, lock=True)
                if row is not None and row.at_work > 0:
                    raise RunAtWorkError(
                        f"the run {run_id} is at work in {Owner.from_json(row.owner)}; "
                        "end that first"
                    )
                found = found or row is not None  # true also if the first try's answer was lost
                for table in ("events", "runs"):
                    query = f"DELETE FROM agentkit.{table} WHERE run_id = %s"  # noqa: S608 - of a constant
                    connection.execute(query, (run_id,))
            return found

        with self.errors():
            return self.ask(deleted)

    # --- reading ---------------------------------------------------------------------------------

    def read(self, run_id: str) -> list[Record]:
        """All entries of a run, to continue it.

        Raises:
            JournalError: Some of them are lost or cannot be read.
        """
        examined = self.examine(run_id)
        refuse_lost(self.where, run_id, examined.damage)
        return examined.records

    def examine(self, run_id: str, *, public: bool = False) -> Examined:
        """What can be read of a run, and what cannot.

        Args:
            run_id: Its name.
            public: Without the secrets that were registered when it was written.

        Raises:
            JournalError: The server cannot be asked.
        """
        return self._examine(run_id, public=public)[0]

    def _examine(self, run_id: str, *, public: bool = False) -> tuple[Examined, bytes]:
        # The row first: entries that are added meanwhile then come after the end that it knows.
        with self.errors():
            row, rows = self.ask(lambda one: (_row(one, run_id), _events(one, run_id)))
        testimony = None if row is None else row.testimony
        chain = Chain(run_id, testimony, hiding(secrets_in(rows)) if public else None)
        for each in rows:
            chain.add(each)
        chain.end("", witnessed=bool(rows))
        return Examined(chain.records, chain.damage), chain.digest

    def runs(self, limit: int) -> list[RunSummary]:
        """The newest runs, newest first."""

        def found(connection: Connection) -> list[tuple[_RunRow, list[tuple[Any, ...]]]]:
            rows = connection.execute(f"{_RUN} ORDER BY created DESC LIMIT %s", (limit,)).fetchall()
            named = [_RunRow(*row) for row in rows]
            return [(row, _events(connection, row.run_id)) for row in named]

        with self.errors():
            return [_summary(*each) for each in self.ask(found)]

    def turns(self, conversation: str) -> list[str]:
        """The runs of a conversation; see `Journal.turns`."""
        return self._names(
            "SELECT run_id FROM agentkit.runs WHERE conversation = %s AND conversation <> '' "
            "ORDER BY created",
            conversation,
        )

    def conversations(self) -> list[str]:
        """The names of all conversations, the one with the newest turn first."""
        return self._names(
            "SELECT conversation FROM agentkit.runs WHERE conversation <> '' "
            "GROUP BY conversation ORDER BY max(created) DESC"
        )

    def idle_since(self, when: float) -> list[str]:
        """The runs to which nothing was added since then; see `Store.idle_since`."""
        return self._names(
            "SELECT run_id FROM agentkit.runs WHERE created < %s AND state <> 'queued' "
            "AND (owner = '' OR lease_until <= clock_timestamp()) "
            "AND coalesce((SELECT at FROM agentkit.events WHERE events.run_id = runs.run_id "
            "ORDER BY seq DESC LIMIT 1), 0) < %s ORDER BY created",
            when,
            when,
        )

    def _names(self, query: LiteralString, *values: object) -> list[str]:
        with self.errors():
            rows = self.ask(lambda connection: connection.execute(query, values).fetchall())
        return [name for (name,) in rows]

    # --- the server ------------------------------------------------------------------------------

    def ask(self, work: Callable[[Connection], T]) -> T:
        """What `work` makes of a connection. It is called again, with another connection, as long
        as no answer comes, so calling it twice must have the effect of calling it once.
        """
        # After one wait in vain, further calls do not wait until the server has answered again.
        patience = 0.0 if self._silent else self._patience
        try:
            result = trying(patience)(lambda: self._once(work))
        except psycopg.Error as error:
            self._silent = may_pass(error)
            if isinstance(error, PoolTimeout):  # a connection of our own raises the reason
                self._address.connect().close()
            raise
        self._silent = False
        return result

    def _once(self, work: Callable[[Connection], T]) -> T:
        with self._pool.connection() as connection:
            return work(connection)

    def taking(self, run_id: str, taking: str) -> dict[str, Any]:
        """The values of a statement that takes a run."""
        owner = Owner.this_process().to_json()
        return {"run_id": run_id, "owner": owner, "taking": taking, "lease": self._seconds}


def _values(rows: Sequence[Row], head: Head) -> dict[str, Any]:
    """The values of a statement that adds entries."""
    _, seqs, epochs, ats, kinds, bodies, digests, hiddens = map(list, zip(*rows, strict=True))
    return {
        "seqs": seqs,
        "epochs": epochs,
        "ats": ats,
        "kinds": kinds,
        "bodies": bodies,
        "digests": digests,
        "hiddens": hiddens,
        "seq": head.seq,
        "digest": head.digest,
        "kind": kinds[-1],
        "calls": head.calls,
    }


def _row(connection: Connection, run_id: str, *, lock: bool = False) -> _RunRow | None:
    query = f"{_RUN} WHERE run_id = %s {'FOR UPDATE' if lock else ''}"
    row = connection.execute(query, (run_id,)).fetchone()
    return None if row is None else _RunRow(*row)


def _events(connection: Connection, run_id: str, behind: int = 0) -> list[tuple[Any, ...]]:
    query = (
        "SELECT seq, epoch, at, kind, body, digest, hidden FROM agentkit.events "
        "WHERE run_id = %s AND seq > %s ORDER BY seq"
    )
    return connection.execute(query, (run_id, behind)).fetchall()


def _summary(row: _RunRow, events: list[tuple[Any, ...]]) -> RunSummary:
    hide = hiding(secrets_in(events[:1]))  # a summary shows text of the first entry only
    lines = [Raw(*each[:5]) for each in events]
    if hide is not None and lines:
        body = hide(lines[0].body.encode("utf-8", "replace")).decode()
        lines[0] = replace(lines[0], body=body)
    try:
        summary = summary_of(row.run_id, lines, taken=row.at_work > 0)
    except (JournalError, ValueError, TypeError, AttributeError) as error:
        return RunSummary(row.run_id, "damaged", damage=str(error))
    damage = missing_at_the_end(row.testimony, lines[-1].seq)
    if row.state == QUEUED and summary.state != "running":
        summary = replace(summary, state=QUEUED, stop_reason="")
    return replace(summary, damage="" if damage is None else str(damage))


def _taken_over(run_id: str) -> JournalError:
    return JournalError(f"the run {run_id} was taken over by another process")


def told_as(run_id: str) -> str:
    """The name of a run on the channel: a digest, since a notice has a bound."""
    return hashlib.md5(run_id.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


if TYPE_CHECKING:
    _: type[Store] = PostgresStore
