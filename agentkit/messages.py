"""The plain data of a conversation: messages, calls, results, and what a model is asked.

A conversation comes from the loop, which keeps it valid, or from outside: `history_problems` says
what is wrong with one, and `mended_history` mends it.

Nothing here does I/O, knows a wire format or spells a control token. Every type is a frozen
dataclass, so a conversation can be shared between threads and runs without copying, and pydantic
turns it into JSON and back (`dump_messages`, `load_messages`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias, cast

from pydantic import JsonValue, TypeAdapter
from pydantic_core import PydanticSerializationError

from agentkit.errors import check_kinds, explains_init

JsonObject: TypeAlias = dict[str, Any]
"""A decoded JSON object. `Any`, not `JsonValue`: this is the JSON edge."""


# --- content -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TextPart:
    """A run of text."""

    text: str
    type: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image, as a `data:` or `https:` URL."""

    url: str
    type: Literal["image"] = "image"


@dataclass(frozen=True, slots=True)
class AudioPart:
    """Recorded sound: base64 bytes and their format (`wav`, `mp3`)."""

    data: str
    format: str = "wav"
    type: Literal["audio"] = "audio"


@dataclass(frozen=True, slots=True)
class VideoPart:
    """A video, as a `data:` or `https:` URL."""

    url: str
    type: Literal["video"] = "video"


Part: TypeAlias = TextPart | ImagePart | AudioPart | VideoPart
Content: TypeAlias = str | tuple[Part, ...]


def text_of(content: Content | None) -> str:
    """The text of a content, its other parts left out."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content if isinstance(part, TextPart))


# --- calls and results ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What the model asks for, before anything about it was checked.

    Attributes:
        id: Unique within a run; the result carries the same one.
        name: The tool's name as the model wrote it.
        arguments: Always a JSON object, so that history stays valid whatever the model wrote.
        malformed: The text that could not be read as a JSON object; `arguments` is then empty
            and the call must not run.
    """

    id: str
    name: str
    arguments: JsonObject = field(default_factory=dict)
    malformed: str | None = None


