from __future__ import annotations

import math
import statistics

import pytest

from benchmarks.scaling import Costs, Load, needs, waits


def erlang_c(rate: float, seconds: float, places: int) -> float:
    """The mean wait of M/M/c, by the textbook formula: seconds."""
    offered = rate * seconds
    full = offered**places / math.factorial(places) * places / (places - offered)
    rest = sum(offered**n / math.factorial(n) for n in range(places))
    return full / (rest + full) / (places / seconds - rate)


@pytest.mark.parametrize(("places", "busy"), [(1, 0.5), (4, 0.8), (16, 0.8)])
def test_simulated_waits_are_those_of_the_formula_where_there_is_one(
    places: int, busy: float
) -> None:
    load = Load(0, steps=1, model_seconds=10, tool_seconds=0, peak=1)
    load = Load(busy * places / load.seconds * 86_400, 1, 10, 0, 1)
    waited, _ = waits(load, places, 60_000, seed=3)
    assert statistics.mean(waited) == pytest.approx(
        erlang_c(load.arrivals, load.seconds, places), rel=0.12
    )


def test_runs_that_are_all_there_end_one_row_after_the_other() -> None:
    load = Load(1, steps=5, model_seconds=0.2, tool_seconds=0.0)
    assert waits(load, 8, 80, at_once=True)[1] == pytest.approx(10.0)
    assert waits(load, 8, 81, at_once=True)[1] == pytest.approx(11.0)


def test_what_a_load_needs_grows_with_it_and_comes_from_what_was_measured() -> None:
    costs = Costs.measured()
    small, large = needs(Load(10_000), costs), needs(Load(1_000_000), costs)
    assert large["runs at work"] == pytest.approx(100 * small["runs at work"])
    assert large["tables, GB a day"] == pytest.approx(100 * small["tables, GB a day"])
    assert small["tables, GB a day"] * 1e9 / 10_000 == pytest.approx(costs.of("table_bytes", 5))
