"""Every kind of event: the pieces of one model call, what happens in a run, and its result.

Events are frozen dataclasses, which observers, journals and run files share. An event never holds a
connection, a function or anything else that JSON cannot express, except for `RunResult.output`,
which may be of the user's own type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, cast

from pydantic import JsonValue
from typing_extensions import TypeVar

from agentkit.errors import NoAnswerError, explains_attributes
from agentkit.events.context import ContextCompacted, ContextUse, PromptFitted
from agentkit.messages import (
    FinishReason,
    JsonObject,
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

# --- one model call, piece by piece --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer."""

    text: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the reasoning; it is never part of the answer."""

    text: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a call, for display only: nothing may run from it.

    Attributes:
        index: The call's place in the reply, from 0.
        name: The tool's name, at least with the first piece of the call; else it may be empty.
        arguments: A piece of the arguments' text.
    """

    index: int
    name: str
    arguments: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class StepRestarted:
    """The model is asked again: what was shown of this step is void."""

    reason: str
    attempt: int
    step: int = 0


@dataclass(frozen=True, slots=True)
class ModelFinished:
    """The last event of a model call that ended well."""

    response: ModelResponse
    step: int = 0


ModelEvent: TypeAlias = (
    TextDelta
    | ReasoningDelta
    | ToolCallDelta
    | StepRestarted
    | ContextCompacted
    | PromptFitted
    | ModelFinished
)


# --- the run -------------------------------------------------------------------------------------


if TYPE_CHECKING:
    from agentkit.policy import PausedRun

OutputT = TypeVar("OutputT", default=str)
FinishedT = TypeVar("FinishedT", default=Any)


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins with these messages.

    Attributes:
        run_id: The run's name.
        model: The model's name.
        messages: The conversation so far; a paused run goes on from a reply with calls.
        instructed: Whether the first message holds the agent's own instructions.
        tools: The names of the tools.
        settings: The settings that this run was given over the agent's.
        limits: The limits that this run was given instead of the agent's, as JSON.
        resumed: Whether this is the rest of a run whose earlier events another process has shown.
        versions: The versions of agentkit and of what it runs on; empty in a record of an older
            version.
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
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepStarted:
    """The model is about to be called."""

    step: int


