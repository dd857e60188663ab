"""What happens in a run, as data: the loop says it, everything else watches.

The terminal, the run file, tracing and tests are observers of these events; the loop knows none
of them. Events carry the step they belong to, counted from 1; 0 is the run itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Generic, Literal, TypeAlias, get_args

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python
from typing_extensions import TypeVar

from agentkit.messages import (
    FinishReason,
    JsonObject,
    JsonValue,
    Message,
    ModelResponse,
    ModelSettings,
    StopReason,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    ToolResult,
    Usage,
)

__all__ = [
    "ApprovalDecided",
    "ApprovalNeeded",
    "CallRepaired",
    "ContextCompacted",
    "ContextUse",
    "Event",
    "ModelCalled",
    "ModelEvent",
    "ModelFinished",
    "PartialOutput",
    "PromptTokens",
    "ReasoningDelta",
    "RunFinished",
    "RunResult",
    "RunStarted",
    "Spent",
    "StepFinished",
    "StepRestarted",
    "StepStarted",
    "TextDelta",
    "ToolCallDelta",
    "ToolFinished",
    "ToolProgress",
    "ToolStarted",
    "as_json",
    "dump_event",
    "load_event",
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


@dataclass(frozen=True, slots=True)
class ContextCompacted:
    """Less of the conversation is sent from here on; all of it stays in the run's messages.

    Attributes:
        before: Tokens of the prompt as it would have been.
        after: Tokens of the prompt that is sent.
        cleared: Ids of the calls whose results are short stubs now.
        dropped: Messages that are left out now.
        reason: Why, for a person.
    """

    before: int
    after: int
    cleared: tuple[str, ...]
    dropped: int
    reason: str
    step: int = 0


ModelEvent: TypeAlias = (
    TextDelta | ReasoningDelta | ToolCallDelta | StepRestarted | ContextCompacted | ModelFinished
)


# --- from the loop -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins with these messages.

    Attributes:
        run_id: Names the run.
        model: What the model is called.
        messages: The conversation so far; a paused run goes on from a reply with calls.
        instructed: Whether the first message holds the agent's own instructions.
        tools: Their names.
        settings: Those that this run was given over the agent's.
        limits: Those that this run was given instead of the agent's, as JSON.
        resumed: This is the rest of a run whose earlier events another process has shown.
    """

    run_id: str
    model: str
    messages: tuple[Message, ...]
    tools: tuple[str, ...] = ()
    instructed: bool = False
    settings: ModelSettings | None = None
    limits: JsonObject | None = None
    step: int = 0
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class StepStarted:
    """The model is about to be called."""

    step: int


