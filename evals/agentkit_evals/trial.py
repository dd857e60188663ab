"""One trial, from the first turn to its line in the store.

Who is to blame is decided here: the suite's verdict is the agent's; a server, a suite or a harness
that failed is infrastructure, neither a pass nor a failure.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from agentkit import (
    AgentKitError,
    ContextWindowError,
    Event,
    ModelError,
    ReasoningDelta,
    RunFinished,
    RunResult,
    ServerNotReadyError,
    TextDelta,
    ToolCallDelta,
    ToolFinished,
    Toolset,
)
from agentkit.messages import Message, ToolCall
from agentkit.schema.foreign import ForeignArguments
from agentkit.trace import Timed, parts_of
from agentkit_evals.core import (
    CallRecord,
    EvalError,
    Session,
    Suite,
    Transcript,
    Trial,
    TrialResult,
    TurnRecord,
)
from agentkit_evals.subject import AgentMaker

__all__ = ["run_trial"]


async def run_trial(suite: Suite, trial: Trial, make_agent: AgentMaker, worker: str) -> TrialResult:
    """Plays a case once and has it graded.

    Args:
        suite: Whose case it is.
        trial: What to play.
        make_agent: The subject.
        worker: Who does it, for the record.

    Raises:
        ServerNotReadyError: No trial could be played with this server.
        EvalError: The suite is not installed, or the subject cannot be made.
    """
    started = time.monotonic()
    played = _Played()
    grade, failure, status = None, None, "infrastructure"
    try:
        async with suite.open(trial) as session:
            await _play(session, trial, make_agent, played)
            grade = await session.grade(played.transcript)
            status = "graded"
    except ContextWindowError as error:
        # The conversation outgrew the window: the agent's business to prevent.
        status, failure = "graded", f"agent:context_window: {error}"
    except ServerNotReadyError:
        raise
    except Exception as error:  # the boundary around a trial: one must not end all
        if type(error) is EvalError:
            raise
        failure = _named(error)
    return TrialResult(
        case=trial.case.id,
        trial=trial.number,
        status="graded" if status == "graded" else "infrastructure",
        grade=grade,
        failure=failure,
        transcript=played.transcript,
        seconds=round(time.monotonic() - started, 3),
        worker=worker,
    )


def _named(error: Exception) -> str:
    """The error's kind and first words; the kind is what reports count by."""
    kind = "server" if isinstance(error, ModelError) else "suite"
    if not isinstance(error, AgentKitError):
        kind = "harness"
    return f"{kind}:{type(error).__name__}: {error}"[:500]


@dataclass(slots=True)
class _Played:
    """How far a trial has got; also what is left of one that failed."""

    turns: list[TurnRecord] = field(default_factory=list)
    messages: tuple[Message, ...] = ()

    @property
    def transcript(self) -> Transcript:
        return Transcript(tuple(self.turns), self.messages)


async def _play(session: Session, trial: Trial, make_agent: AgentMaker, played: _Played) -> None:
    while (turn := await session.next_turn(played.transcript)) is not None:
        agent = make_agent(trial, len(played.turns), turn)
        watch = _Watch(turn.tools)
        events = agent.stream(turn.text, history=played.messages, limits=turn.limits)
        async for event in events:
            watch(event)
        result = watch.result
        assert result is not None, "a stream that does not raise ends with RunFinished"
        played.messages = result.messages
        played.turns.append(watch.record(result))


class _Watch:
    """Keeps what happens in one turn; what it came to is read from that as from any record."""

    def __init__(self, tools: Toolset) -> None:
        self._tools = tools
        self._events: list[Timed] = []
        self.result: RunResult[Any] | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self.result = event.result
        if not isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta):
            self._events.append(Timed(event, 0.0))

    def record(self, result: RunResult[Any]) -> TurnRecord:
        steps = [step for part in parts_of(self._events) for step in part.steps]
        ran = [each for step in steps for each in step.ran.values()]
        return TurnRecord(
            stop_reason=result.stop_reason,
            output=str(result.said),
            steps=result.steps,
            usage=result.usage,
            calls=tuple(self._call(each.end) for each in ran if each.end is not None),
            repairs=sum(len(each.repairs) for each in ran),
            retries=sum(len(step.restarts) for step in steps),
        )

    def _call(self, end: ToolFinished) -> CallRecord:
        call = end.call
        return CallRecord(call.name, call.arguments, end.result.kind, _fits(self._tools, call))


def _fits(tools: Toolset, call: ToolCall) -> bool:
    """Whether the arguments obey the schema that the model was shown, unmended."""
    tool = tools.get(call.name)
    if tool is None or call.malformed is not None:
        return False
    return ForeignArguments(tool.definition.parameters).check(call.arguments) == call.arguments
