"""A run told as steps: what the model was asked in each, what it said, what its calls came to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from agentkit.events import (
    ApprovalDecided,
    ApprovalNeeded,
    CallRepaired,
    ContextCompacted,
    Event,
    ModelCalled,
    ReplyInterrupted,
    ReplyReceived,
    RequestSent,
    RunFinished,
    RunResult,
    RunStarted,
    StepFinished,
    StepRestarted,
    StepStarted,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.messages import AssistantMessage, ModelRequest, ToolCall, Usage
from agentkit.trace.recording import Timed, requests_of


@dataclass(frozen=True, slots=True)
class Asked:
    """One model call with its whole request."""

    request: ModelRequest
    called: ModelCalled
    time: float


@dataclass(slots=True)
class Ran:
    """One tool call: what became of it, and when.

    Attributes:
        call: As it ran; as the model meant it, where it did not run.
        started: None for a call that did not run: refused, known already, a twin of another.
        finished: None if the run ended first.
    """

    call: ToolCall
    started: float | None = None
    finished: float | None = None
    end: ToolFinished | None = None
    progress: list[str] = field(default_factory=list)
    repairs: list[CallRepaired] = field(default_factory=list)
    asked: ApprovalNeeded | None = None
    decided: ApprovalDecided | None = None

    @property
    def waits(self) -> bool:
        """Whether the run ended before a person decided on it."""
        return self.end is None and self.asked is not None and self.decided is None

    @property
    def failed(self) -> bool:
        """Whether the model was told of an error, or nothing at all."""
        return not self.waits if self.end is None else self.end.result.is_error


@dataclass(slots=True)
class Step:
    """One step: the model calls that made its reply, and the tool calls that it asked for.

    Attributes:
        sent: What went to the server, attempts that failed included; where the model tells.
        received: What came back for each.
        interrupted: Replies that did not come to their end.
    """

    number: int
    began: float
    asked: list[Asked] = field(default_factory=list)
    restarts: list[StepRestarted] = field(default_factory=list)
    compacted: list[ContextCompacted] = field(default_factory=list)
    sent: list[RequestSent] = field(default_factory=list)
    received: list[ReplyReceived] = field(default_factory=list)
    interrupted: list[ReplyInterrupted] = field(default_factory=list)
    finished: StepFinished | None = None
    ran: dict[str, Ran] = field(default_factory=dict)
    ended: float = 0.0

    @property
    def usage(self) -> Usage:
        """Tokens of all its model calls."""
        return sum((each.called.response.usage for each in self.asked), Usage())

    @property
    def failed(self) -> bool:
        """Whether a call of it failed, or the reply never came."""
        return self.finished is None or any(ran.failed for ran in self.ran.values())


@dataclass(slots=True)
class Part:
    """What one process did of a run: from one `RunStarted` to its end, as far as it came.

    Attributes:
        result: Without messages; None if the process died.
    """

    started: RunStarted
    began: float
    steps: list[Step] = field(default_factory=list)
    result: RunResult[Any] | None = None
    ended: float = 0.0

    @property
    def usage(self) -> Usage:
        """Tokens of its own model calls; what sub-agents spent is in `result`."""
        return sum((step.usage for step in self.steps), Usage())


def parts_of(events: Iterable[Timed]) -> list[Part]:
    """The parts of a run, each as its steps."""
    events = list(events)
    requests = {id(called): request for request, called in requests_of(e.event for e in events)}
    parts: list[Part] = []
    for timed in events:
        if isinstance(timed.event, RunStarted):
            parts.append(Part(timed.event, timed.time, ended=timed.time))
        if parts:
            _add(parts[-1], timed, requests)
    for part in parts:
        for step in part.steps:
            _in_call_order(step)
    return parts


def _in_call_order(step: Step) -> None:
    """Puts the calls as the model wrote them; the events are in the order in which they ended."""
    message = step.finished.message if step.finished else None
    made = message.tool_calls if isinstance(message, AssistantMessage) else ()
    order = {call.id: number for number, call in enumerate(made)}
    step.ran = dict(sorted(step.ran.items(), key=lambda item: order.get(item[0], len(order))))


def _add(part: Part, timed: Timed, requests: dict[int, ModelRequest]) -> None:
    event, time = timed.event, timed.time
    part.ended = time
    if isinstance(event, RunStarted):
        return
    if isinstance(event, RunFinished):
        part.result = event.result
        return
    if isinstance(event, StepStarted) or not part.steps:
        part.steps.append(Step(event.step, time))  # a resumed part begins with calls, not a step
    step = part.steps[-1]
    step.ended = time
    if isinstance(event, ModelCalled):
        step.asked.append(Asked(requests[id(event)], event, time))
    elif not _add_reply(step, event):
        _add_call(step, event, time)


def _add_reply(step: Step, event: Event) -> bool:
    """Books what tells of the reply; False for other events."""
    match event:
        case StepFinished():
            step.finished = event
        case StepRestarted():
            step.restarts.append(event)
        case ContextCompacted():
            step.compacted.append(event)
        case RequestSent():
            step.sent.append(event)
        case ReplyReceived():
            step.received.append(event)
        case ReplyInterrupted():
            step.interrupted.append(event)
        case _:
            return False
    return True


def _add_call(step: Step, event: Event, time: float) -> None:
    match event:
        case ToolStarted(call=call):
            ran = step.ran.setdefault(call.id, Ran(call))
            ran.call, ran.started = call, time
        case ToolFinished(call=call):
            ran = step.ran.setdefault(call.id, Ran(call))
            ran.call, ran.finished, ran.end = call, time, event
        case CallRepaired(call=call):
            step.ran.setdefault(call.id, Ran(call)).repairs.append(event)
        case ApprovalNeeded(call=call):
            step.ran.setdefault(call.id, Ran(call)).asked = event
        case ApprovalDecided(id=asked):
            for ran in step.ran.values():
                if ran.asked is not None and ran.asked.id == asked:
                    ran.decided = event
        case ToolProgress(call_id=call_id, text=text) if call_id in step.ran:
            step.ran[call_id].progress.append(text)
        case _:
            pass
