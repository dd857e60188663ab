"""A journal by its name: the path of a file, or the address of a Postgres server."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue

from agentkit.errors import JournalError
from agentkit.journal.sqlite import SQLiteJournal, SQLiteStore
from agentkit.journal.store import LEASE, Store, StoredJournal

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
    return SQLiteStore(Path(place), lease=LEASE)


def journal_at(
    place: str | Path, *, labels: Mapping[str, JsonValue] | None = None, lease: float = LEASE
) -> StoredJournal:
    """The journal of that name.

    Args:
        place: A path, or a URL that begins with `postgresql://`.
        labels: Kept with each run that begins here, such as who started it and how.
        lease: Seconds after which an owner that does not stir loses its run.

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
