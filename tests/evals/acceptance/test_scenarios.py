"""Scenarios of an agent: right on a server that is, and each of them wrong on one that is not."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest
from agentkit_evals.acceptance import scenarios
from agentkit_evals.acceptance.bench import AbsentError, Bench, Played, Scenario, play
from agentkit_evals.acceptance.scenarios import SCENARIOS

from agentkit import ModelStatusError
from agentkit.messages import ModelRequest, Usage
from agentkit.testing import Reply, call, say
from tests.evals.acceptance.bench import Answer, bench_of, good


def played(scenario: Scenario, bench: Bench, *, seconds: float = 30.0) -> Played:
    async def main() -> Played:
        return await play(scenario, bench, seconds=seconds)

    return anyio.run(main)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_good_server_is_right_or_says_what_it_cannot_do(scenario: Scenario) -> None:
    found = played(scenario, bench_of())
    wanted = "absent" if scenario is scenarios.image else "right"
    assert (found.verdict, found.asks.endswith(".")) == (wanted, True), found.says


def always(reply: Reply) -> Answer:
    return lambda _request: reply


def uncounted(request: ModelRequest) -> Reply:
    return replace(good(request), usage=Usage())


def never_full(request: ModelRequest) -> Reply:
    return replace(say("Hello."), usage=Usage(10, 4))


CALL = call("look", name="x")
WRONG = [
    (scenarios.text, uncounted, "0 tokens of prompt"),
    (scenarios.reasoning, always(say("thought\nIt is in agent.py.")), "holds reasoning"),
    (scenarios.cut, always(replace(say("1 2 3 4"), usage=Usage(5, 9))), "ends with 'stop'"),
    (scenarios.control_tokens, never_full, "became what they spell"),
    (scenarios.free_call, always(say("In agent.py.")), "no call came"),
    (scenarios.forced, always(say("Good morning.")), "'no_call'"),
    (scenarios.forced_by_name, always(call("find_definition", name="x")), "find_definition"),
    (scenarios.forced_while_thinking, always(say("Hello.")), "'no_call'"),
    (scenarios.no_calls, always(CALL), "holds a call"),
    (scenarios.typed_number, always(call("final_answer", answer="four")), "ended with"),
    (scenarios.typed_record, always(say("The hall.")), "ended with"),
    (scenarios.typed_with_tools, always(say("The hall.")), "ended with"),
    (scenarios.overflow, never_full, "as if it fitted"),
]


@pytest.mark.parametrize(
    ("scenario", "answer", "told"), WRONG, ids=[scenario.__name__ for scenario, *_ in WRONG]
)
def test_a_server_that_does_it_wrongly_is_told_so(
    scenario: Scenario, answer: Answer, told: str
) -> None:
    found = played(scenario, bench_of(answer))
    assert found.verdict == "wrong"
    assert told in found.says


def failing(_request: ModelRequest) -> Reply:
    raise ModelStatusError("the engine died", status_code=500)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_whatever_a_server_does_a_scenario_has_a_verdict(scenario: Scenario) -> None:
    found = played(scenario, bench_of(failing))
    if scenario is not scenarios.unknown_model:  # it asks for another model
        assert found.verdict == "wrong"
        assert "the engine died" in found.says


def test_a_scenario_that_does_not_end_is_wrong_when_its_time_is_over() -> None:
    async def endless(_bench: Bench) -> None:
        """It never ends."""
        await anyio.sleep_forever()

    found = played(endless, bench_of(), seconds=0.01)
    assert (found.name, found.verdict) == ("endless", "wrong")
    assert "not done after" in found.says


@pytest.mark.parametrize(
    "scenario", [scenarios.forced, scenarios.typed_record], ids=["a call", "a typed answer"]
)
def test_where_nothing_holds_a_reply_an_end_that_says_so_is_no_fault(scenario: Scenario) -> None:
    bench = bench_of(always(say("Good morning.")))
    assert played(scenario, bench).verdict == "wrong"
    found = played(scenario, replace(bench, holds=False))
    assert (found.verdict, "the run ended with" in found.says) == ("absent", True)


def test_what_a_server_cannot_do_is_no_fault_of_it() -> None:
    async def hums(_bench: Bench) -> None:
        """It hums."""
        raise AbsentError("this server does not hum")

    found = played(hums, bench_of())
    assert (found.verdict, found.says) == ("absent", "this server does not hum")
