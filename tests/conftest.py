"""What holds for every test: the network ends at this machine, and nothing is written to a home."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from agentkit.testing import block_network

# Background jobs of a shell inherit an ignored SIGINT, and Python leaves it so: what a test then
# interrupts would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On a busy machine any example may take a second: that says nothing about what is tested.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

_FOLDER = Path(__file__).parent
_BUILT_ON_OTHERS = frozenset({"evals", "testing", "trace"})
"""Folders whose code leaves the event loop to others: the tests on trio are among the slow ones."""

_runs = tempfile.mkdtemp(prefix="agentkit-runs-")
os.environ["AGENTKIT_RUNS"] = _runs
os.environ["AGENTKIT_CONFIG"] = os.devnull  # whatever whoever runs the tests has
_session = ExitStack()
_session.enter_context(block_network())


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and item.path.relative_to(_FOLDER).parts[0] in _BUILT_ON_OTHERS
            and hasattr(item, "callspec")
            and item.callspec.params.get("anyio_backend") == "trio"
        ):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Thousands of tests stay in memory to the end: the garbage collector need not look at them."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    _session.close()
    shutil.rmtree(_runs, ignore_errors=True)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Each async test runs on both; see `_BUILT_ON_OTHERS`."""
    return str(request.param)
