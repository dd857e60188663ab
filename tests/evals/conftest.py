"""What the tests of the evaluation suites share."""

from __future__ import annotations

from pathlib import Path

import pytest
from agentkit_evals.bfcl import install
from agentkit_evals.core import EvalError
from agentkit_evals.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "run")


@pytest.fixture(scope="session")
def bfcl_installed() -> Path:
    """The package in the cache; installed once, where a package index can be reached."""
    try:
        return install(lambda _: None)
    except EvalError as error:
        pytest.skip(f"needs bfcl-eval in the cache: {error}")
