"""A server that has died fails the live tests at once, instead of each by its own deadline."""

from __future__ import annotations

import httpx2
import pytest

from tests.live.client import URL, request


@pytest.fixture(autouse=True)
def server_alive() -> None:
    """Ends the session when the server no longer answers: what follows could only fail."""
    if not URL:
        return
    try:
        healthy = request("GET", "/health").is_success
    except httpx2.HTTPError:
        healthy = False
    if not healthy:
        pytest.exit("the vLLM under test has died; its log tells why", returncode=1)
