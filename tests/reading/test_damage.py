"""The proof of damaged calls, small: nothing runs that was not meant, no neighbour is lost."""

from __future__ import annotations

import pytest

from soak.damage import batch, missed

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", range(3))
def test_a_damaged_call_runs_as_it_was_meant_or_not_at_all(number: int) -> None:
    counts = batch(1000 + number, 160)
    assert counts["damaged calls"] == 152
    assert [each for each in missed(counts) if "one reading" not in each] == []
    assert counts["right"] > counts["damaged calls"] / 2