@dataclass(frozen=True, slots=True)
class ModelCalled:
    """One model call that ended well, second tries included: what was asked, and the whole reply.

    The request is told by what is new in it, so that a run's events grow with its conversation and
    not with its square.

    Attributes:
        same: How many leading messages are those of the run's previous request; of `RunStarted`
            for the first.
        messages: The ones after them.
        settings: As the agent asked; what the model adds of its own is not in it.
        tool_choice: As the agent asked.
        tools: The definitions; None when they are those of the previous request, or none so far.
        response: The reply.
        model: What the model is called, known for certain now.
        constrains: `Model.constrains`, known for certain now.
        seconds: Wall time of the call.
        first_token: Seconds until something of the reply was there; None when it came whole.
    """

    same: int
    messages: tuple[Message, ...]
    settings: ModelSettings
    tool_choice: ToolChoice
    tools: tuple[ToolDefinition, ...] | None
    response: ModelResponse
    model: str
    constrains: bool
    seconds: float
    first_token: float | None
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
class Spent:
    """What sub-agents spent for a call, out of the limits of the run that made it."""

    steps: int
    tool_calls: int
    usage: Usage


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A call has its result; results stand in the history in call order, whichever ends first.

    Attributes:
        call: As it ran.
        result: As the model reads it.
        returned: What the executor returned, where the run has added something to it: that the
            call repeats an earlier one, that a person changed its arguments.
        spent: What sub-agents spent for it.
    """

    call: ToolCall
    result: ToolResult
    step: int
    returned: ToolResult | None = None
    spent: Spent | None = None


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
class ApprovalDecided:
    """A person decided on a call, in this run or while it was paused.

    Attributes:
        id: Of the approval.
        decision: What was decided.
        reason: Of a `deny`.
        arguments: Of an `edit`.
    """

    id: str
    decision: Literal["approve", "deny", "edit"]
    step: int
    reason: str = ""
    arguments: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class PartialOutput:
    """What can be read of a typed answer while it is being written.

    Attributes:
        value: Plain JSON, not yet checked: objects lack what is still to come, the last text is
            cut. Each replaces the one before it.
    """

    value: JsonValue
    step: int


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """The prompt of one model call.

    Attributes:
        step: Of the call.
        foreseen: Tokens, as known before it was sent.
        exact: Whether that is a count, not an estimate on the safe side.
        counted: Tokens, as the server counted them; 0 where it did not say.
        cached: How many of them came out of its prefix cache.
    """

    step: int
    foreseen: int
    exact: bool
    counted: int
    cached: int


@dataclass(frozen=True, slots=True)
class ContextUse:
    """What fills a model's window, and what is left out of it.

    Attributes:
        window: Tokens of prompt and reply together; None where nobody knows.
        compact_at: Tokens of prompt from which on old results are cleared; None for never.
        parts: Tokens of the newest prompt by part: `instructions`, `tools`, `user`, `assistant`,
            `results`, and `format` for what only the template writes.
        shortened: Ids of the calls whose results are sent as previews.
        cleared: Ids of the calls whose results are sent as stubs.
        dropped: Messages that are not sent.
        compactions: How often it was compacted.
        prompts: Of each model call.
    """

    window: int | None = None
    compact_at: int | None = None
    parts: Mapping[str, int] = field(default_factory=dict)
    shortened: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
    dropped: int = 0
    compactions: int = 0
    prompts: tuple[PromptTokens, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens of the newest prompt."""
        return self.prompts[-1].foreseen if self.prompts else 0


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
        context: What filled the model's window, call by call.
    """

    output: OutputT
    stop_reason: StopReason
    messages: tuple[Message, ...]
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    run_id: str = ""
    explanation: str = ""
    paused: Any = None
    context: ContextUse = field(default_factory=ContextUse, compare=False)


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
    | ModelCalled
    | StepFinished
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | CallRepaired
    | ApprovalNeeded
    | ApprovalDecided
    | PartialOutput
    | ContextCompacted
    | RunFinished
)


# --- as JSON -----------------------------------------------------------------------------------


def dump_event(event: Event) -> bytes:
    """The event as one line of JSON, without its line break; `event` names its kind.

    The messages of `RunFinished` are left out: the events before it hold them. Values that JSON
    does not know, in an answer of the user's own type say, become their text.
    """
    body: JsonObject = {"event": type(event).__name__}
    if isinstance(event, RunFinished):
        result = event.result
        body |= {name: getattr(result, name) for name in _OF_A_RESULT}
    else:
        body |= {part.name: getattr(event, part.name) for part in fields(event)}
    return as_json(body)


def as_json(value: object) -> bytes:
    """Any part of an event as `dump_event` writes it."""
    try:
        return to_json(value, fallback=str, inf_nan_mode="constants")
    except PydanticSerializationError:
        # Half a surrogate pair, from the undecodable bytes of a file name or an argument.
        plain = to_jsonable_python(value, fallback=str)
        return json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace")


def load_event(line: bytes | str) -> Event:
    """The event that `dump_event` wrote; a `RunFinished` comes back without messages.

    Raises:
        ValueError: The line is not such an event.
    """
    body = json.loads(line)
    kind = body.pop("event", None) if isinstance(body, dict) else None
    if kind == RunFinished.__name__:
        return RunFinished(_adapter(RunResult[Any]).validate_python({**body, "messages": ()}))
    if kind not in _KINDS:
        raise ValueError(f"not an event of a run: {line[:80]!r}")
    event: Event = _adapter(_KINDS[kind]).validate_python(body)
    return event


_OF_A_RESULT = ("output", "stop_reason", "usage", "steps", "run_id", "explanation", "context")
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in get_args(Event)}


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Built at the first use: it costs more than importing this module."""
    return TypeAdapter(kind)
