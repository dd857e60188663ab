"""`SQLiteJournal`: runs in one SQLite file, each entry sealed to the one before it, and a witness.

```
runs    who works on each run        events   its entries, in order
witness the last entry of each run, in a file that stands apart
```
Each entry's digest covers the entry and the digest before it, so that a changed, missing or
foreign entry is found when the run is read, and the witness tells of entries lost at the end. A run
of which something was lost is shown as far as it can be read, and never gone on with.

In: entries and leases. Out: the same, and what was lost. It never guesses what stood in a place
that cannot be read.

WAL mode with `synchronous=FULL` forces every durable transaction to the disk (`PRAGMA synchronous`,
sqlite.org/pragma.html). Not on a network file system: WAL needs shared memory
(sqlite.org/wal.html), and SQLite's locks are only as good as the file system's.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import JsonValue

from agentkit.errors import JournalError, RunAtWorkError
from agentkit.events.lines import Values
from agentkit.journal.entries import (
    Entry,
    Lease,
    Raw,
    Record,
    RunOpened,
    RunSummary,
    kind_of,
    summary_of,
)
from agentkit.journal.integrity import (
    Chain,
    Testimony,
    Witness,
    first,
    key_of,
    lost_run,
    missing_at_the_end,
    secrets_in,
)
from agentkit.journal.leases import (
    ROWS,
    Owner,
    RunRow,
    boot_id,
    is_at_work,
    lease_end,
    row_of,
    seconds_left,
)
from agentkit.journal.store import (
    LEASE,
    Examined,
    Head,
    Store,
    StoredJournal,
    check_lease,
    file_of,
    refuse_lost,
)
from agentkit.redaction import hiding

FORMAT: Final = 3
"""The file's format, in SQLite's `user_version`. A journal of an older format must always open.

2 has what seals an entry (`digest`), where secrets are in it (`hidden`), and a witness; 3 has the
conversation that a run is a turn of."""

_APPLICATION: Final = 0x61676B6A
"""`agkj`, in SQLite's `application_id`: tells our files from other databases."""

_BY_CONVERSATION: Final = (
    "CREATE INDEX runs_by_conversation ON runs (conversation, created) WHERE conversation <> ''"
)

_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, epoch INTEGER NOT NULL, owner TEXT NOT NULL,
    lease_until REAL NOT NULL, created REAL NOT NULL,
    observed TEXT NOT NULL DEFAULT '', witnessed INTEGER NOT NULL DEFAULT 0,
    conversation TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS events (
    run_id TEXT NOT NULL, seq INTEGER NOT NULL, epoch INTEGER NOT NULL, at REAL NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL, digest BLOB, hidden TEXT, PRIMARY KEY (run_id, seq));
{_BY_CONVERSATION};
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {FORMAT};
COMMIT;
"""

_CHANGES: Final = (
    (),
    (
        "ALTER TABLE runs ADD COLUMN observed TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE runs ADD COLUMN witnessed INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE events ADD COLUMN digest BLOB",
        "ALTER TABLE events ADD COLUMN hidden TEXT",
    ),
    ("ALTER TABLE runs ADD COLUMN conversation TEXT NOT NULL DEFAULT ''", _BY_CONVERSATION),
)
"""For each format, the statements that make the next one of it."""

_STATE: Final = (
    "SELECT epoch, (SELECT coalesce(max(seq), 0) FROM events WHERE events.run_id = runs.run_id) "
    "FROM runs WHERE run_id = ?"
)
"""Who may write to a run, and where its record ends."""

_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_REMEDY: Final = "if the file is damaged, move it away with its -wal and -shm; a new one is begun"


@contextmanager
def _opening_in(folder: Path) -> Generator[None]:
    """Lets one process or thread at a time open a journal in a folder.

    SQLite does not wait where two connections switch a new file to WAL: one of them fails. And a
    process that closes the file by its own descriptor drops all locks of its other connections
    (sqlite.org/howtocorrupt.html, 2.2), so a file that is there is opened by SQLite alone.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without such locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class _WitnessedHead(Head):
    """The end of a run's record, and the newest testimony on it."""

    said: Testimony = field(default_factory=lambda: first(""))


