from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.tools.racing import race

pytestmark = pytest.mark.slow


def test_no_operation_gets_out_while_links_are_swapped_in() -> None:
    """In small; `make soak PART=escapes` does 500,000 operations."""
    memory = Path("/dev/shm")  # a write waits for its disk, and there are many
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        counts = race(Path(folder), operations=600, seed=1)
    assert {"read", "write", "edit", "list", "search"} <= set(counts)
    assert counts["refused or gone"] > 0, "the swapper was in the way"
