"""Small forms of `make soak PART=bounds`."""

from __future__ import annotations

import pytest

from tests.journal.crashing import batch
from tests.journal.edges import refused

pytestmark = pytest.mark.slow


def test_runs_with_values_at_the_edge_survive_kills_with_the_very_values() -> None:
    counts = batch(4_000, 3, edges=True)
    assert counts["runs"] == 3
    assert counts["kills"] >= 2


def test_values_just_outside_are_refused_in_words_before_any_intent() -> None:
    assert sum(refused(0, 40).values()) == 40
