"""Every kind of event: the pieces of one model call, what happens in a run, and what it comes to.

In: what the loop, the model and the tools do. Out: frozen dataclasses, which observers, journals
and run files share. An event never holds a connection, a function or anything else that JSON could
not say, but for `RunResult.output`, which may be of the user's own type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, cast

from pydantic import JsonValue
from typing_extensions import TypeVar

from agentkit.errors import NoAnswerError
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


Change: TypeAlias = tuple[int, Literal["shortened", "cleared", "dropped"], int]
"""A message's place in the history, from 0 and without the instructions; what was done to it, and
its size: characters of a preview, tokens that a stub names."""


@dataclass(frozen=True, slots=True)
class PromptSent:
    """What was sent of a conversation: a resumed run goes on from it.

    Attributes:
        tokens: Of the prompt; a count if `exact`.
        own: Our sum of them, which the server's is held against.
        stays: What of it no compaction takes away.
        ceiling: The most that a server took, where it has refused more.
        changes: Since the request before.
    """

    tokens: int
    exact: bool
    own: int
    stays: int
    ceiling: int | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptFitted:
    """What decided how much of a conversation is sent. In tokens; None where nobody knows.

    Attributes:
        tokens: The prompt before anything old was left out of it.
        longest: The longest result that is new in it, as it is sent.
        shortened: Whether a new result is sent as a preview.
        compact_at: Beyond which old results are cleared.
        result_tokens: Most of one result.
        profile_at: Where the model's profile would set `compact_at`.
        most: The largest prompt that leaves room for a reply.
        fair: What one new result may have by what was left, where the user did not decide.
        window: What prompt and reply may take together.
        source: Where `compact_at` comes from.
        sent: None where an older version wrote this.
    """

    tokens: int
    longest: int
    shortened: bool
    compact_at: int | None
    result_tokens: int
    profile_at: int | None
    most: int | None
    step: int = 0
    fair: int = 0
    window: int | None = None
    source: str = ""
    sent: PromptSent | None = None


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
        run_id: Names the run.
        model: What the model is called.
        messages: The conversation so far; a paused run goes on from a reply with calls.
        instructed: Whether the first message holds the agent's own instructions.
        tools: Their names.
        settings: Those that this run was given over the agent's.
        limits: Those that this run was given instead of the agent's, as JSON.
        resumed: This is the rest of a run whose earlier events another process has shown.
        versions: The versions of agentkit and of what it runs on; empty where an older one wrote
            this.
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

    The request is told by what is new in it, so that a run's events grow with its conversation and
    not with its square.

    Attributes:
        same: How many leading messages are those of the run's previous request; of `RunStarted`
            for the first.
        messages: The ones after them.
        settings: What the agent asked for; what the model adds of its own is not in it.
        tool_choice: What the agent asked for.
        tools: The definitions; None when they are those of the previous request, or none so far.
        response: The reply.
        model: What the model is called, known for certain now.
        constrains: `Model.constrains`, known for certain now.
        seconds: Wall time of the call.
        first_token: Seconds until something of the reply was there; None when it came whole.
        fitted: What decided how much of the request was sent; None where that was not known.
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

    It is told by what is new in it: of a run's first request, everything.

    Attributes:
        same: How many leading messages are those of the run's previous request.
        messages: The ones after them, as the server reads them.
        fields: The other members of the body that are new or other ones.
        gone: Names of members that are not in it any more.
    """

    same: int
    messages: tuple[JsonValue, ...]
    fields: JsonObject
    gone: tuple[str, ...] = ()
    step: int = 0


@dataclass(frozen=True, slots=True)
class ReplyReceived:
    """A reply as it came from the server, as far as it came, before anything was read out of it.

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
        why: It ended.
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
        reason: Why the first could not be used.
        text: Its answer text, which nobody was given as an answer and nothing ran from.
        usage: What it cost, in tokens.
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
    """Something a running tool wants shown."""

    call_id: str
    text: str
    step: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What sub-agents spent for a call, out of the limits of the run that made it.

    Attributes:
        runs: The ids of their runs, whose own records tell what they did.
    """

    steps: int
    tool_calls: int
    usage: Usage
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SubRunEvent:
    """Something that happened in a run which serves a call of this one.

    It is for whoever watches, and stands in no record of this run: the other run has its own, and
    `ToolFinished.spent` names it.

    Attributes:
        call_id: The call of this run.
        run_id: The run that serves it.
        inner: The `Event`; a `SubRunEvent` itself where that run has a run serve it.
    """

    call_id: str
    run_id: str
    inner: Any
    step: int


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A call has its result; results stand in the history in call order, whichever ends first.

    Attributes:
        call: The call as it ran.
        result: The result as the model reads it.
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
        call: The call as it will run.
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
    """A call waits for a person; the run goes on when it is decided, or pauses.

    Attributes:
        call: The call as the model asked for it.
        id: The question's id; a decision names it.
        target: What the call would really touch.
        why: What the person should know beside the call.
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
        step: The step of the call.
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
        source: Where `compact_at` comes from.
        parts: Tokens of the newest prompt by part: `instructions`, `tools`, `user`, `assistant`,
            `results`, and `format` for what only the template writes.
        shortened: Ids of the calls whose results are sent as previews.
        cleared: Ids of the calls whose results are sent as stubs.
        dropped: Messages that are not sent.
        compactions: How often it was compacted.
        prompts: The prompt of each model call.
    """

    window: int | None = None
    compact_at: int | None = None
    parts: Mapping[str, int] = field(default_factory=dict)
    shortened: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
    dropped: int = 0
    compactions: int = 0
    prompts: tuple[PromptTokens, ...] = ()
    source: str = ""

    @property
    def tokens(self) -> int:
        """Tokens of the newest prompt."""
        return self.prompts[-1].foreseen if self.prompts else 0


@dataclass(frozen=True, slots=True)
class RunResult(Generic[OutputT]):
    """What a run came to.

    Attributes:
        said: The answer; where there is none, what there is of a text, which may be empty.
        stop_reason: Why it ended.
        messages: The whole conversation, ready to be continued.
        usage: Tokens of all steps together.
        steps: Steps made, those of sub-agents included.
        run_id: Names the run file.
        explanation: One sentence for a person when the stop needs one.
        pause: See `paused`.
        context: What filled the model's window, call by call.
        typed: The agent has an `output_type`, so that a text is no output of it.
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

        Of an agent that answers in text it is what there is of a text when `stop_reason` is not
        `answer`.

        Raises:
            NoAnswerError: The agent has an `output_type`, and there is no answer; it names the stop
                reason. `stop_reason` and `said` tell of a run without raising.
        """
        if self.typed and self.stop_reason != "answer":
            raise NoAnswerError(self.stop_reason, self.explanation)
        return cast("OutputT", self.said)

    @property
    def paused(self) -> PausedRun | None:
        """What `Agent.resume` goes on from, when `stop_reason` is `paused`."""
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
