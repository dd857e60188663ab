"""What happens in a run, as data: the loop says it, everything else watches.

The terminal, the run file, tracing and tests are observers of these events; the loop knows none
of them. Events carry the step they belong to, counted from 1; 0 is the run itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeAlias

from typing_extensions import TypeVar

from agentkit.messages import (
    FinishReason,
    Message,
    ModelResponse,
    StopReason,
    ToolCall,
    ToolResult,
    Usage,
)

__all__ = [
    "ApprovalNeeded",
    "CallRepaired",
    "Event",
    "ModelEvent",
    "ModelFinished",
    "ReasoningDelta",
    "RunFinished",
    "RunResult",
    "RunStarted",
    "StepFinished",
    "StepRestarted",
    "StepStarted",
    "TextDelta",
    "ToolCallDelta",
    "ToolFinished",
    "ToolProgress",
    "ToolStarted",
]


OutputT = TypeVar("OutputT", default=str)


# --- from a model call -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer."""

    text: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of a thought; never part of the answer."""

    text: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a call, for display only: nothing may run from it."""

    index: int
    name: str
    arguments: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class StepRestarted:
    """The call is made again: what was shown of this step is void."""

    reason: str
    attempt: int
    step: int = 0


@dataclass(frozen=True, slots=True)
class ModelFinished:
    """The last event of a model call that ended well."""

    response: ModelResponse
    step: int = 0


ModelEvent: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta | StepRestarted | ModelFinished


# --- from the loop -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins with these messages."""

    run_id: str
    model: str
    messages: tuple[Message, ...]
    tools: tuple[str, ...] = ()
    step: int = 0


@dataclass(frozen=True, slots=True)
class StepStarted:
    """The model is about to be called."""

    step: int


@dataclass(frozen=True, slots=True)
class StepFinished:
    """The model's reply stands; its calls, if any, run next."""

    message: Message
    finish_reason: FinishReason
    usage: Usage
    seconds: float
    step: int


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A call passed every check and starts."""

    call: ToolCall
    step: int


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """Something a running tool wants shown."""

    call_id: str
    text: str
    step: int


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A call has its result; results stand in the history in call order, whichever ends first."""

    call: ToolCall
    result: ToolResult
    step: int


@dataclass(frozen=True, slots=True)
class CallRepaired:
    """A call was not quite right, and a rung of the repair ladder made it so.

    Attributes:
        call: As it will run.
        rung: `name` (the tool that was certainly meant) or `constrained` (asked again under the
            grammar of that one tool).
        was: What the model wrote.
    """

    call: ToolCall
    rung: Literal["name", "constrained"]
    was: str
    step: int


@dataclass(frozen=True, slots=True)
class ApprovalNeeded:
    """A call waits for a person; the run goes on when it is decided, or pauses."""

    call: ToolCall
    id: str
    target: str
    step: int


@dataclass(frozen=True, slots=True)
class RunResult(Generic[OutputT]):
    """What a run came to.

    Attributes:
        output: The answer, of the agent's `output_type`; empty or partial text when `stop_reason`
            is not `answer`.
        stop_reason: Why it ended.
        messages: The whole conversation, ready to be continued.
        usage: Tokens of all steps together.
        steps: Steps made, those of sub-agents included.
        run_id: Names the run file.
        explanation: One sentence for a person when the stop needs one.
        paused: What `Agent.resume` goes on from, when `stop_reason` is `paused`: a
            `agentkit.policy.PausedRun`.
    """

    output: OutputT
    stop_reason: StopReason
    messages: tuple[Message, ...]
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    run_id: str = ""
    explanation: str = ""
    paused: Any = None


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The last event of a run, however it ended."""

    result: RunResult[Any]
    step: int = 0


Event: TypeAlias = (
    TextDelta
    | ReasoningDelta
    | ToolCallDelta
    | StepRestarted
    | RunStarted
    | StepStarted
    | StepFinished
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | CallRepaired
    | ApprovalNeeded
    | RunFinished
)
