"""One trial, from the first turn to its line in the store.

Who is to blame is decided here: the suite's verdict is the agent's; a server, a suite or a harness
that failed is infrastructure, neither a pass nor a failure.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentkit import (
    AgentKitError,
    ContextWindowError,
    Event,
    ModelError,
    RunFinished,
    RunResult,
    ServerNotReadyError,
    StepRestarted,
    ToolFinished,
    Toolset,
)
from agentkit.events import CallRepaired
from agentkit.messages import AssistantMessage, Message, ToolCall
from agentkit.schema.foreign import ForeignArguments
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
    """Counts what happens in one turn."""

    def __init__(self, tools: Toolset) -> None:
        self._tools = tools
        self.result: RunResult[Any] | None = None
        self._calls: dict[str, CallRecord] = {}
        self._repairs = 0
        self._retries = 0

    def __call__(self, event: Event) -> None:
        match event:
            case ToolFinished(call=call, result=result):
                fits = _fits(self._tools, call)
                record = CallRecord(call.name, call.arguments, result.kind, fits)
                self._calls[call.id] = record
            case CallRepaired():
                self._repairs += 1
            case StepRestarted():
                self._retries += 1
            case RunFinished(result=result):
                self.result = result
            case _:
                pass

    def record(self, result: RunResult[Any]) -> TurnRecord:
        return TurnRecord(
            stop_reason=result.stop_reason,
            output=str(result.output),
            steps=result.steps,
            usage=result.usage,
            calls=tuple(self._in_order(result.messages)),
            repairs=self._repairs,
            retries=self._retries,
        )

    def _in_order(self, messages: Sequence[Message]) -> Iterator[CallRecord]:
        """As the model asked for them, whichever ended first."""
        for message in messages:
            for call in message.tool_calls if isinstance(message, AssistantMessage) else ():
                if call.id in self._calls:
                    yield self._calls[call.id]


def _fits(tools: Toolset, call: ToolCall) -> bool:
    """Whether the arguments obey the schema that the model was shown, unmended."""
    tool = tools.get(call.name)
    if tool is None or call.malformed is not None:
        return False
    return ForeignArguments(tool.definition.parameters).check(call.arguments) == call.arguments
