"""`block_network()`: while it holds, this process can reach nothing but itself.

For test suites: an agent under test must never call out by accident. It works through Python's
audit hooks (PEP 578), below every HTTP library. Native code that opens sockets without Python's
`socket` module is not seen, and processes that were started are not held.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Any

_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_CONTACTS = ("socket.connect", "socket.sendto", "socket.sendmsg")
_LOCAL_NAMES = ("", "localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")


class NetworkBlockedError(OSError):
    """Something tried to leave this machine while `block_network()` held.

    An `OSError`, so that code under test treats it as what it looks like from there: a network
    that cannot be reached.
    """


class _Block:
    """How many blocks hold now. A hook cannot be removed, so there is one for the process."""

    def __init__(self) -> None:
        self.depth = 0
        self.lock = threading.Lock()
        self.installed = False

    def add(self, change: int) -> None:
        with self.lock:
            if not self.installed:
                sys.addaudithook(_hook)
                self.installed = True
            self.depth += change


_block = _Block()


def _hook(event: str, arguments: tuple[Any, ...], block: _Block = _block) -> None:
    # The block is its own, not the module's: Python empties modules when it ends, and goes on
    # asking hooks.
    if not block.depth or not event.startswith("socket."):
        return
    if event in _LOOKUPS:
        _require_local(arguments[0], event)
    elif event in _CONTACTS:
        address = arguments[1]
        # A path or an abstract name is a Unix socket; None is a socket that is already connected.
        if isinstance(address, tuple) and address:
            _require_local(address[0], event)


def _require_local(host: object, event: str) -> None:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if name is None:
        return
    if isinstance(name, str):
        if name.lower() in _LOCAL_NAMES or name.lower().endswith(".localhost"):
            return
        with suppress(ValueError):  # it is no address
            address = ip_address(name.partition("%")[0])
            if address.is_loopback or address.is_unspecified:
                return
    raise NetworkBlockedError(
        f"{event} to {name!r} is blocked: block_network() allows loopback only. "
        "Use a ScriptedModel or a FaultServer instead of a remote server."
    )


@contextmanager
def block_network() -> Generator[None]:
    """Forbids connections, datagrams and name lookups that leave this machine.

    Holds for all threads of the process; blocks may be nested. Usable as a decorator too.

    Raises:
        NetworkBlockedError: In the code that tried, naming the address.
    """
    _block.add(1)
    try:
        yield
    finally:
        _block.add(-1)
