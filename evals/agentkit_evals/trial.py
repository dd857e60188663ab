"""One trial, from the first turn to its result.

This module decides what a failure means: the suite's verdict is about the agent; a failure of the
server, the suite or the harness is `infrastructure`, neither a pass nor a failure of the agent.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from agentkit import (
    Agent,
    AgentKitError,
    ContextWindowError,
    Event,
    Limits,
    ModelError,
    ReasoningDelta,
    RunFinished,
    RunResult,
    RunStarted,
    ServerNotReadyError,
    TextDelta,
    ToolCallDelta,
    ToolContext,
    ToolFinished,
    Toolset,
    ToolStarted,
)
from agentkit.events import ModelCalled
from agentkit.messages import JsonObject, Message, StopReason, ToolCall
from agentkit.schema.feedback import Problem
from agentkit.schema.foreign import ForeignArguments
from agentkit.schema.nodes import same
from agentkit.toolset import Arguments
from agentkit.trace import RunFiles, Step, Timed, ToolRun, parts_of
from agentkit_evals.contained import contained
from agentkit_evals.core import (
    CallRecord,
    EvalError,
    Session,
    Suite,
    SuiteError,
    Timing,
    Transcript,
    Trial,
    TrialLimits,
    TrialResult,
    Turn,
    TurnRecord,
    kept,
)
from agentkit_evals.subject import AgentMaker

GRACE: Final = 60.0
"""Seconds for making worlds and grading, in addition to the trial's own."""


async def run_alone(
    suite: Suite,
    trial: Trial,
    make_agent: AgentMaker,
    worker: str,
    *,
    limits: TrialLimits,
    record: Path | None = None,
) -> TrialResult:
    """As `run_trial`, but in an event loop of its own; see `alone`."""
    agents: list[Agent[Any, Any]] = []

    def make(trial: Trial, number: int, turn: Turn) -> Agent[Any, Any]:
        agents.append(make_agent(trial, number, turn))
        return agents[-1]

    async def play() -> TrialResult:
        try:
            return await run_trial(suite, trial, make, worker, limits=limits, record=record)
        finally:
            for agent in agents:
                await agent.model.aclose()  # closes only the connections of this event loop

    return await alone(play, trial, worker, limits.seconds)


async def alone(
    play: Callable[[], Awaitable[TrialResult]], trial: Trial, worker: str, seconds: float | None
) -> TrialResult:
    """Plays a trial in an event loop of its own: whatever a tool does to it, other trials go on.

    Args:
        play: Plays the trial.
        trial: The trial.
        worker: The name of the worker, for the result of a trial that is lost.
        seconds: The wall time of the trial without its grading; None is no limit.

    Raises:
        ServerNotReadyError: No trial could be played with this server.
        EvalError: The suite is not installed, or the subject cannot be made.
    """

    async def result_or_error() -> TrialResult | AgentKitError:
        try:
            return await play()
        except (EvalError, ServerNotReadyError) as error:  # raised below: these end the run
            return error

    most = None if seconds is None else seconds + GRACE
    try:
        result = await contained("the trial", result_or_error, _same, most)
    except AgentKitError as error:
        return lost(trial, worker, _failure(error))
    if isinstance(result, AgentKitError):
        raise result
    return result


def _same(result: TrialResult | AgentKitError) -> TrialResult | AgentKitError:
    return result


def lost(trial: Trial, worker: str, failure: str) -> TrialResult:
    """The result of a trial without any record."""
    return TrialResult(
        case=trial.case.id,
        trial=trial.number,
        status="infrastructure",
        failure=failure,
        worker=worker,
    )


async def run_trial(
    suite: Suite,
    trial: Trial,
    make_agent: AgentMaker,
    worker: str,
    *,
    limits: TrialLimits | None = None,
    record: Path | None = None,
) -> TrialResult:
    """Plays a case once and has it graded.

    Args:
        suite: The suite of the case.
        trial: The trial to play.
        make_agent: Makes the agents of the subject.
        worker: The name of the worker, for the result.
        limits: The limits of the trial, except for memory, which bounds a whole process.
        record: A run file to write; an older one is replaced.

    Raises:
        ServerNotReadyError: No trial could be played with this server.
        EvalError: The suite is not installed, or the subject cannot be made.
    """
    started = time.monotonic()
    played = _Played(_Recorder(record))

    async def play(session: Session) -> Transcript:
        await _play(session, trial, make_agent, played, _Allowance(limits or TrialLimits()))
        return played.transcript

    return replace(
        await graded(suite, trial, play),
        transcript=played.transcript,
        seconds=round(time.monotonic() - started, 3),
        timing=Timing(tuple(played.first_tokens), round(played.model_seconds, 3)),
        worker=worker,
    )