@dataclass(frozen=True, slots=True)
class ModelCalled:
    """One model call that ended well, second tries included: what was asked, and the whole reply.

    Only what is new in the request is in the event, so that a run's events grow with its
    conversation and not with its square.

    Attributes:
        same: How many leading messages are those of the run's previous request, or of `RunStarted`
            for the first request.
        messages: The messages after them.
        settings: What the agent asked for, without what the model adds.
        tool_choice: What the agent asked for.
        tools: The definitions; None if they are those of the previous request, or none so far.
        response: The reply.
        model: The model's name, known for certain now.
        constrains: `Model.constrains`, known for certain now.
        seconds: Wall time of the call.
        first_token: Seconds until the first piece of the reply; None if it came whole.
        fitted: What decided how much of the request was sent; None if that was not known.
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
    fitted: PromptFitted | None = None


@dataclass(frozen=True, slots=True)
class RequestSent:
    """A request as it goes to the server, second and further attempts included.

    Only what is new in it is in the event; for a run's first request, that is everything.

    Attributes:
        same: How many leading messages are those of the run's previous request.
        messages: The messages after them, as the server reads them.
        fields: The other members of the body that are new or have changed.
        gone: Names of members that are no longer in it.
    """

    same: int
    messages: tuple[JsonValue, ...]
    fields: JsonObject
    gone: tuple[str, ...] = ()
    step: int = 0


@dataclass(frozen=True, slots=True)
class ReplyReceived:
    """A reply as it came from the server, as far as it came, before anything of it was parsed.

    Attributes:
        reply: `text`, `reasoning`, `calls` (name and argument text of each) and `finish`.
    """

    reply: JsonObject
    step: int = 0


@dataclass(frozen=True, slots=True)
class ReplyInterrupted:
    """A reply that did not come to its end, as far as it was shown. Nothing runs from it.

    Attributes:
        text: The answer's text so far.
        reasoning: The reasoning so far.
        calls: Name and argument text of each call.
        why: Why it ended.
        seconds: Wall time until then.
    """

    text: str
    reasoning: str
    calls: tuple[tuple[str, str], ...]
    why: str
    seconds: float
    step: int


@dataclass(frozen=True, slots=True)
class AskedAgain:
    """A reply could not be used, and the second one is there; both count in the run's usage.

    Attributes:
        reason: Why the first reply could not be used.
        text: The first reply's text. It was nobody's answer, and nothing ran from it.
        usage: What the first reply cost, in tokens.
        became: What the second reply is; `nothing` ends the run.
    """

    reason: str
    text: str
    usage: Usage
    became: Literal["call", "answer", "nothing"]
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
    """A text that a running tool wants to be shown."""

    call_id: str
    text: str
    step: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What sub-agents spent for a call, out of the limits of the run that made it.

    Attributes:
        runs: The ids of their runs, which have records of their own.
    """

    steps: int
    tool_calls: int
    usage: Usage
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SubRunEvent:
    """An event of another run, such as a sub-agent's, which serves a call of this run.

    It is only shown to observers and streams, and is in no record of this run: the other run has
    its own record, and `ToolFinished.spent` names it.

    Attributes:
        call_id: The call of this run.
        run_id: The run that serves it.
        inner: The `Event` of that run; it is a `SubRunEvent` too if a further run serves that one.
    """

    call_id: str
    run_id: str
    inner: Any
    step: int


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A call has its result. The history holds results in call order, whichever came first.

    Attributes:
        call: The call as it ran.
        result: The result as the model reads it.
        returned: What the executor returned, if the run has added a note to it: that the call
            repeats an earlier one, or that a person changed its arguments.
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
        call: The call as it will run.
        rung: `name` if the tool's name was repaired, `constrained` if the call was asked for again
            under the grammar of that one tool.
        was: What the model wrote.
    """

    call: ToolCall
    rung: Literal["name", "constrained"]
    was: str
    step: int


@dataclass(frozen=True, slots=True)
class ApprovalNeeded:
    """A call waits for a person; the run goes on when it is decided, or pauses.

    Attributes:
        call: The call as the model asked for it.
        id: The question's id; a decision names it.
        target: What the call would really touch.
        why: What else the person should know.
    """

    call: ToolCall
    id: str
    target: str
    step: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalDecided:
    """A person decided on a call, in this run or while it was paused.

    Attributes:
        id: The question's id.
        decision: What was decided.
        reason: Why, with a `deny`.
        arguments: What the call is given instead, with an `edit`.
        grant: The rule that came with an `approve`: which further calls need no question.
    """

    id: str
    decision: Literal["approve", "deny", "edit"]
    step: int
    reason: str = ""
    arguments: JsonObject | None = None
    grant: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class PartialOutput:
    """A typed answer while it is being written, as far as it can be read.

    Attributes:
        value: Plain JSON, not yet checked: objects lack what is still to come, and the last text is
            cut. Each event replaces the one before it.
    """

    value: JsonValue
    step: int


@explains_attributes(
    "RunResult",
    {
        **dict.fromkeys(
            ("final_output", "data", "text", "content", "response", "answer", "value"),
            "write result.output",
        ),
        **dict.fromkeys(
            ("all_messages", "new_messages", "to_input_list", "history", "tool_calls"),
            "write result.messages",
        ),
        **dict.fromkeys(("error", "finish_reason"), "write result.stop_reason and .explanation"),
    },
)
@dataclass(frozen=True, slots=True)
class RunResult(Generic[OutputT]):
    """The result of a run.

    Attributes:
        said: The answer; if there is none, the text that the model had written, which may be empty.
        stop_reason: Why the run ended.
        messages: The whole conversation, ready to be continued.
        usage: Tokens of all steps together.
        steps: Steps made, those of sub-agents included.
        run_id: The run's name, and its file's.
        explanation: One sentence for a person, if the stop reason needs one.
        pause: See `paused`.
        context: What filled the model's window, call by call.
        typed: Whether the agent has an `output_type`, so that a text is not its output.
    """

    said: OutputT | str
    stop_reason: StopReason
    messages: tuple[Message, ...]
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    run_id: str = ""
    explanation: str = ""
    pause: Any = None
    context: ContextUse = field(default_factory=ContextUse, compare=False)
    typed: bool = False

    @property
    def output(self) -> OutputT:
        """The answer, of the agent's `output_type`.

        If an agent that answers in text did not come to an answer, this is the text that it had
        written.

        Raises:
            NoAnswerError: The agent has an `output_type`, and there is no answer; the message names
                the stop reason. `stop_reason` and `said` never raise.
        """
        if self.typed and self.stop_reason != "answer":
            raise NoAnswerError(self.stop_reason, self.explanation)
        return cast("OutputT", self.said)

    @property
    def paused(self) -> PausedRun | None:
        """What `Agent.resume` goes on from; None unless `stop_reason` is `paused`."""
        return cast("PausedRun | None", self.pause)


@dataclass(frozen=True, slots=True)
class RunFinished(Generic[FinishedT]):
    """The last event of a run, however it ended."""

    result: RunResult[FinishedT]
    step: int = 0


RunEvent: TypeAlias = (
    TextDelta
    | ReasoningDelta
    | ToolCallDelta
    | StepRestarted
    | RunStarted
    | StepStarted
    | AskedAgain
    | ModelCalled
    | RequestSent
    | ReplyReceived
    | ReplyInterrupted
    | StepFinished
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | CallRepaired
    | ApprovalNeeded
    | ApprovalDecided
    | PartialOutput
    | ContextCompacted
    | SubRunEvent
)
"""Every event of a run but its last, `RunFinished`."""

Event: TypeAlias = RunEvent | RunFinished
