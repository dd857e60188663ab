"""A surprise must be seen: scenarios whose table entry is wrong on purpose."""

from __future__ import annotations

from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from agentkit.testing import call, damaged, say
from agentkit.testing.scenarios import Scenario, answers, fails, play, stops
from agentkit.testing.scenarios.play import cancelled_at
from agentkit.testing.scenarios.scenario import SUM

GOOD = Scenario(name="good", what="nothing is wrong", ending=answers("of course"))

pytestmark = pytest.mark.anyio


async def test_a_good_day_has_no_problems() -> None:
    for stream in (True, False):
        outcome = await play(GOOD, stream=stream)
        assert outcome.problems == []
        assert (outcome.stop, outcome.ran, outcome.requests) == ("answer", ("add(4017, 258)",), 2)


async def test_another_ending_is_a_problem() -> None:
    outcome = await play(replace(GOOD, ending=stops("loop", "")), stream=True)
    assert outcome.problems == ["ended with answer, not loop"]


async def test_another_answer_is_a_problem() -> None:
    outcome = await play(replace(GOOD, ending=answers("", "It is 5.")), stream=True)
    assert outcome.problems == ["answered 'It is 4275.', not 'It is 5.'"]


async def test_another_error_is_a_problem() -> None:
    broken = replace(GOOD, then=damaged(SUM.say, "wrong_key"), ran=(), calls=1)
    outcome = await play(replace(broken, ending=fails("ContextWindowError", "")), stream=True)
    assert outcome.problems == ["ended with ModelStatusError, not ContextWindowError"]
    right = await play(replace(broken, ending=fails("ModelStatusError", "")), stream=True)
    assert right.problems == []


async def test_a_tool_run_too_often_is_a_problem() -> None:
    twice = replace(GOOD, script=(call("order", item="x"), call("order", item="y")))
    outcome = await play(twice, stream=True)
    assert outcome.problems == [
        "ran order(x, 1), order(y, 1), add(4017, 258), not add(4017, 258)",
    ]


async def test_too_many_model_calls_are_a_problem() -> None:
    outcome = await play(replace(GOOD, calls=1), stream=True)
    assert outcome.problems == ["2 model calls, more than 1"]


async def test_a_run_longer_than_its_deadline_is_a_problem() -> None:
    # A grace that leaves nothing of the deadline: whatever the run took, it was too long.
    outcome = await play(GOOD, stream=True, grace=-GOOD.timeouts.total)
    (problem,) = outcome.problems
    assert "longer than its deadline" in problem


async def test_a_made_up_tool_result_is_no_answer() -> None:
    leak = say("<|tool_response>x")
    outcome = await play(
        replace(GOOD, script=(SUM.call, leak), ending=answers("asked again")), stream=True
    )
    assert outcome.problems == []


async def test_a_run_can_be_cancelled_at_every_one_of_its_awaits() -> None:
    reached: list[int] = []

    async def five_awaits() -> None:
        for number in range(1, 6):
            await anyio.lowlevel.checkpoint()
            reached.append(number)

    for number in range(1, 6):
        reached.clear()
        with anyio.CancelScope() as scope:
            await cancelled_at(five_awaits(), number, scope.cancel)
        assert scope.cancelled_caught or number == 5
        assert max(reached, default=0) in (number - 1, number)


async def test_a_run_that_ends_before_its_nth_await_ends_as_it_would() -> None:
    async def answer() -> int:
        await anyio.lowlevel.checkpoint()
        return 42

    assert await cancelled_at(answer(), 1000, lambda: None) == 42


@pytest.mark.slow
async def test_the_scenario_of_all_awaits_ends_with_the_last_cancellation() -> None:
    scenario = replace(GOOD, cancel="await", ending=stops("cancelled", ""), ran=None)
    outcome = await play(scenario, stream=False)
    assert outcome.problems == []
    assert outcome.stop == "cancelled"