ResultKind: TypeAlias = Literal[
    "ok",
    "error",  # the tool raised
    "timeout",  # the tool's own clock ran out
    "invalid_arguments",  # the call does not fit the tool's schema
    "unknown_tool",
    "truncated",  # the reply was cut, so the call was not run
    "denied",  # policy or a person said no
    "cancelled",  # the run ended first
    "unknown",  # a crash hid the outcome
]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The outcome of one call, as the model will read it.

    Attributes:
        call_id: The `ToolCall.id` it answers.
        content: Text, or parts when the tool returned an image or sound.
        is_error: True for every kind but `ok`.
        kind: Why it ended as it did.
        seconds: Wall time of the execution.
        attempts: How often the tool was started.
        for_user: What a person is shown instead of `content`.
        data: What the tool gives to programs, as JSON. Never sent to the model.
        retry: The same call may succeed if tried again; a tool's `retries` go by it.
        traceback: The traceback of what a tool raised, for the record and the log. Never sent to
            the model.
    """

    call_id: str
    content: Content
    is_error: bool = False
    kind: ResultKind = "ok"
    seconds: float = 0.0
    attempts: int = 1
    for_user: str | None = None
    data: JsonValue = None
    retry: bool = False
    traceback: str = ""


# --- messages ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SystemMessage:
    """The instructions; at most one, and first."""

    content: str
    role: Literal["system"] = "system"


@dataclass(frozen=True, slots=True)
class UserMessage:
    """What a person said."""

    content: Content
    role: Literal["user"] = "user"


@dataclass(frozen=True, slots=True)
class AssistantMessage:
    """What the model said: text, or calls, and perhaps its reasoning.

    `content` is None beside calls. Gemma's template would print text after the tools' answers
    and close the turn there (vllm-project/vllm#39885), so preamble text belongs in `reasoning`.
    """

    content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = None
    role: Literal["assistant"] = "assistant"


@dataclass(frozen=True, slots=True)
class ToolMessage:
    """A tool's answer in the conversation: one per call, in call order."""

    call_id: str
    name: str
    content: Content
    is_error: bool = False
    role: Literal["tool"] = "tool"


Message: TypeAlias = SystemMessage | UserMessage | AssistantMessage | ToolMessage


def next_call_number(messages: Sequence[Message]) -> int:
    """The number of a conversation's next call, whose id is `call_NUMBER`.

    Beyond every number that is there, so that ids stay unique in a history whose beginning was
    left out.
    """
    spoken = (message for message in messages if isinstance(message, AssistantMessage))
    ids = "\n".join([call.id for message in spoken for call in message.tool_calls])
    return max(map(int, _NUMBERED.findall(ids)), default=-1) + 1


_NUMBERED = re.compile(r"^call_([0-9]{1,18})$", re.MULTILINE)
"""An id of ours. One of more digits was made by somebody else: counting never gets there, and
Python does not read a number of thousands of digits."""


def common_length(before: Sequence[object], now: Sequence[object]) -> int:
    """How many messages two conversations have in common at their beginning."""
    known = len(before)
    if before == now[:known]:  # nearly always, and fast
        return known
    same = 0
    for old, new in zip(before, now, strict=False):
        if old != new:
            break
        same += 1
    return same


_MESSAGES: TypeAdapter[list[Message]] = TypeAdapter(
    list[Message], config={"defer_build": True, "ser_json_inf_nan": "constants"}
)


def dump_messages(messages: Sequence[Message]) -> bytes:
    """A conversation as JSON text (UTF-8), with `?` for halves of surrogate pairs."""
    try:
        return _MESSAGES.dump_json(list(messages))
    except PydanticSerializationError:  # a half, from the undecodable bytes of a file's name
        plain = _MESSAGES.dump_python(list(messages), mode="json")
        return json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace")


def load_messages(text: bytes | str) -> list[Message]:
    """The conversation that `dump_messages` wrote.

    Raises:
        pydantic.ValidationError: The text is not such a conversation.
    """
    return _MESSAGES.validate_json(text)


# --- a valid conversation ------------------------------------------------------------------------
# Nobody can go on with a conversation that has a call without its result, or a result without its
# call: each later request is answered with 400, or its prompt ends in an open turn. The loop never
# makes such a conversation; a history that comes from outside may be one.

_LOST = "Error: the result of this call is lost; the earlier run ended before it."
STOPPED: Final = "(I was stopped here.)"
"""The model's message between results and the user's next one. Without it the template of April
2026 leaves the model's turn open."""


def history_problems(messages: Sequence[Message]) -> list[str]:
    """What is wrong with a history, in words; empty for a valid one.

    In a valid history a system message stands only at the head, the ids of calls are unique, a
    model's message holds text or calls but not both, each call has exactly one result, the results
    stand right behind the calls and in their order, and the model speaks between results and the
    user.
    """
    problems: list[str] = []
    seen: set[str] = set()
    waiting: list[str] = []
    before: Message | None = None
    for position, message in enumerate(messages):
        found = list(_own_problems(message, before))
        if isinstance(message, ToolMessage):
            if not waiting or waiting.pop(0) != message.call_id:
                found.append(f"a result of {message.call_id!r} that is not due here")
        else:
            found.extend(f"call {call_id!r} has no result before it" for call_id in waiting)
            waiting = [call.id for call in _calls(message)]
            found.extend(f"a second call {call_id!r}" for call_id in _twice(waiting, seen))
        problems.extend(f"message {position}: {problem}" for problem in found)
        before = message
    return [*problems, *(f"the end: call {call_id!r} has no result" for call_id in waiting)]


def _own_problems(message: Message, before: Message | None) -> Iterator[str]:
    if isinstance(message, SystemMessage) and before is not None:
        yield "a system message after the first place"
    if isinstance(message, UserMessage) and isinstance(before, ToolMessage):
        yield "the user speaks right after results"
    if isinstance(message, AssistantMessage) and bool(message.tool_calls) == (
        message.content is not None
    ):
        yield "text beside calls, or neither"


def _calls(message: Message) -> Sequence[ToolCall]:
    return message.tool_calls if isinstance(message, AssistantMessage) else ()


def _twice(call_ids: Sequence[str], seen: set[str]) -> Iterator[str]:
    """The ids that are in `seen`; adds all of them to it."""
    for call_id in call_ids:
        if call_id in seen:
            yield call_id
        seen.add(call_id)


def mended_history(messages: Sequence[Message]) -> list[Message]:
    """The history with every call answered, in order, and no result that answers nothing.

    A valid history comes back as it was. Missing results are said to be lost, never made up.
    """
    if not history_problems(messages):
        return list(messages)
    return list(_mended(messages))


def _mended(messages: Sequence[Message]) -> Iterator[Message]:
    used: set[str] = set()
    answered = False  # the last message given out was a result
    for position, message in enumerate(messages):
        if isinstance(message, ToolMessage) or (isinstance(message, SystemMessage) and position):
            continue
        if calls := [call for call in _calls(message) if not list(_twice([call.id], used))]:
            assert isinstance(message, AssistantMessage)
            yield AssistantMessage(None, tuple(calls), message.reasoning)
            results = _results_behind(position, messages)
            for call in calls:
                lost = ToolMessage(call.id, call.name, _LOST, is_error=True)
                yield results.get(call.id, lost)
            answered = True
        elif not isinstance(message, AssistantMessage) or message.content is not None:
            if answered and isinstance(message, UserMessage):
                yield AssistantMessage(STOPPED)
            if isinstance(message, AssistantMessage):
                message = replace(message, tool_calls=())
            yield message
            answered = False


def _results_behind(position: int, messages: Sequence[Message]) -> dict[str, ToolMessage]:
    """The results between this message and the next one of another kind; the first of each call."""
    found: dict[str, ToolMessage] = {}
    for place in range(position + 1, len(messages)):
        message = messages[place]
        if not isinstance(message, ToolMessage):
            break
        found.setdefault(message.call_id, message)
    return found


# --- tools and requests --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool as it is described to a model; `toolset` makes it and `wire` sends it.

    Attributes:
        name: What the model calls.
        description: What the model reads.
        parameters: The full JSON Schema (draft 2020-12) of the arguments object. Nothing is
            lowered or escaped here; `agentkit.schema` does that.
    """

    name: str
    description: str
    parameters: JsonObject

    @property
    def declaration(self) -> JsonObject:
        """The same as a JSON object, as a chat template takes it."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Which calls a reply may or must hold; enforced by a grammar where the server takes one.

    Attributes:
        mode: `auto` leaves the choice to the model, `none` forbids calls, `required` forces at
            least one.
        name: The only tool that may be called with `required`.
        max_calls: The most calls that a reply may hold, with `required` or `auto`.
        among: The tools that may be called with `required`; empty for all of them. If neither this
            nor a name is given, an agent leaves out its own tools, such as the plan.
    """

    mode: Literal["auto", "none", "required"] = "auto"
    name: str | None = None
    max_calls: int | None = None
    among: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses values that would silently leave a reply free."""
        if self.mode not in ("auto", "none", "required"):
            raise ValueError(f"mode is {self.mode!r}; give 'auto', 'none' or 'required'")
        check_kinds(
            {"name": self.name, "max_calls": self.max_calls},
            {"name": ((str,), "give a tool's name"), "max_calls": ((int,), "give 1 or more")},
        )
        if self.max_calls is not None and self.max_calls < 1:
            raise ValueError(f"max_calls is {self.max_calls}; give 1 or more, or mode='none'")
        if not isinstance(cast("object", self.among), tuple):
            raise TypeError(f"among is {self.among!r}; give a tuple of names")
        if self.name is not None and not self.allows(self.name):
            raise ValueError(f"name is {self.name!r}, which is not in among={self.among!r}")

    def allows(self, tool: str) -> bool:
        """Whether a call of this tool meets the choice."""
        return self.name in (None, tool) and (not self.among or tool in self.among)


_NUMBER = ((int, float), "give a number")
_WHOLE = ((int,), "give a whole number")
_SWITCH = ((bool,), "give True or False")
_SETTING_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("temperature", "top_p"), _NUMBER),
    **dict.fromkeys(("top_k", "seed", "max_tokens", "thinking_tokens"), _WHOLE),
    **dict.fromkeys(("thinking", "recovery", "grammar"), _SWITCH),
    "stop": ((tuple, list), "give a tuple of texts: stop=(…,)"),
    "tool_choice": ((ToolChoice,), 'give ToolChoice("required"), for instance'),
    "extra_body": ((Mapping,), "give fields by name: extra_body={…}"),
}