async def graded(
    suite: Suite, trial: Trial, play: Callable[[Session], Awaitable[Transcript]]
) -> TrialResult:
    """Plays and grades a case, and decides what a failure means.

    Args:
        suite: The suite of the case.
        trial: The trial to play.
        play: Plays it, and returns the transcript to grade.

    Raises:
        ServerNotReadyError: No trial could be played with this server.
        EvalError: The suite is not installed, or the subject cannot be made.
    """
    grade, failure, status = None, None, "infrastructure"
    try:
        async with suite.open(trial) as session:
            grade = kept(await session.grade(await play(session)))
            status = "graded"
    except ContextWindowError as error:
        # To keep a conversation within the window is the agent's task.
        status, failure = "graded", f"agent:context_window: {error}"
    except ServerNotReadyError:
        raise
    except Exception as error:  # the boundary around a trial: one must not end all
        if type(error) is EvalError:
            raise
        failure = _failure(error)
    return TrialResult(
        case=trial.case.id,
        trial=trial.number,
        status="graded" if status == "graded" else "infrastructure",
        grade=grade,
        failure=failure,
    )


def _failure(error: Exception) -> str:
    """The kind of an error, by which reports count, and its first words."""
    if isinstance(error, ModelError):
        kind = "server"
    elif isinstance(error, AgentKitError):
        kind = "suite"
    else:
        kind = "harness"
    return f"{kind}:{type(error).__name__}: {error}"[:500]


@dataclass(slots=True)
class _Played:
    """The record of a trial so far; it is kept if the trial fails."""

    recorder: _Recorder
    turns: list[TurnRecord] = field(default_factory=list)
    earlier: tuple[Message, ...] = ()
    """The messages of earlier conversations."""
    messages: tuple[Message, ...] = ()
    """The messages of this conversation."""
    over: bool = False
    first_tokens: list[float] = field(default_factory=list)
    model_seconds: float = 0.0

    @property
    def transcript(self) -> Transcript:
        return Transcript(tuple(self.turns), self.earlier + self.messages, self.over)

    def begin(self, turn: Turn) -> Sequence[Message]:
        """The history that the agent is given for a turn."""
        if turn.new_conversation:
            self.earlier, self.messages = self.earlier + self.messages, ()
        return self.messages or turn.history


class _Recorder:
    """Writes the events of all turns to one run file."""

    def __init__(self, file: Path | None) -> None:
        self._name = "" if file is None else unquote(file.stem)
        self._files = None if file is None else RunFiles(file.parent)
        if file is not None:
            file.unlink(missing_ok=True)

    def __call__(self, event: Event) -> None:
        if self._files is not None:
            if isinstance(event, RunStarted):
                event = replace(event, run_id=self._name)
            self._files(self._name, event)


class _Allowance:
    """The rest of a trial's limits."""

    def __init__(self, limits: TrialLimits) -> None:
        self._limits = limits
        self._began = time.monotonic()
        self._cut = False
        """Whether the present turn has less time than its own limit allows."""

    def within(self, limits: Limits, played: Transcript) -> Limits:
        """The limits of a turn, cut to what is left for the trial."""
        seconds, tokens = self._limits.seconds, self._limits.tokens
        if seconds is not None:
            left = max(0.0, self._began + seconds - time.monotonic())
            own = math.inf if limits.seconds is None else limits.seconds
            self._cut = left < own
            limits = replace(limits, seconds=min(left, own))
        if tokens is not None:
            rest = max(0, tokens - played.usage.output_tokens)
            most = rest if limits.output_tokens is None else min(rest, limits.output_tokens)
            limits = replace(limits, output_tokens=most)
        return limits

    def spent(self, played: Transcript, stop_reason: StopReason) -> bool:
        """Whether a turn that stopped for this reason has used up a limit of the trial, and not
        only one of its own.
        """
        tokens = self._limits.tokens
        written_all = tokens is not None and played.usage.output_tokens >= tokens
        return (stop_reason == "seconds" and self._cut) or (stop_reason == "tokens" and written_all)


