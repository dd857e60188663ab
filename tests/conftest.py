"""What holds for every test: the network ends at this machine, and nothing is written to a home."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from ipaddress import ip_address

import pytest

_runs = tempfile.mkdtemp(prefix="agentkit-runs-")
os.environ["AGENTKIT_RUNS"] = _runs


def pytest_unconfigure() -> None:
    shutil.rmtree(_runs, ignore_errors=True)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Each async test runs on both."""
    return str(request.param)


class NetworkOffError(RuntimeError):
    """A test reached for another machine."""


def _is_here(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if host is None or host == "" or not isinstance(host, str):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".invalid"))
    return address.is_loopback or address.is_unspecified


def _guard(event: str, args: tuple[object, ...]) -> None:
    """An audit hook, so that no library can go round it and nothing is patched."""
    if event == "socket.connect":
        address = args[1]
        if isinstance(address, tuple) and not _is_here(address[0]):
            raise NetworkOffError(f"the network is off in tests: {address!r}")
    elif event == "socket.getaddrinfo" and not _is_here(args[0]):
        raise NetworkOffError(f"the network is off in tests: {args[0]!r}")


sys.addaudithook(_guard)
