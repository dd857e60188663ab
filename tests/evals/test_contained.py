"""What hangs, exits, floods or lies in a suite costs its trial, and is counted apart."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest
from agentkit_evals.core import Case, EvalError, Grade, Transcript, Trial, TrialLimits, TrialResult
from agentkit_evals.manifest import planned, trials_of
from agentkit_evals.subject import Subject
from agentkit_evals.tasks import Task, TaskSuite
from agentkit_evals.trial import run_alone, run_trial

from agentkit import ContextWindowError, Tool
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
)

SOON = 0.3
"""Seconds for code that never returns; a busy machine needs longer for what does."""


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
    changed: dict[str, Any] = {where: odd, "seconds": SOON if odd in (spins, sleeps) else 30}
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
    time.sleep(2 * SOON)  # noqa: ASYNC251 - what is tested


async def stops_its_loop(_world: object) -> None:
    asyncio.get_running_loop().stop()
    await anyio.sleep_forever()


async def cancels_all(_world: object) -> None:
    for task in asyncio.all_tasks():
        task.cancel()
    await anyio.sleep_forever()


async def exits_in_a_task(_world: object) -> None:
    task = asyncio.create_task(aexits(None))
    await asyncio.wait([task])


async def exits_in_a_callback(_world: object) -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 4)
    await anyio.sleep_forever()


async def swallows(_world: object) -> None:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


async def interrupts_in_a_group(_world: object) -> None:
    raise BaseExceptionGroup("several", [KeyboardInterrupt()])


async def outgrows(_world: object) -> None:
    raise ContextWindowError("the window of a model that the check asked")


ENDLESS = [awaits, blocks, stops_its_loop, cancels_all, exits_in_a_callback, swallows]
ODD_LOOPS = [exits_in_a_task, interrupts_in_a_group, outgrows]


@pytest.mark.parametrize("odd", [aexits, acloses, *ENDLESS, *ODD_LOOPS])
async def test_an_async_check_costs_its_trial_alone_too(odd: Callable[..., Any]) -> None:
    result = await played(replace(TASK, check=odd, seconds=SOON if odd in ENDLESS else 30))
    assert (result.status, result.grade) == ("infrastructure", None)
    assert (result.failure or "").startswith("suite:SuiteError: the check of one ")


@pytest.mark.parametrize(
    "verdict", [0, 1, 0.5, [], {}, b"", ("x", 1), (2.0, "much"), (0.5,), _Odd(), Grade, "".join]
)
async def test_what_is_no_verdict_is_said_to_be_none(verdict: Any) -> None:
    result = await played(replace(TASK, check=lambda _world: verdict))
    assert result.status == "infrastructure"
    assert "returned" in (result.failure or "")


class _MuteError(Exception):
    def __repr__(self) -> str:
        sys.exit(9)


class _MuteText(str):
    __slots__ = ()

    def __getitem__(self, key: object) -> str:
        sys.exit(9)


def raises_mutely(*_: object) -> None:
    raise _MuteError


async def test_what_cannot_be_told_of_an_exception_is_left_out() -> None:
    result = await played(replace(TASK, check=raises_mutely))
    assert result.failure == "suite:SuiteError: the check of one raised _MuteError"


async def test_a_text_of_a_kind_of_its_own_is_read_as_a_text() -> None:
    result = await played(replace(TASK, check=lambda _world: _MuteText("mute")))
    assert result.grade == Grade(False, "mute")


async def test_values_of_a_suite_that_cannot_be_told_do_not_keep_a_run_from_being_planned() -> None:
    mute = _MuteError()

    def check(_world: object) -> bool:
        return mute.args == ()

    suite = TaskSuite("odd", [replace(TASK, check=check)])
    assert len((await suite.about())["checks_sha256"]) == 64


_LOOP: list[Any] = []
_LOOP.append(_LOOP)


@pytest.mark.parametrize(
    "fields",
    [
        {"passed": "yes"},
        {"passed": None},
        {"passed": 2},
        {"passed": True, "score": 9},
        {"passed": True, "score": math.nan},
        {"passed": False, "error": 5},
        {"passed": False, "idle_turns": "x"},
        {"passed": False, "details": object()},
        {"passed": False, "details": _LOOP},
        {"passed": False, "details": b"\xff"},
    ],
)
async def test_a_grade_that_no_store_can_keep_is_no_verdict(fields: dict[str, Any]) -> None:
    result = await played(replace(TASK, check=lambda _world: Grade(**fields)))
    assert (result.status, result.grade) == ("infrastructure", None)
    assert (result.failure or "").startswith("suite:SuiteError: the check of one returned a Grade")


@pytest.mark.parametrize(
    ("part", "remedy"),
    [
        ({"turns": "Go."}, r"turns is 'Go\.'; write turns=\(text,\)"),
        ({"turns": ["Go."]}, "turns is .*; write turns="),
        ({"turns": (5,)}, "a turn is 5; give a text"),
        ({"check": True}, "check is True; give a function"),
        ({"world": {}}, "world is .*; give a function"),
        ({"tools": []}, "tools is .*; give a function"),
        ({"gold": [[("touch", {})]]}, "gold is .*; give a tuple"),
        ({"tags": "quick"}, "tags is 'quick'; write tags="),
        ({"seconds": math.nan}, "seconds is .*; give a number above 0"),
        ({"steps": "20"}, "steps is '20'; give a whole number"),
    ],
)
def test_a_task_of_wrong_parts_says_so_when_it_is_made(part: dict[str, Any], remedy: str) -> None:
    with pytest.raises(TypeError, match=remedy):
        replace(TASK, **part)


def lazy(_world: object) -> Iterable[str]:
    yield "wrong"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"turns": ()}, "turns is (); write turns=(text,)"),
        ({"turns": lambda _transcript: None}, "or give a function of (transcript, seed)"),
        ({"world": lambda _seed: []}, "give a function without arguments that makes a fresh world"),
        ({"tools": lambda: [touch]}, "give a function of the world that returns its tools"),
        ({"check": lambda: None}, "give a function of the world, or of (world, transcript)"),
        ({"check": lambda _world, *, transcript: transcript}, "or of (world, transcript)"),
        ({"check": lazy}, "that says what is wrong"),
        ({"gold": (("touch", {}),)}, "a gold call is 'touch'; give a tuple of calls for each turn"),
        ({"gold": ((("touch",),),)}, "a gold call is ('touch',); give a tuple of calls"),
        ({"gold": ((), ())}, "gold has calls of 2 turns, and there are 1; give a tuple of calls"),
    ],
)
def test_a_task_that_could_not_be_played_or_graded_is_refused_when_it_is_made(
    part: dict[str, Any], said: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        replace(TASK, **part)
    assert said in str(refused.value)


def test_what_is_no_task_of_a_suite_is_named_when_the_suite_is_made() -> None:
    wrong: Any = "Go."
    with pytest.raises(TypeError, match=r"^a task of errands is 'Go\.'; give a Task$"):
        TaskSuite("errands", [TASK, wrong])
    with pytest.raises(
        EvalError, match=r"^two tasks of errands have the same id 'one': rename one$"
    ):
        TaskSuite("errands", [TASK, TASK])


def asserts(_world: object) -> None:
    raise AssertionError("the list is empty")  # as an `assert`, which pytest would reword


async def asserts_later(_world: object) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("check", "error"),
    [(asserts, "the list is empty"), (asserts_later, "raise AssertionError")],
)
async def test_an_assertion_of_a_check_that_fails_is_a_verdict(check: Any, error: str) -> None:
    result = await played(replace(TASK, check=check))
    assert result.grade == Grade(False, error)


async def test_a_score_may_be_a_number_of_numpy() -> None:
    half, one = (_Number(value) for value in (0.5, 1.0))
    assert (await played(replace(TASK, check=lambda _: (one, "all")))).grade == Grade(True, score=1)
    result = await played(replace(TASK, check=lambda _: (half, "half")))
    assert result.grade == Grade(False, "half", 0.5)


class _Number(float):
    """Compares as numpy's numbers do: to something that is no bool."""

    def __eq__(self, other: object) -> Any:
        return [float(self) == other] if float(self) == other else []

    __hash__ = float.__hash__


