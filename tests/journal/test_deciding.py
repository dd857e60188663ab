"""Runs whose calls need a person, killed for real: a few of the kills of the proof."""

from __future__ import annotations

import pytest

from tests.journal.deciding import killed_runs

pytestmark = pytest.mark.slow


def test_a_killed_run_pays_what_was_allowed_and_nothing_else() -> None:
    assert killed_runs(1, 3)["kills on SQLite"] >= 3
