"""What hangs, exits, floods or lies in a suite costs its trial, and is counted apart."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import replace
from typing import Any

import anyio
import pytest
from agentkit_evals.core import Case, Grade, Transcript, Trial, TrialLimits, TrialResult
from agentkit_evals.tasks import Task, TaskSuite
from agentkit_evals.trial import run_trial

from agentkit import Tool
from agentkit.events import ModelEvent
from agentkit.messages import ModelRequest
from agentkit.testing import ScriptedModel, call, say
from tests.evals.helpers import given, scripted

pytestmark = pytest.mark.anyio


def exits(*_: object) -> None:
    sys.exit(0)


def spins(*_: object) -> None:
    while True:
        pass


def sleeps(*_: object) -> None:
    time.sleep(60)


def interrupts(*_: object) -> None:
    raise KeyboardInterrupt


def recurses(*_: object) -> None:
    recurses()


class _Slow(ScriptedModel):
    """Never says anything."""

    def __init__(self) -> None:
        super().__init__([])

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        await anyio.sleep_forever()
        async for event in super().generate(request):
            yield event


class _Odd:
    def __bool__(self) -> bool:
        raise ValueError("neither")

    def __repr__(self) -> str:
        raise ValueError("no words")


def touch() -> str:
    """Touches."""
    return "touched"


TASK: Task[list[int]] = Task(
    id="one",
    turns=("Go.",),
    world=list,
    tools=lambda _world: [touch],
    check=lambda _world: None,
    seconds=0.2,
)


async def played(task: Task[Any], *, seconds: float | None = None) -> TrialResult:
    maker = scripted(call("touch"), say("Done."))
    return await run_trial(
        TaskSuite("odd", [task]),
        Trial(Case("one"), 0, 1),
        maker,
        "here",
        limits=TrialLimits(seconds=seconds),
    )


@pytest.mark.parametrize("odd", [exits, spins, sleeps, interrupts, recurses])
@pytest.mark.parametrize("where", ["check", "world", "tools"])
async def test_code_that_does_not_return_is_the_suites_failure(
    odd: Callable[..., Any], where: str
) -> None:
    changed: dict[str, Any] = {where: odd}
    result = await played(replace(TASK, **changed))
    assert (result.status, result.grade) == ("infrastructure", None)
    assert (result.failure or "").startswith("suite:SuiteError: the ")


async def aexits(_world: object) -> None:
    sys.exit(0)


async def acloses(_world: object) -> None:
    raise GeneratorExit


async def awaits(_world: object) -> None:
    await anyio.sleep_forever()


async def blocks(_world: object) -> None:
    time.sleep(0.3)  # noqa: ASYNC251 - what is tested


@pytest.mark.parametrize("odd", [aexits, acloses, awaits, blocks])
async def test_an_async_check_costs_its_trial_alone_too(odd: Callable[..., Any]) -> None:
    result = await played(replace(TASK, check=odd))
    assert (result.status, result.grade) == ("infrastructure", None)
    assert (result.failure or "").startswith("suite:SuiteError: the check of one ")


@pytest.mark.parametrize(
    "verdict", [0, 1, 0.5, [], {}, b"", ("x", 1), (2.0, "much"), (0.5,), _Odd(), Grade, "".join]
)
async def test_what_is_no_verdict_is_said_to_be_none(verdict: Any) -> None:
    result = await played(replace(TASK, check=lambda _world: verdict))
    assert result.status == "infrastructure"
    assert "returned" in (result.failure or "")


@pytest.mark.parametrize(
    ("verdict", "grade"),
    [
        (None, Grade(True)),
        (True, Grade(True)),
        (False, Grade(False)),
        ("lamp:off", Grade(False, "lamp:off")),
        ("x" * 10_000, Grade(False, "x" * 500)),
        ((0.25, "one of four"), Grade(False, "one of four", 0.25)),
        ((1, "all"), Grade(True, None, 1.0)),
        (Grade(True, score=0.9), Grade(True, score=0.9)),
    ],
)
async def test_a_check_may_say_it_in_many_ways(verdict: Any, grade: Grade) -> None:
    result = await played(replace(TASK, check=lambda _world: verdict))
    assert (result.status, result.grade) == ("graded", grade)


async def test_a_check_sees_the_transcript_too() -> None:
    def check(world: list[int], transcript: Transcript, least: int = 1) -> bool:
        return world == [] and len(transcript.calls) == least

    assert (await played(replace(TASK, check=check))).passed


@pytest.mark.parametrize("tool", [exits, interrupts, recurses])
async def test_a_tool_that_raises_anything_is_a_failed_call(tool: Callable[..., Any]) -> None:
    def tools(_world: object) -> Iterable[Tool[..., Any] | Callable[..., Any]]:
        def touch() -> None:
            """Touches."""
            tool()

        return [touch]

    result = await played(replace(TASK, tools=tools))
    assert result.status == "graded"
    assert [made.kind for made in result.transcript.calls] == ["error"]


async def test_a_tool_that_never_ends_is_the_suites_failure_and_costs_the_trials_time() -> None:
    def tools(_world: object) -> Iterable[Tool[..., Any] | Callable[..., Any]]:
        async def touch() -> None:
            """Touches."""
            await anyio.sleep_forever()

        return [touch]

    result = await played(replace(TASK, tools=tools), seconds=0.2)
    assert result.failure == (
        "suite:SuiteError: the tool touch had not ended when the time was over"
    )


async def test_a_model_that_takes_too_long_is_graded_by_what_it_left() -> None:
    result = await run_trial(
        TaskSuite("odd", [replace(TASK, check=lambda _world: "world:empty")]),
        Trial(Case("one"), 0, 1),
        given(_Slow()),
        "here",
        limits=TrialLimits(seconds=0.1),
    )
    assert result.grade == Grade(False, "agent:seconds")
