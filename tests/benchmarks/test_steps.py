"""No regression of the cost of a step passes unseen; the bounds are wide, for machines are busy."""

from __future__ import annotations

import anyio
import pytest

from benchmarks.steps import compared, measure

pytestmark = pytest.mark.slow

FLOOR, OURS = "floor, streamed", "agentkit, streamed"


def test_a_step_costs_a_small_multiple_of_the_hand_written_floor_and_does_not_grow() -> None:
    said: list[str] = []
    table = compared(anyio.run(measure, 3, (FLOOR, OURS), said.append))
    assert table[FLOOR]["times_the_floor_at_10"] == 1.0
    assert table[OURS]["times_the_floor_at_10"] < 3.5, table
    assert table[OURS]["times_the_floor_at_50"] < 3.5, table
    assert table[OURS]["last_five_over_first_five"] < 1.6, table
    assert len(said) == 3
