from __future__ import annotations

import pytest

from soak.trials import batch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_nothing_is_lost_by_kills_and_nothing_is_played_twice() -> None:
    assert batch(1, trials=60, kills=2)["twice"] == 0


def test_what_a_trial_costs_is_measured_beside_what_its_agent_costs() -> None:
    found = batch(0, trials=500)
    whole = found["local: a whole trial, microseconds of processor time"]
    alone = found["local: the same agent run alone, microseconds of processor time"]
    assert 0 < alone < whole
