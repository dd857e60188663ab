"""What holds for every test: the network ends at this machine, and nothing is written to a home."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from contextlib import ExitStack

import pytest
from hypothesis import settings

from agentkit.testing import block_network

# Background jobs of a shell inherit an ignored SIGINT, and Python leaves it so: what a test then
# interrupts would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On a busy machine any example may take a second: that says nothing about what is tested.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

_runs = tempfile.mkdtemp(prefix="agentkit-runs-")
os.environ["AGENTKIT_RUNS"] = _runs
os.environ["AGENTKIT_CONFIG"] = os.devnull  # whatever whoever runs the tests has
_session = ExitStack()
_session.enter_context(block_network())


def pytest_collection_finish() -> None:
    """Thousands of tests stay in memory to the end: the garbage collector need not look at them."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    _session.close()
    shutil.rmtree(_runs, ignore_errors=True)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Each async test runs on both."""
    return str(request.param)
