"""How a server is reached, and what its refusals mean."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from agentkit.errors import JournalError
from agentkit.mistakes import install
from agentkit.redaction import keep_secret, public_address

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
    from psycopg_pool import ConnectionPool
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"a journal on Postgres needs the extra `postgres`: {install('postgres')}", name=error.name
    ) from None

# What the pool says of each connection that breaks is for whoever set up logging, and nobody else.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_DEFAULTS: Final = {
    "application_name": "agentkit",
    "client_encoding": "utf8",
    "connect_timeout": "10",
    # A machine that vanished sends no end of the connection: it is given up after half a minute.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
}
"""Options of a connection (libpq, section Parameter Key Words) where the URL does not say."""

_PASSING: Final = ("08", "40", "53", "57", "58")
"""Classes of SQLSTATE that another try may not meet: connections, rollbacks, resources, an operator
who stops the server, the system (postgresql.org/docs, appendix A)."""

_READ_ONLY: Final = "25006"
"""A server that takes over from another may not take writes yet."""

_FULL: Final = "53100"
"""Of class 53, but nobody makes room within the time that anybody waits."""


def may_pass(error: BaseException) -> bool:
    """Whether the same statement may well succeed if it is sent again."""
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:  # no answer of a server: the connection could not be had, or broke
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    passing = error.sqlstate.startswith(_PASSING) or error.sqlstate == _READ_ONLY
    return passing and error.sqlstate != _FULL


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is.

    Attributes:
        conninfo: What libpq is told.
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
        """As many such connections, made as they are needed."""
        return ConnectionPool(
            self.conninfo,
            kwargs={"autocommit": True},
            min_size=1,
            max_size=most,
            open=True,
            # A pool waits for longer and longer between its tries; one that gave up begins anew
            # with whoever asks next.
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
    """Hears what is told on a channel (NOTIFY), over a connection of its own that it opens again
    when it breaks. What is told in between is not heard: whoever listens also looks now and then.

    Args:
        address: The server.
        channel: The channel.
    """

    def __init__(self, address: Address, channel: str) -> None:
        self._address, self._channel = address, channel
        self._connection: Connection | None = None

    def hear(self, seconds: float) -> list[str]:
        """What was told by now, or within so many seconds; nothing where no server answers."""
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