class SQLiteStore:
    """One journal file and its witness.

    Args:
        path: The journal's file; it and its folder are made.
        lease: Seconds after which an owner that does not stir loses its run.

    Raises:
        JournalError: The file cannot be opened, or is something else.
    """

    def __init__(self, path: Path, *, lease: float) -> None:
        self.path = path
        self._seconds = lease
        self._lock = threading.Lock()  # one transaction at a time: the connection is shared
        self._heads: dict[Lease, _WitnessedHead] = {}
        self._witness = Witness(path.with_name(f"{path.name}-witness"))
        with self.errors():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _opening_in(path.parent):
                if not path.exists():
                    # Only its owner may read it. SQLite gives its other files the same mode.
                    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
                self.connection = sqlite3.connect(
                    path, timeout=10.0, isolation_level=None, check_same_thread=False
                )
                # Bytes that are not UTF-8 damage their entry, not the whole file.
                self.connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
                try:
                    self._prepare()
                except BaseException:
                    self.connection.close()
                    raise

    @property
    def where(self) -> str:
        """The path of the file."""
        return str(self.path)

    def _prepare(self) -> None:
        application, version = self._pragma("application_id"), self._pragma("user_version")
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
        elif version < FORMAT:
            self.connection.execute("BEGIN IMMEDIATE")
            version = self._pragma("user_version")  # another process may have changed it meanwhile
            for statement in (each for change in _CHANGES[version:] for each in change):
                self.connection.execute(statement)
            self.connection.execute(f"PRAGMA user_version = {FORMAT}")
            self.connection.execute("COMMIT")

    def _pragma(self, name: str) -> int:
        value: int = self.connection.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    @contextmanager
    def errors(self) -> Generator[None]:
        """Turns whatever SQLite, the disk or a damaged value raises into a `JournalError`."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            raise self._unusable(error, damaged=code in _DAMAGED) from error
        except UnicodeEncodeError as error:
            raise JournalError(f"{error.object[:60]!r} is no text") from error
        except (ValueError, TypeError, OverflowError) as error:
            # SQLite gives back whatever is in a damaged file, such as bytes for a number.
            raise self._unusable(error, damaged=True) from error

    def _unusable(self, why: object, *, damaged: bool) -> JournalError:
        remedy = f"; {_REMEDY}" if damaged else ""
        return JournalError(f"the journal {self.path} cannot be used: {why}{remedy}")

    @contextmanager
    def _transaction(self, *, durable: bool = True) -> Generator[sqlite3.Connection]:
        """A transaction, for which other threads of this process wait."""
        with self._lock, self.errors(), self._committed(durable=durable) as connection:
            yield connection

    @contextmanager
    def _committed(self, *, durable: bool = True) -> Generator[sqlite3.Connection]:
        """A transaction that takes the write lock at once: a read lock cannot always become one."""
        self.connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        with self._lock:
            self.connection.close()
            self._witness.close()

    # --- writing ---------------------------------------------------------------------------------

    def open(self, run_id: str, opening: RunOpened) -> Lease:
        """Begins a run; see `Journal.open`."""
        with self._transaction() as connection:
            if row_of(connection, run_id) is not None:
                raise JournalError(
                    f"the journal {self.path} has a run {run_id} already: "
                    "resume it, or choose another run_id"
                )
            if (testimony := self._witness.of(run_id)) is not None:
                lost = lost_run(testimony)
                raise JournalError(
                    f"the journal {self.path} had a run {run_id} already, and has lost it "
                    f"({lost}); choose another run_id, or forget it: agentkit runs delete {run_id}"
                )
            owner = Owner.this_process().to_json()
            ends, now = lease_end(self._seconds), time.time()
            row = (run_id, 1, owner, ends, now, "", 1, opening.conversation)
            connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            lease = Lease(run_id, 1)
            head = _WitnessedHead(said=first(run_id))
            self._insert(connection, lease, head, [opening])
        try:
            with self._lock, self.errors():
                self._say(head, kind_of(opening), forced=True)
        except BaseException:
            self.release(lease)
            raise
        self._heads[lease] = head
        return lease

    def claim(self, run_id: str) -> Lease:
        """Takes a run over; see `Journal.claim`."""
        refusal: str | None = None
        with self._transaction() as connection:
            row = row_of(connection, run_id)
            if row is None:
                raise self._no_run(run_id)
            lease = Lease(run_id, row.epoch + 1)
            left = seconds_left(row, self._seconds, connection)
            if left > 0:
                refusal = (
                    f"the run {run_id} is at work in {Owner.from_json(row.owner)}; it can be taken "
                    f"over when that ends, or does not stir for {left:.0f} s more"
                )
            else:
                connection.execute(
                    "UPDATE runs SET epoch = ?, owner = ?, lease_until = ?, observed = '', "
                    "witnessed = 1 WHERE run_id = ?",
                    (lease.epoch, Owner.this_process().to_json(), lease_end(self._seconds), run_id),
                )
        if refusal is not None:
            raise RunAtWorkError(refusal)
        try:
            self._take_up(lease)
        except BaseException:
            self.release(lease)
            raise
        return lease

    def _take_up(self, lease: Lease) -> None:
        """Makes sure that the whole run is there, and has the witness say where it ends."""
        examined, digest = self._examine(lease.run_id)
        refuse_lost(self.where, lease.run_id, examined.damage)
        with self._lock, self.errors():
            said = self._witness.of(lease.run_id) or first(lease.run_id)
            last = examined.records[-1] if examined.records else None
            calls = sum(kind_of(each.entry) == "CallIntended" for each in examined.records)
            head = _WitnessedHead(last.seq if last else 0, digest, calls=calls, said=said)
            self._say(head, kind_of(last.entry) if last else "", forced=True)
            self._heads[lease] = head

    def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:
        """Writes entries; see `Journal.append`."""
        run_id = lease.run_id
        with self._lock, self.errors():
            with self._committed(durable=durable) as connection:
                row = connection.execute(_STATE, (run_id,)).fetchone()
                head = self._heads.get(lease)
                if row is None or row[0] != lease.epoch or head is None:
                    raise JournalError(f"the run {run_id} was taken over by another process")
                seq: int = row[1]
                if seq != head.seq:
                    raise JournalError(
                        f"the journal {self.path} has lost a part of the run {run_id} while it was "
                        f"at work: it ends with entry {seq}, not {head.seq}"
                    )
                written = replace(head)
                head.values = Values()  # what is packed now is written only if all of this is
                self._insert(connection, lease, written, entries)
            self._heads[lease] = written
            self._say(written, kind_of(entries[-1]), forced=durable)

    def _insert(
        self,
        connection: sqlite3.Connection,
        lease: Lease,
        head: _WitnessedHead,
        entries: Iterable[Entry],
    ) -> None:
        rows = head.add(lease, entries, time.time())
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def _say(self, head: _WitnessedHead, kind: str, *, forced: bool) -> None:
        """Tells the witness where a run's record ends now."""
        said = replace(
            head.said,
            number=head.said.number + 1,
            seq=head.seq,
            digest=head.digest.hex(),
            kind=kind,
            calls=head.calls,
            forced=head.seq if forced else head.said.forced,
            boot=boot_id(),
        )
        self._witness.say(said, forced=forced)
        head.said = said  # only now: writing it may fail

    def release(self, lease: Lease) -> None:
        """Gives a lease back; see `Journal.release`."""
        with self._transaction(durable=False) as connection:
            self._heads.pop(lease, None)
            connection.execute(
                "UPDATE runs SET owner = '', lease_until = 0 WHERE run_id = ? AND epoch = ?",
                (lease.run_id, lease.epoch),
            )

    def renew(self, leases: Iterable[Lease]) -> None:
        """Renews leases, which shows that their owner lives."""
        with self._transaction(durable=False) as connection:
            connection.executemany(
                "UPDATE runs SET lease_until = ? WHERE run_id = ? AND epoch = ?",
                [(lease_end(self._seconds), lease.run_id, lease.epoch) for lease in leases],
            )

    def delete(self, run_id: str) -> bool:
        """Removes all that is kept of a run, also what the witness says of it; False if that is
        nothing.

        Raises:
            RunAtWorkError: A living process is at work on it.
        """
        with self._transaction() as connection:
            row = row_of(connection, run_id)
            if row is None and self._witness.of(run_id) is None:
                return False
            if row is not None and seconds_left(row, self._seconds, connection) > 0:
                raise RunAtWorkError(
                    f"the run {run_id} is at work in {Owner.from_json(row.owner)}; end that first"
                )
            connection.execute("PRAGMA secure_delete = ON")  # what was said is overwritten
            for table in ("events", "runs"):
                connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))  # noqa: S608 - of a constant
            self._witness.forget(run_id)
        return True

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
            JournalError: The file cannot be read at all.
        """
        return self._examine(run_id, public=public)[0]

    def _examine(self, run_id: str, *, public: bool = False) -> tuple[Examined, bytes]:
        with self._lock, self.errors():
            rows, failure = self._rows(run_id)
            row = row_of(self.connection, run_id)
            testimony = self._witness.of(run_id)
        chain = Chain(run_id, testimony, hiding(secrets_in(rows)) if public else None)
        for each in rows:
            chain.add(each)
        chain.end(failure, witnessed=row is not None and bool(row.witnessed))
        return Examined(chain.records, chain.damage), chain.digest

    def _rows(self, run_id: str) -> tuple[list[tuple[Any, ...]], str]:
        """The rows that can be read, from both ends if the middle is damaged, and what is wrong."""
        query = (
            "SELECT seq, epoch, at, kind, body, digest, hidden FROM events "
            "WHERE run_id = ? ORDER BY seq"
        )
        rows: list[tuple[Any, ...]] = []
        try:
            for row in self.connection.execute(query, (run_id,)):
                rows.append(row)  # noqa: PERF402 - what came before a damaged page is kept
        except sqlite3.DatabaseError as error:
            read = {row[0] for row in rows}
            behind: list[tuple[Any, ...]] = []
            with suppress(sqlite3.DatabaseError):
                for row in self.connection.execute(f"{query} DESC", (run_id,)):
                    if row[0] in read:
                        break
                    behind.append(row)
            return rows + behind[::-1], str(error)
        return rows, ""

    def raw(self, run_id: str) -> list[Raw]:
        """The entries of a run as they are stored, checked for nothing.

        Raises:
            JournalError: They cannot be had.
        """
        with self._lock, self.errors():
            rows, failure = self._rows(run_id)
        if failure:
            raise self._unusable(failure, damaged=True)
        hide = hiding(secrets_in(rows[:1]))  # a summary shows text of the first entry only
        lines = [Raw(*row[:5]) for row in rows]
        if hide is not None and lines:
            body = hide(lines[0].body.encode("utf-8", "replace")).decode()
            lines[0] = replace(lines[0], body=body)
        return lines

    def _select(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows that a query finds."""
        with self._lock, self.errors():
            return self.connection.execute(query, parameters).fetchall()

    def is_open(self, run_id: str) -> bool:
        """Whether something may still be added to a run: its last entry is not its end."""
        query = "SELECT kind FROM events WHERE run_id = ? ORDER BY seq DESC LIMIT 1"
        return self._select(query, run_id) not in ([], [("RunFinished",)])

    def runs(self, limit: int) -> list[RunSummary]:
        """The newest runs, newest first, and behind them those of which only the witness knows."""
        rows = self._select(f"{ROWS} ORDER BY created DESC LIMIT ?", limit)
        found = [self._summary(RunRow(*row)) for row in rows]
        return [*found, *self._gone()][:limit] if len(found) < limit else found

    def turns(self, conversation: str) -> list[str]:
        """The runs of a conversation; see `Journal.turns`."""
        query = (
            "SELECT run_id FROM runs WHERE conversation = ? AND conversation <> '' "
            "ORDER BY created, rowid"
        )
        return [run_id for (run_id,) in self._select(query, conversation)]

    def conversations(self) -> list[str]:
        """The names of all conversations, the one with the newest turn first."""
        query = (
            "SELECT conversation FROM runs WHERE conversation <> '' GROUP BY conversation "
            "ORDER BY max(created) DESC, max(rowid) DESC"
        )
        return [name for (name,) in self._select(query)]

    def idle_since(self, when: float) -> list[str]:
        """The runs to which nothing was added since then; see `Store.idle_since`."""
        query = (
            f"{ROWS} WHERE created < ? AND coalesce((SELECT at FROM events "  # noqa: S608 - constants
            "WHERE events.run_id = runs.run_id ORDER BY seq DESC LIMIT 1), 0) < ? ORDER BY created"
        )
        rows = [RunRow(*row) for row in self._select(query, when, when)]
        return [row.run_id for row in rows if not is_at_work(row)]

    def _summary(self, row: RunRow) -> RunSummary:
        try:
            summary = summary_of(row.run_id, self.raw(row.run_id), taken=is_at_work(row))
            damage = self._missing(row)
        except (JournalError, ValueError, TypeError, AttributeError) as error:
            return RunSummary(str(row.run_id), "damaged", damage=str(error))
        return replace(summary, damage=damage)

    def _missing(self, row: RunRow) -> str:
        """What the witness knows to be missing at the end of a run."""
        with self._lock, self.errors():
            testimony = self._witness.of(row.run_id)
            query = "SELECT coalesce(max(seq), 0) FROM events WHERE run_id = ?"
            seq: int = self.connection.execute(query, (row.run_id,)).fetchone()[0]
        damage = missing_at_the_end(testimony, seq)
        return "" if damage is None else str(damage)

    def _gone(self) -> list[RunSummary]:
        """The runs that the witness knows and the journal has lost whole."""
        with self._lock, self.errors():
            # A damaged row may have anything for a name.
            query = "SELECT run_id FROM runs WHERE typeof(run_id) = 'text'"
            known = {key_of(row[0]) for row in self.connection.execute(query)}
            witnessed = self._witness.all()
        return [
            RunSummary(each.run_id, "damaged", calls=each.calls, damage=str(lost_run(each)))
            for each in witnessed
            if each.key not in known
        ]

    def _no_run(self, run_id: str) -> JournalError:
        if (testimony := self._witness.of(run_id)) is None:
            return JournalError(f"the journal {self.path} has no run {run_id}")
        lost = lost_run(testimony)
        return JournalError(f"the journal {self.path} has lost the run {run_id}: {lost}")


class SQLiteJournal(StoredJournal):
    """Keeps runs in a file; share one between the runs of a process.

    Args:
        path: The file, made with its folder. Its `-wal`, `-shm` and `-witness` belong to it.
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
        lease: float = LEASE,
    ) -> None:
        self.path = file_of(path)
        self._file = SQLiteStore(self.path, lease=check_lease(lease))
        super().__init__(self._file, labels, lease)

    @property
    def connection(self) -> sqlite3.Connection:
        """To look at the file with SQL; what is written goes through the methods."""
        return self._file.connection


if TYPE_CHECKING:
    _: type[Store] = SQLiteStore
