"""Limits, and who spends from them."""

from __future__ import annotations

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
    assert left <= 5
    assert Budget(Limits()).seconds_left is None


def test_cached_tokens_have_a_price_of_their_own() -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000, cached_input_tokens=500_000)
    assert Prices(input=2.0, output=3.0).of(usage) == 5.0
    assert Prices(input=2.0, output=3.0, cached_input=0.0).of(usage) == 4.0
