from __future__ import annotations

from typing import Any

import pytest
from agentkit_evals.core import (
    Case,
    EvalError,
    GoldCall,
    SuiteError,
    Transcript,
    Trial,
    Turn,
)
from agentkit_evals.subject import Subject, replayed
from agentkit_evals.tasks import Task, TaskSuite
from agentkit_evals.trial import run_trial

from agentkit import Agent, Model, ModelSettings, Toolset
from agentkit.testing import FaultServer, ScriptedModel, say
from tests.evals.helpers import plan

pytestmark = pytest.mark.anyio

TRIAL = Trial(Case("a"), 0, 7)
TURN = Turn(text="Go.", tools=Toolset(), instructions="Be brief.")


def my_agent(model: Model, turn: Turn, settings: ModelSettings) -> Agent[Any, Any]:
    text = f"{settings.seed} {turn.text}"
    return Agent(model, instructions=text, settings=settings, observers=())


async def test_an_address_is_a_vllm_and_your_own_function_may_make_the_agent() -> None:
    with FaultServer(then=say("Done.")) as server:
        subject = Subject(model=server.url, agent=f"{__name__}:my_agent")
        async with subject.opened() as make:
            result = await make(TRIAL, 0, TURN).run("Go.")
    assert result.output == "Done."
    (request,) = server.requests
    assert request["messages"][0]["content"] == "7 Go."
    assert request["seed"] == 7


def forgetful(model: Model, turn: Turn, settings: ModelSettings) -> None:
    """Makes an agent and does not return it."""
    my_agent(model, turn, settings)


async def test_a_function_that_returns_no_agent_is_named() -> None:
    subject = Subject(model="http://127.0.0.1:1", agent=f"{__name__}:forgetful")
    async with subject.opened() as make:
        with pytest.raises(EvalError, match="forgetful returned None; it returns an Agent"):
            make(TRIAL, 0, TURN)


def broken(model: Model, turn: Turn, settings: ModelSettings) -> None:
    raise KeyError("region")


async def later(model: Model, turn: Turn, settings: ModelSettings) -> Any:
    return my_agent(model, turn, settings)


def of_two(model: Model, turn: Turn) -> Agent[Any, Any]:
    return my_agent(model, turn, ModelSettings())


AN_AGENT = Agent(ScriptedModel([]), observers=())


@pytest.mark.parametrize("name", ["later", "of_two", "AN_AGENT"])
async def test_what_makes_no_agent_of_a_turn_is_refused_before_the_run(name: str) -> None:
    subject = Subject(model="http://127.0.0.1:1", agent=f"{__name__}:{name}")
    with pytest.raises(EvalError, match=f"{name}: .* is not a function of .model, turn, settings"):
        subject.sources()


async def test_what_a_function_raises_is_told_as_its_own_fault() -> None:
    subject = Subject(model="http://127.0.0.1:1", agent=f"{__name__}:broken")
    async with subject.opened() as make:
        with pytest.raises(SuiteError, match=r"broken raised KeyError\('region'\)"):
            make(TRIAL, 0, TURN)


async def test_a_run_names_the_model_that_was_served() -> None:
    with FaultServer(then=say("Done.")) as server:
        pinned = await Subject(model=server.url).pinned()
    assert pinned == Subject(model=server.url, model_name="gemma-4-faulty")
    assert await Subject(model="gold").pinned() == Subject(model="gold")


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (Subject(model="gpt"), "no model 'gpt'"),
        (Subject(model=""), "no model given: name a server"),
        (Subject(model="tiny", agent="nowhere:make"), "--agent nowhere:make"),
        (Subject(model="tiny", agent="json:nothing"), "module:function"),
    ],
)
async def test_what_is_not_there_is_named(subject: Subject, message: str) -> None:
    with pytest.raises(EvalError, match=message):
        async with subject.opened():
            pass
    with pytest.raises(EvalError, match=message):
        await subject.pinned()


async def test_a_reference_goes_by_its_rule_and_takes_no_agent() -> None:
    with pytest.raises(EvalError, match="gold goes by a rule"):
        await Subject(model="gold", agent=f"{__name__}:my_agent").pinned()


def test_the_last_call_is_that_of_the_last_turn_that_has_one() -> None:
    gold: tuple[tuple[GoldCall, ...], ...] = ((("a", {}), ("b", {})), (), (("c", {"x": 1}),), ())
    assert replayed("gold-without-last-call", gold) == [(("a", {}), ("b", {})), (), (), ()]
    assert replayed("gold", gold) == list(gold)
    assert replayed("empty", gold) == []
    assert replayed("gold-without-last-call", ((),)) == [()]
    with pytest.raises(SuiteError, match="no gold calls"):
        replayed("gold", None)


def asked(answer: str | None, gold: tuple[tuple[GoldCall, ...], ...] | None = None) -> TaskSuite:
    def check(_world: object, transcript: Transcript) -> bool:
        return transcript.turns[-1].output == "Paris"

    task = Task(
        id="capital",
        turns=("Which one?", "Of France."),
        world=object,
        tools=lambda _: [],
        check=check,
        gold=gold,
        answer=answer,
    )
    return TaskSuite("capitals", [task])


async def test_a_right_answer_may_be_words_which_gold_alone_says_in_the_end() -> None:
    for kind, passed in (("gold", True), ("gold-without-last-call", False), ("empty", False)):
        suite = asked("Paris")
        (case,) = await suite.cases()
        async with Subject(model=kind).opened() as make:
            result = await run_trial(suite, Trial(case, 0, 1), make, "here")
        assert result.passed is passed
        assert result.transcript.turns[0].output == "Done."


async def test_a_case_without_gold_has_no_verdict_and_the_run_goes_on() -> None:
    suite = asked(None)
    (case,) = await suite.cases()
    async with Subject(model="gold").opened() as make:
        result = await run_trial(suite, Trial(case, 0, 1), make, "here")
    assert result.status == "infrastructure"
    assert "the case has no gold calls" in str(result.failure)


async def test_settings_are_part_of_what_a_run_is() -> None:
    assert (await plan(model="gold")).subject != (await plan(model="empty")).subject
