"""The owners of runs: whether one is certainly dead, and else for how long it counts as alive.

A lease is measured by the monotonic clock, which is the same for all processes of a boot
(clock_gettime(2)). The time of day is no measure: it may be set an hour ahead, and every living
owner would lose its runs. The clock of another boot means nothing here, so an owner there counts as
dead once its lease was seen unchanged for as long as a lease lasts.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from agentkit.errors import JournalError

_PROC = Path("/proc")


@cache
def boot_id() -> str:
    """Names this boot of the machine (Linux: random_boot_id, proc(5)); empty where unknown.

    What a process has given to the operating system is still there as long as it stays the same.
    """
    return _text(_PROC / "sys/kernel/random/boot_id").strip()


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, named so that no later process can be taken for it.

    Attributes:
        host: Its machine's name.
        boot: See `boot_id`.
        namespace: The namespace in which its number counts: containers have their own.
        pid: Its number.
        started: Clock ticks since boot when it began (Linux: field 22 of proc_pid_stat(5)).
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str

    @staticmethod
    def this_process() -> Owner:
        """This process, as an owner."""
        pid = os.getpid()
        return Owner(socket.gethostname(), boot_id(), _namespace(), pid, _started(pid))

    @property
    def is_dead(self) -> bool:
        """Whether the process is certainly dead; False also where nobody here can know."""
        if not self.boot or (self.boot, self.namespace) != (boot_id(), _namespace()):
            return False
        return _started(self.pid) != self.started

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Owner:
        """What `to_json` wrote.

        Raises:
            JournalError: The text is something else.
        """
        try:
            return Owner(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise JournalError(f"not an owner of a run: {text[:80]!r}") from error

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _namespace() -> str:
    try:
        return os.readlink(_PROC / "self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Empty for a process that is gone, or dead and only waits for its parent to notice."""
    state, *rest = _text(_PROC / str(pid) / "stat").rpartition(")")[2].split() or [""]
    return "" if state in ("", "Z", "X") else rest[18]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="latin-1")
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run's row in a journal.

    Attributes:
        run_id: Its name.
        epoch: The number of the newest lease.
        owner: Who holds it, as `Owner.to_json`; empty for nobody.
        until: When the lease ends, by the monotonic clock of its owner.
        created: Seconds since 1970.
        observed: The lease of an owner of another boot, and since when it was seen unchanged.
        witnessed: Whether the witness knows of the run: 0 or 1.
    """

    run_id: str
    epoch: int
    owner: str
    until: float
    created: float
    observed: str
    witnessed: int


ROWS: Final = "SELECT run_id, epoch, owner, lease_until, created, observed, witnessed FROM runs"
"""The beginning of a query for such rows."""


def row_of(connection: sqlite3.Connection, run_id: str) -> RunRow | None:
    """The row of a run; None if there is none."""
    row = connection.execute(f"{ROWS} WHERE run_id = ?", (run_id,)).fetchone()
    return None if row is None else RunRow(*row)


def lease_end(seconds: float) -> float:
    """When a lease that begins now ends, by the monotonic clock."""
    return time.monotonic() + seconds


def seconds_left(row: RunRow, seconds: float, connection: sqlite3.Connection) -> float:
    """Seconds for which a run's owner still counts as alive; 0 if it does not.

    An owner of another boot of this machine died with that boot: SQLite's WAL binds all who use a
    file to one kernel. Of any other owner the lease must be seen unchanged for as long as a lease
    lasts, by the clock of this process; when that began is kept in the row.

    Args:
        row: The run's row.
        seconds: How long a lease lasts.
        connection: The journal's connection, in a transaction.
    """
    if not row.owner:
        return 0.0
    owner, now = Owner.from_json(row.owner), time.monotonic()
    if _is_gone(owner):
        return 0.0
    if _shares_our_clock(owner):
        return max(row.until - now, 0.0)
    seen = [row.owner, row.until, boot_id()]
    began = _unchanged_since(row.observed, seen)
    if began is None or began > now:
        began = now
        connection.execute(
            "UPDATE runs SET observed = ? WHERE run_id = ?", (json.dumps([seen, now]), row.run_id)
        )
    return max(began + seconds - now, 0.0)


def is_at_work(row: RunRow) -> bool:
    """Whether someone is at work on a run, as far as it can be known without waiting."""
    if not row.owner:
        return False
    owner = Owner.from_json(row.owner)
    return not _is_gone(owner) and (not _shares_our_clock(owner) or row.until > time.monotonic())


def _is_gone(owner: Owner) -> bool:
    """Whether an owner is dead, or the machine was booted since it began."""
    other_boot = bool(owner.boot and boot_id() and owner.boot != boot_id())
    return owner.is_dead or (other_boot and owner.host == socket.gethostname())


def _shares_our_clock(owner: Owner) -> bool:
    return bool(owner.boot) and owner.boot == boot_id()


def _unchanged_since(text: str, seen: list[Any]) -> float | None:
    """When a process of this boot first saw the lease as it is now; None if none has."""
    try:
        what, when = json.loads(text)
    except (ValueError, TypeError):
        return None
    return float(when) if what == seen else None