@pytest.mark.parametrize(
    ("verdict", "grade"),
    [
        (None, Grade(True)),
        (True, Grade(True)),
        (False, Grade(False)),
        ("lamp:off", Grade(False, "lamp:off")),
        ("x" * 10_000, Grade(False, "x" * 500)),
        ("half a pair: \ud83d", Grade(False, "half a pair: ?")),
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


def _does(deed: Callable[[object], Any]) -> Callable[[object], list[Callable[..., Any]]]:
    async def touch() -> None:
        """Touches."""
        await deed(None)

    return lambda _world: [touch]


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_an_async_tool_does_to_its_event_loop_is_done_to_no_other_trial() -> None:
    harmful = (stops_its_loop, cancels_all, exits_in_a_task, exits_in_a_callback, blocks)
    good = replace(TASK, seconds=30.0, gold=((("touch", {}),),))
    tasks = [replace(good, id=deed.__name__, tools=_does(deed)) for deed in harmful]
    suite = TaskSuite("odd", [*tasks, *(replace(good, id=f"good {n}") for n in range(4))])
    manifest = await planned(suite, "odd", Subject(model="gold"), limits=TrialLimits(seconds=30))
    trials = trials_of(manifest, await suite.cases())
    found: dict[str, TrialResult] = {}
    async with manifest.subject.opened() as make_agent, anyio.create_task_group() as group:

        async def play(trial: Trial) -> None:
            limits = manifest.limits
            result = await run_alone(suite, trial, make_agent, "here", limits=limits)
            found[trial.case.id] = result

        for trial in trials:
            group.start_soon(play, trial)
    lost = {name for name, result in found.items() if result.status == "infrastructure"}
    assert lost == {"stops_its_loop", "cancels_all", "exits_in_a_task", "exits_in_a_callback"}
    assert all(found[name].passed for name in ("blocks", *(f"good {n}" for n in range(4))))
