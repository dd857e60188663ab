"""Limits, and who spends from them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agentkit.messages import Usage
from agentkit.policy import Budget, Limits, Prices


def test_each_limit_ends_a_run_with_its_own_reason() -> None:
    cases = [
        (Limits(steps=1), "steps"),
        (Limits(tool_calls=2), "tool_calls"),
        (Limits(input_tokens=10), "tokens"),
        (Limits(output_tokens=5), "tokens"),
        (Limits(cost=0.00001, prices=Prices(input=1.0, output=2.0)), "cost"),
    ]
    for limits, reason in cases:
        budget = Budget(limits)
        assert budget.over() is None
        budget.spend(usage=Usage(10, 5), steps=1, tool_calls=2)
        over = budget.over()
        assert over is not None
        assert over[0] == reason


@pytest.mark.parametrize(
    ("bound", "value"),
    [
        *(("steps", -1), ("tool_calls", -1), ("input_tokens", -1), ("output_tokens", -5)),
        *(("seconds", -0.1), ("seconds", math.nan), ("cost", -1.0)),
    ],
)
def test_a_bound_below_nothing_is_refused_where_it_is_made(bound: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{bound} is {value}; give 0 or more, or None"):
        Limits(**{bound: value})


def test_the_limit_that_is_reached_is_said_in_words_that_agree() -> None:
    once = Budget(Limits(steps=1))
    once.spend(steps=1)
    assert once.over() == ("steps", "stopped after 1 step; the limit is 1")
    long = Budget(Limits(steps=None, input_tokens=2_000_000))
    long.spend(usage=Usage(2_500_000, 1))
    assert long.over() == ("tokens", "stopped after 2500000 input tokens; the limit is 2000000")
    busy = Budget(Limits(tool_calls=2))
    busy.spend(tool_calls=3)
    assert busy.over() == ("tool_calls", "stopped after 3 tool calls; the limit is 2")
    dear = Budget(Limits(cost=0.5, prices=Prices(input=1.0)))
    dear.spend(usage=Usage(750_000, 0))
    assert dear.over() == ("cost", "stopped after 0.75 of cost; the limit is 0.5")


def test_a_bound_of_nothing_is_reached_before_anything_is_done() -> None:
    assert Budget(Limits(steps=0)).over() == ("steps", "stopped after 0 steps; the limit is 0")


def test_what_is_spent_on_one_bound_is_not_booked_on_another() -> None:
    budget = Budget(Limits())
    budget.spend(usage=Usage(10, 5))
    budget.spend(steps=1)
    budget.spend(tool_calls=2)
    assert (budget.usage, budget.steps, budget.tool_calls) == (Usage(10, 5), 1, 2)


@pytest.mark.parametrize(
    ("names", "ours"),
    [
        ("max_steps max_turns max_iterations request_limit max_requests recursion_limit", "steps"),
        ("max_tool_calls tool_calls_limit tool_call_limit", "tool_calls"),
        ("timeout max_seconds max_time time_limit", "seconds"),
        ("max_tokens output_tokens_limit", "output_tokens"),
        ("input_tokens_limit request_tokens_limit total_tokens", "input_tokens"),
        ("total_tokens_limit", "output_tokens"),
        ("max_cost cost_limit budget", "cost"),
    ],
)
def test_a_bound_by_the_name_of_another_library_is_refused_with_ours(names: str, ours: str) -> None:
    for name in names.split():
        bound: dict[str, Any] = {name: 1}
        with pytest.raises(TypeError, match=rf"\b{ours}=( |$)"):
            Limits(**bound)


@pytest.mark.parametrize("name", ["input", "output", "cached_input"])
def test_a_price_below_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"the price {name} is -1"):
        Prices(**{name: -1})


def test_what_a_sub_agent_spends_counts_above_too() -> None:
    parent = Budget(Limits(steps=3))
    child = Budget(Limits(steps=100), parent)
    child.spend(steps=3, usage=Usage(1, 1))
    assert parent.usage == Usage(1, 1)
    assert child.over() == ("steps", "stopped after 3 steps; the limit is 3")


def test_the_nearest_deadline_counts() -> None:
    parent = Budget(Limits(seconds=5))
    left = Budget(Limits(seconds=100), parent).seconds_left
    assert left is not None
    assert 4 < left <= 5
    assert Budget(Limits()).seconds_left is None


def test_cached_tokens_have_a_price_of_their_own() -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000, cached_input_tokens=500_000)
    assert Prices(input=2.0, output=3.0).of(usage) == 5.0
    assert Prices(input=2.0, output=3.0, cached_input=0.0).of(usage) == 4.0
