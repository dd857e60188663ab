"""The tables on a server: made and changed by numbered scripts, each applied once.

In: an address. Out: the same database with the tables that this agentkit knows, or what is wrong
with it. Who works with a journal never changes its tables; an operator does (`agentkit journal
migrate`), and what is there stays there.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

import psycopg

from agentkit.errors import JournalError
from agentkit.journal.postgres.connecting import Address, Connection

_LOCK: Final = 0x61676B6A
"""`agkj`, for pg_advisory_xact_lock: of many who migrate at once one does it, and the rest wait."""

_SETTINGS: Final = {
    "fsync": "a loss of power can damage or take what was written",
    "full_page_writes": "a loss of power can damage what was written",
    "synchronous_commit": "the death of the server takes the last entries",
}
"""Settings that break what a journal promises when they are `off`, and how."""


def _scripts() -> dict[int, bytes]:
    """The scripts by number."""
    folder = resources.files(__package__ or "") / "migrations"
    found = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    return {int(file.name.removesuffix(".sql")): file.read_bytes() for file in found}


def _version(connection: Connection) -> int:
    """The number of the newest script that was applied; 0 where there is no journal."""
    query = "SELECT to_regclass('agentkit.migrations') IS NOT NULL"
    if connection.execute(query).fetchone() != (True,):
        return 0
    query = "SELECT coalesce(max(version), 0) FROM agentkit.migrations"
    found = connection.execute(query).fetchone()
    return int(found[0]) if found else 0


def migrate(url: str) -> list[int]:
    """Brings the tables to the version that this agentkit knows, all or nothing.

    Args:
        url: A connection URI; its user must be allowed to create a schema in the database.

    Returns:
        The numbers of the scripts that were applied.

    Raises:
        JournalError: The server cannot be reached or refuses, or its tables are of a later version.
    """
    address, scripts = Address.of(url), _scripts()
    with address.errors(), address.connect() as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        version = _version(connection)
        if version > max(scripts):
            raise _too_new(address.public, version)
        connection.execute("CREATE SCHEMA IF NOT EXISTS agentkit")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS agentkit.migrations (version integer PRIMARY KEY, "
            "applied timestamptz NOT NULL DEFAULT now())"
        )
        todo = sorted(number for number in scripts if number > version)
        for number in todo:
            connection.execute(scripts[number])
            connection.execute("INSERT INTO agentkit.migrations (version) VALUES (%s)", (number,))
    return todo


def check_tables(connection: Connection, where: str) -> None:
    """Makes sure that the tables are those that this agentkit knows.

    Raises:
        JournalError: They are not; it says what to do.
    """
    version, known = _version(connection), max(_scripts())
    if version > known:
        raise _too_new(where, version)
    if version < known:
        has = f"has version {version} of them" if version else "has none of them"
        raise JournalError(
            f"this agentkit needs the journal's tables of version {known}, and {where} {has}: "
            "run agentkit journal migrate with this address"
        )


def _too_new(where: str, version: int) -> JournalError:
    return JournalError(
        f"{where} has the journal's tables of version {version}, this agentkit knows "
        f"{max(_scripts())}: update agentkit"
    )


def check(url: str) -> list[str]:
    """What of a server does not let a journal keep its promises, each in a sentence; none if all is
    well.

    Raises:
        JournalError: The server cannot be reached.
    """
    address = Address.of(url)
    problems: list[str] = []
    with address.errors(), address.connect() as connection:
        for name, harm in _SETTINGS.items():
            if _setting(connection, name) == "off":
                problems.append(f"{name} is off: {harm}")
        if (encoding := _setting(connection, "server_encoding")) != "UTF8":
            problems.append(f"the database keeps text as {encoding}: it must be UTF8")
        if _setting(connection, "transaction_read_only") == "on":
            problems.append("the server takes no writes: name the primary")
        try:
            check_tables(connection, address.public)
        except JournalError as error:
            problems.append(str(error))
        except psycopg.errors.InsufficientPrivilege as error:
            problems.append(f"this user may not read the journal: {error}")
    return problems


def _setting(connection: Connection, name: str) -> str:
    found = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return str(found[0]) if found else ""