async def _play(
    session: Session, trial: Trial, make_agent: AgentMaker, played: _Played, allowance: _Allowance
) -> None:
    while (turn := await session.next_turn(played.transcript)) is not None:
        watch = _Watch()
        agent = make_agent(trial, len(played.turns), replace(turn, tools=watch.over(turn.tools)))
        limits = allowance.within(turn.limits, played.transcript)
        try:
            history = played.begin(turn)
            async for event in agent.stream(turn.text, history=history, limits=limits):
                watch(event)
                played.recorder(event)
        finally:
            played.first_tokens += watch.first_tokens
            played.model_seconds += watch.model_seconds
        result = watch.result
        assert result is not None, "a stream that does not raise ends with RunFinished"
        played.messages = result.messages
        played.turns.append(watch.record(result, turn))
        if result.stop_reason == "seconds" and watch.running:
            names = ", ".join(call.name for call in watch.running.values())
            raise SuiteError(f"the tool {names} had not ended when the time was over")
        if allowance.spent(played.transcript, result.stop_reason):
            return
    played.over = True


class _Watch:
    """Records the events of one turn; the turn's record is read from them."""

    def __init__(self) -> None:
        self._events: list[Timed] = []
        self.result: RunResult[Any] | None = None
        self.running: dict[str, ToolCall] = {}
        self.first_tokens: list[float] = []
        self.model_seconds = 0.0
        self._called: set[tuple[str, str, str]] = set()

    def over(self, tools: Toolset) -> Toolset:
        """The same tools, watched: by whom each is called, and under which name."""

        def called(name: str, context: ToolContext[Any]) -> None:
            self._called.add((name, context.call.name, context.run_id))

        return Toolset(
            replace(each, signature=_Watched(each.signature, partial(called, each.name)))
            for each in tools
        )

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self.result = event.result
        elif isinstance(event, ToolStarted):
            self.running[event.call.id] = event.call
        elif isinstance(event, ToolFinished):
            self.running.pop(event.call.id, None)
        elif isinstance(event, ModelCalled):
            self.model_seconds += event.seconds
            if event.first_token is not None:
                self.first_tokens.append(round(event.first_token, 4))
        if not isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta):
            self._events.append(Timed(event, 0.0))

    def record(self, result: RunResult[Any], turn: Turn) -> TurnRecord:
        steps = [step for part in parts_of(self._events) for step in part.steps]
        return TurnRecord(
            stop_reason=result.stop_reason,
            output=str(result.said),
            steps=result.steps,
            usage=result.usage,
            calls=tuple(_calls(steps)),
            repairs=sum(bool(ran.repairs) for step in steps for ran in step.ran.values()),
            retries=sum(len(step.restarts) for step in steps),
            new_conversation=turn.new_conversation,
            said_by=turn.said_by,
            hidden=self._hidden(result.run_id),
        )

    def _hidden(self, run_id: str) -> tuple[str, ...]:
        """The tools that were called in another run than this, or under another name."""
        return tuple(sorted({name for name, *by in self._called if by != [name, run_id]}))


@dataclass(frozen=True, slots=True)
class _Watched:
    """The arguments of a tool, which tell of each call."""

    inner: Arguments
    called: Callable[[ToolContext[Any]], None]

    def check(self, arguments: JsonObject) -> dict[str, Any] | list[Problem]:
        return self.inner.check(arguments)

    def call_arguments(
        self, values: Mapping[str, Any], injected: object
    ) -> tuple[list[Any], dict[str, Any]]:
        if isinstance(injected, ToolContext):
            self.called(injected)
        return self.inner.call_arguments(values, injected)


def _calls(steps: Iterable[Step]) -> Iterator[CallRecord]:
    for step in steps:
        for ran in step.ran.values():
            if ran.end is not None:
                call, kind = ran.call, ran.end.result.kind
                yield CallRecord(call.name, call.arguments, kind, _fits(ran, step))


def _fits(ran: ToolRun, step: Step) -> bool:
    """Whether a call, as it was written, names a tool of its request and obeys its schema there."""
    if ran.repairs or ran.call.malformed is not None:
        return False
    shown = step.asked[-1].request.tools if step.asked else ()
    definition = next((each for each in shown if each.name == ran.call.name), None)
    if definition is None:
        return False
    written = ran.call.arguments
    read = _reader(json.dumps(definition.parameters)).check(written)
    return isinstance(read, dict) and same(read) == same(written)  # to Python, 1 is True


@lru_cache(maxsize=1024)
def _reader(schema: str) -> ForeignArguments:
    """Cached, since each trial makes its tools anew and reading a schema takes milliseconds."""
    return ForeignArguments(json.loads(schema))
