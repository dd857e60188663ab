"""How a server is reached, what its refusals mean, and the tables that it must have.

The tables are made and changed by numbered scripts, each applied once. Who works with a journal
never changes them; an operator does (`agentkit journal migrate`), and what is there stays there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, TypeAlias

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from agentkit.errors import JournalError, install
from agentkit.redaction import keep_secret, public_address

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
    from psycopg_pool import ConnectionPool
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"a journal on Postgres needs the extra `postgres`: {install('postgres')}", name=error.name
    ) from None

# The pool's lines about broken connections are only for programs that set up logging.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_DEFAULTS: Final = {
    "application_name": "agentkit",
    "client_encoding": "utf8",
    "connect_timeout": "10",
    # A machine that vanished does not close its connections: they are given up after 30 seconds.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
}
"""Options of a connection (libpq, section Parameter Key Words) where the URL does not say."""

_PASSING: Final = ("08", "40", "53", "57", "58")
"""Classes of SQLSTATE that may be gone at the next try: connections, rollbacks, resources, an
operator who stops the server, the system (postgresql.org/docs, appendix A)."""

_READ_ONLY: Final = "25006"
"""A server that takes over from another may not take writes yet."""

_FULL: Final = "53100"
"""The disk is full: it will not have room again within the seconds of a retry."""


def may_pass(error: BaseException) -> bool:
    """Whether the same statement may well succeed if it is sent again."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:  # no answer of a server: the connection could not be had, or broke
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    passing = error.sqlstate.startswith(_PASSING) or error.sqlstate == _READ_ONLY
    return passing and error.sqlstate != _FULL


def trying(seconds: float) -> Retrying:
    """Calls a function again for so many seconds, while another try may well succeed."""
    return Retrying(
        retry=retry_if_exception(may_pass),
        stop=stop_after_delay(seconds),
        wait=wait_random_exponential(multiplier=0.02, max=1.0),
        reraise=True,
    )


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is.

    Attributes:
        conninfo: The connection string for libpq.
        public: The URL as messages may show it: without user, password and options.
    """

    conninfo: str
    public: str

    @staticmethod
    def of(url: str) -> Address:
        """The address that a connection URI names; its password is a secret from now on.

        Raises:
            JournalError: It is no such URI.
        """
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise JournalError(
                f"{public_address(url)} is no address of a Postgres server ({str(error).strip()}); "
                "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
            ) from None
        password = given.get("password")
        keep_secret(str(password) if password else None)
        return Address(make_conninfo("", **(_DEFAULTS | given)), public_address(url))

    def connect(self) -> Connection:
        """A connection, in which each statement is a transaction unless one is begun."""
        return psycopg.connect(self.conninfo, autocommit=True)

    def pool(self, most: int) -> ConnectionPool[Connection]:
        """At most so many such connections, which are made when they are needed."""
        return ConnectionPool(
            self.conninfo,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=most,
            open=True,
            # A pool waits longer between its tries each time. One that gave up starts again with
            # the next request.
            timeout=2.0,
            reconnect_timeout=4.0,
        )

    @contextmanager
    def errors(self) -> Generator[None]:
        """Turns whatever the driver or a damaged value raises into a `JournalError`."""
        try:
            yield
        except (psycopg.Error, OSError, ValueError, TypeError, OverflowError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise JournalError(f"the journal {self.public} cannot be used: {said}") from error


class Listener:
    """Hears the notices of a channel (NOTIFY), over a connection of its own. If that breaks, it is
    opened again, and notices in between are missed: a caller must also look by itself at times.

    Args:
        address: The server.
        channel: The channel.
    """

    def __init__(self, address: Address, channel: str) -> None:
        self._address, self._channel = address, channel
        self._connection: Connection | None = None

    def hear(self, seconds: float) -> list[str]:
        """The notices by now, or within so many seconds; none where no server answers."""
        end = time.monotonic() + seconds
        try:
            if self._connection is None:
                self._connection = self._address.connect()
                self._connection.execute(f"LISTEN {self._channel}".encode())
            heard = self._connection.notifies(timeout=seconds, stop_after=1)
            return [notice.payload for notice in heard]
        except psycopg.Error:
            self.close()
            time.sleep(max(end - time.monotonic(), 0.0))
            return []

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


# --- the tables ----------------------------------------------------------------------------------

_LOCK: Final = 0x61676B6A
"""`agkj`, for pg_advisory_xact_lock: of several migrations at once, all but one wait."""

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
