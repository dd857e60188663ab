"""A run's events on disk, so that a run survives the death of its process.

```
loop ──► JournaledRun ──► StoredJournal ──► Store   what happened, in order, each entry sealed
                                            ├─ SQLiteStore     a file, and a witness apart from it
                                            └─ PostgresStore   a server that many machines share
```
In: what happens in a run, as entries. Out: the same entries, to continue the run, and for
`agentkit.trace`, the one reader behind everything that is shown of a run. It never gives back a run
of which something is lost as if it were whole, never writes for two owners, and never runs what it
holds: entries are data.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue

from agentkit.errors import JournalError
from agentkit.journal.entries import (
    CallDone,
    CallIntended,
    CallStarted,
    Decided,
    Entry,
    Journal,
    Lease,
    Queueing,
    Raw,
    Record,
    RunOpened,
    RunState,
    RunSummary,
    Shown,
    Ticket,
    dump_entry,
    load_entry,
    summary_of,
)
from agentkit.journal.integrity import Damage, cost_of
from agentkit.journal.resuming import CallState, JournaledRun
from agentkit.journal.sqlite import SQLiteJournal, SQLiteStore
from agentkit.journal.store import LEASE, Examined, Store, StoredJournal, file_of

__all__ = [
    "CallDone",
    "CallIntended",
    "CallStarted",
    "CallState",
    "Damage",
    "Decided",
    "Entry",
    "Examined",
    "Journal",
    "JournaledRun",
    "Lease",
    "Queueing",
    "Raw",
    "Record",
    "RunOpened",
    "RunState",
    "RunSummary",
    "SQLiteJournal",
    "Shown",
    "Store",
    "StoredJournal",
    "Ticket",
    "cost_of",
    "dump_entry",
    "is_address",
    "journal_at",
    "load_entry",
    "store_at",
    "summary_of",
]


# --- a journal by its name: the path of a file, or the address of a Postgres server --------------

_SCHEMES = ("postgres://", "postgresql://")
"""How libpq's connection URIs begin (postgresql.org/docs, section Connection URIs)."""


def is_address(place: str | Path) -> bool:
    """Whether a journal's name is the address of a server, not the path of a file."""
    return str(place).startswith(_SCHEMES)


def store_at(place: str | Path) -> Store:
    """Where a journal's entries lie, to look at them. The file of a path is made if need be.

    Raises:
        JournalError: It cannot be opened, or is something else, or an address is given and the
            extra `postgres` is not installed.
    """
    if is_address(place):
        with _with_the_extra():
            from agentkit.journal.postgres import PostgresStore  # noqa: PLC0415 - an optional extra
        return PostgresStore(str(place))
    return SQLiteStore(file_of(place), lease=LEASE)


def journal_at(
    place: str | Path, *, labels: Mapping[str, JsonValue] | None = None, lease: float = LEASE
) -> StoredJournal:
    """The journal of that name.

    Args:
        place: A path, or a URL that begins with `postgresql://`.
        labels: Kept with each run that begins here, such as who started it and how.
        lease: Seconds without a renewal after which an owner loses its run.

    Raises:
        JournalError: It cannot be opened, or is something else, or an address is given and the
            extra `postgres` is not installed.
        ValueError: `lease` is not above 0.
    """
    if is_address(place):
        with _with_the_extra():
            from agentkit.journal.postgres import PostgresJournal  # noqa: PLC0415 - optional, too
        return PostgresJournal(str(place), labels=labels, lease=lease)
    return SQLiteJournal(place, labels=labels, lease=lease)


@contextmanager
def _with_the_extra() -> Generator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise JournalError(str(error)) from error