@explains_init(
    "ModelSettings",
    {
        **dict.fromkeys(("max_new_tokens", "max_completion_tokens"), "write max_tokens="),
        **dict.fromkeys(("stop_sequences", "stop_words"), "write stop=(…,)"),
        **dict.fromkeys(
            ("reasoning", "enable_thinking", "reasoning_effort"), "write thinking=True"
        ),
        **dict.fromkeys(("extra_args", "model_kwargs"), "write extra_body={…}"),
        **dict.fromkeys(
            ("frequency_penalty", "presence_penalty", "min_p", "repetition_penalty"),
            "write extra_body={…}, which is sent as it is",
        ),
        "timeout": "give the model its times: VLLMModel(timeouts=Timeouts(…))",
        "parallel_tool_calls": "write tool_choice=ToolChoice(max_calls=1)",
    },
)
@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What to ask of the model. A value that is None is not sent; the server's default holds.

    vLLM takes its defaults from the checkpoint's `generation_config.json`. For Gemma 4 that file
    holds the sampling that Google recommends, so sending nothing is the best default.

    Attributes:
        temperature: 0 is greedy.
        top_p: Nucleus sampling.
        top_k: Sample from the k likeliest tokens.
        seed: The same seed on the same server gives the same reply.
        max_tokens: Most tokens of one reply, reasoning included. Always sent.
        stop: Texts that end a reply.
        thinking: Whether the model may think first; None leaves it to the model's profile.
        thinking_tokens: Most tokens of reasoning, counted as four characters each. A reply that
            reasons for longer is given up in mid-stream and asked for without reasoning. (A
            server's own budget would write its closing token into a call if the model began no
            reasoning.)
        tool_choice: Which calls the first reply of a run may or must hold. Later replies are free:
            a model that must always call can never answer.
        recovery: Whether a reply that is nothing but a call in a wrong form is asked for again;
            if not, the text of such a reply is the answer. None for yes.
        grammar: Whether a server that can holds calls to their tools' schemas while they are
            written. None for yes.
        extra_body: Further fields of the request, sent as they are; an object such as
            `chat_template_kwargs` is merged with agentkit's own.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    thinking: bool | None = None
    thinking_tokens: int | None = None
    tool_choice: ToolChoice | None = None
    recovery: bool | None = None
    grammar: bool | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses what no server takes, before a run has begun.

        Raises:
            TypeError: A value is of another kind.
            ValueError: A number is out of its range.
        """
        check_kinds({name: getattr(self, name) for name in _SETTING_KINDS}, _SETTING_KINDS)
        for name, least in (("temperature", 0), ("max_tokens", 1), ("thinking_tokens", 0)):
            given = getattr(self, name)
            if given is not None and not least <= given < math.inf:
                raise ValueError(f"{name} is {given}; give {least} or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; give a share above 0, up to 1")

    def over(self, base: ModelSettings) -> ModelSettings:
        """These settings, with the values of `base` where they are None."""
        if base == _NOTHING_SET:
            return self
        given = {
            name: value
            for name in self.__dataclass_fields__
            if name != "extra_body" and (value := getattr(self, name)) is not None
        }
        return replace(base, **given, extra_body={**base.extra_body, **self.extra_body})


_NOTHING_SET: Final = ModelSettings()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """Everything that one model call depends on."""

    messages: Sequence[Message]
    tools: Sequence[ToolDefinition] = ()
    settings: ModelSettings = field(default_factory=ModelSettings)
    tool_choice: ToolChoice = field(default_factory=ToolChoice)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the server counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


FinishReason: TypeAlias = Literal[
    "stop", "tool_calls", "length", "repetition", "content_filter", "malformed_call"
]
"""Why a model call ended. `length` means that the reply was cut, whatever the server called it, and
`malformed_call` that a call was begun where none can be, so that nobody knows what was meant."""

StopReason: TypeAlias = Literal[
    "answer",
    "steps",  # these five are limits
    "tool_calls",
    "tokens",
    "seconds",
    "cost",
    "truncated",  # the reply was cut, twice
    "empty",  # the model said nothing, twice
    "loop",  # the model went in circles
    "malformed_call",  # the model wrote a call in a wrong form, twice, and nothing else
    "content_filter",  # the server withheld the reply, twice
    "no_call",  # a call was required and none came, twice
    "invalid_output",  # the answer never fitted `output_type`
    "paused",  # calls wait for a person
    "cancelled",
    "error",  # the model could not be had
]
"""Why a run ended."""


Control: TypeAlias = Literal["grammar", "tool_choice", "json_schema", "free"]
"""What a server can hold a model's calls to, from most to least; see `agentkit.models.calls`."""


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """One finished model call.

    Attributes:
        message: What the model said.
        finish_reason: Why it ended.
        usage: What it cost.
        control: What the server can hold calls to; None if no tools were offered or nobody knows.
    """

    message: AssistantMessage
    finish_reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    control: Control | None = None
