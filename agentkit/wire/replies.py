"""What comes back: the JSON of a reply, whole or in chunks, as events and a `ModelResponse`.

Servers deviate from the protocol in ways that leave no doubt of what is meant: arguments as an
object, content as a list of parts, token counts as texts, a call's name in each of its chunks, one
index for all calls. All that is read. What could mean two things is refused, in the server's words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic_core import to_json

from agentkit.errors import ModelProtocolError, ModelResponseTooLargeError, ModelUnreadableError
from agentkit.events import ModelEvent, ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.exact import InexactError, read_exact, unfenced
from agentkit.gemma4.tokens import CALL_OPEN, CHANNEL_OPEN, STOP_IDS, THOUGHT
from agentkit.messages import (
    AssistantMessage,
    FinishReason,
    JsonObject,
    ModelResponse,
    ToolCall,
    Usage,
)
from agentkit.stream import DONE, MAX_RESPONSE_BYTES, Pieces, read_json
from agentkit.wire.server import ANY_SERVER, Refusals, error_in


@dataclass(slots=True)
class Reply:
    """What a server's reply holds, before anything is concluded from it.

    Attributes:
        text: The answer text.
        reasoning: The text of the model's thinking.
        calls: Each call, by its place in the reply.
        finish: The server's `finish_reason`; None while the reply has not ended.
        usage: The server's token counts.
        token_ids: What the model produced, where the server returns it; see `has_all_ids`.
        prompt_token_ids: What the model was sent, where the server returns it.
    """

    text: Pieces = field(default_factory=Pieces)
    reasoning: Pieces = field(default_factory=Pieces)
    calls: list[CallPieces] = field(default_factory=list)
    finish: str | None = None
    usage: Usage | None = None
    token_ids: list[int] = field(default_factory=list)
    prompt_token_ids: list[int] = field(default_factory=list)

    @property
    def has_all_ids(self) -> bool:
        """Whether the token ids are as many as the server counts, where it counts any. Some are
        lost on the way where a proxy drops chunks that hold nothing else, as LiteLLM does; the rest
        tells nothing then.
        """
        counted = self.usage.output_tokens if self.usage is not None else 0
        return counted in (0, len(self.token_ids))


@dataclass(slots=True)
class CallPieces:
    """A call as far as it has come.

    Attributes:
        index: Where the server says that it stands; None where it does not say.
        id: The server's name for it; empty where it gives none.
        name: The tool's.
        arguments: Its JSON text.
        doubtful: Its name may be a piece of one.
    """

    index: int | None
    id: str = ""
    name: str = ""
    arguments: Pieces = field(default_factory=Pieces)
    doubtful: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are a JSON object to the end, so that nothing can follow them.

        Very long ones are not looked at: it would have to be done at each further chunk.
        """
        if self.arguments.size > _LONGEST_LOOKED_AT:
            return False
        text = str(self.arguments)
        if not text.rstrip().endswith("}"):
            return False
        try:
            return isinstance(read_exact(text), dict)
        except InexactError:
            return False


class ReplyDecoder:
    """Collects a reply from its chunks; a reply that came whole is one chunk.

    Nothing may run from what has been collected until `finish` has returned: a reply without a
    finish reason, or one that was cut, looks whole up to its last byte.

    Args:
        max_tokens: Most tokens that were asked for.
        max_bytes: Most bytes of what it says, reasoning and calls included, each token id taken as
            eight.
        refusals: Makes the errors for what the server says in the place of a reply, or inside one.

    Attributes:
        reply: What has come of it.
        endless: Whether a call has a name without end: nothing useful follows.
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        max_bytes: int = MAX_RESPONSE_BYTES,
        refusals: Refusals = ANY_SERVER,
    ) -> None:
        self.reply = Reply()
        self._refusals = refusals
        self._most = self._left = max_bytes
        self._max_tokens = max_tokens
        self._shown = 0  # characters of the text that were given out
        self._withheld = ""  # what follows them, as long as it could begin a call
        self._leaking = False  # a call or reasoning was seen in the text: no more of it is shown
        self._by_id: dict[str, int] = {}  # id of a call -> its place
        self._by_index: dict[int | None, int] = {}  # index -> the newest call there; None: of all
        self._choice: int | None = None  # the one choice that is read; none so far
        self._other = b""  # the first payload that held no choice, for the error message
        self._done = False  # the server said that nothing follows
        self._closed = False  # it said so behind the reply's end: nothing more belongs to it
        self.endless = False

    def feed(self, payload: bytes) -> list[ModelEvent]:
        """Takes one JSON payload, or the mark of a stream's end; returns what can be shown of it.

        Raises:
            ModelUnreadableError: It is not JSON, or not a chat completion.
            AgentKitError: It is the server's refusal in the place of a reply.
            ModelResponseTooLargeError: The reply says more than `max_bytes`.
        """
        if payload == DONE:
            self._done, self._closed = True, self.reply.finish is not None
        if payload == DONE or self._closed:
            return []
        events: list[ModelEvent] = []
        try:
            for chunk in _values(payload):
                self._chunk(_unwrapped(chunk), payload, events)
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
            if self.reply.finish is None:  # behind an end it is some other mark of one
                raise self._refusals.unreadable(payload) from error
        return events

    def _chunk(self, chunk: JsonObject, payload: bytes, events: list[ModelEvent]) -> None:
        if ("choices" not in chunk or "error" in chunk) and error_in(chunk):
            raise self._refusals.error(to_json(chunk))
        if usage := chunk.get("usage"):
            self.reply.usage = _usage(usage)
        if ids := chunk.get("prompt_token_ids"):
            self.reply.prompt_token_ids = _ids(ids)
        listed = chunk.get("choices") or ()
        if not listed:  # counts of tokens, or a keep-alive such as {"type": "ping"}
            self._other = self._other or payload
        choices = [(_index(each.get("index")) or 0, each) for each in listed]
        if self._choice is None and choices:
            self._choice = min(place for place, _ in choices)
        for place, choice in choices:
            if place == self._choice:  # of several choices one is read
                self._chosen(choice, events)

    def _chosen(self, choice: JsonObject, events: list[ModelEvent]) -> None:
        """Reads the one choice that is read: a delta, or a message that is whole."""
        if refusal := choice.get("error"):
            raise self._refusals.error(to_json({"error": refusal}))
        if ids := choice.get("token_ids"):
            self._count_bytes(_ID_BYTES * len(ids := _ids(ids)))
            self.reply.token_ids.extend(ids)
        if delta := choice.get("delta"):
            self._delta(delta, events, whole=False)
        elif text := choice.get("text"):  # as completions have it that are no chat
            self._delta({"content": text}, events, whole=False)
        elif message := choice.get("message"):
            self._done = True
            # Behind a stream's deltas it says all of them once more.
            known = {
                **dict.fromkeys(("content", "refusal"), bool(self.reply.text)),
                **dict.fromkeys(("reasoning", "reasoning_content"), bool(self.reply.reasoning)),
                "tool_calls": bool(self.reply.calls),
            }
            new = {key: value for key, value in message.items() if not known.get(key)}
            self._delta(new, events, whole=True)
        finish = _string(choice.get("finish_reason"))
        # A plain end behind a reason to break off does not take that reason back.
        if finish and _meaning(self.reply.finish) is None:
            self.reply.finish = finish

    def _delta(self, delta: JsonObject, events: list[ModelEvent], *, whole: bool) -> None:
        """Keeps what a delta says, and adds an event for each part of it that may be shown."""
        content, beside = _parts(delta.get("content") or delta.get("refusal"))
        apart = "".join(_parts(delta.get("reasoning") or delta.get("reasoning_content"))) or beside
        if apart and (reasoning := self.reply.reasoning.joined(apart)):
            self._keep(reasoning, self.reply.reasoning)
            events.append(ReasoningDelta(reasoning))
        if content and (content := self.reply.text.joined(content)):
            self._keep(content, self.reply.text)
            if shown := self._showable(content):
                events.append(TextDelta(shown))
        if pieces := delta.get("tool_calls") or _calls_among(delta.get("content")):
            pieces = [pieces] if isinstance(pieces, dict) else pieces
            events += [self._call(piece, whole=whole) for piece in pieces if piece]
        elif older := delta.get("function_call"):  # before `tool_calls` there were
            events.append(self._call({"function": older}, whole=whole))

    def _call(self, piece: JsonObject, *, whole: bool) -> ToolCallDelta:
        """Adds a piece to the call that it goes on with, or begins a call with it."""
        function = piece.get("function") or piece
        name = _string(function.get("name"))
        if "arguments" in function:
            arguments = function["arguments"]
        else:
            arguments = next((function[key] for key in _OTHER_NAMES if key in function), None)
        # Some servers give the object itself; a list, say, makes a malformed call.
        given = arguments is None or isinstance(arguments, str)
        arguments = arguments or "" if given else json.dumps(arguments)
        call_id = piece.get("id")
        call_id = str(call_id) if isinstance(call_id, (int, float)) else _string(call_id)
        index = _index(piece.get("index"))
        place = None if whole else self._going_on(index, call_id, name, arguments)
        if place is None:
            self._count_bytes(_CALL_BYTES)
            before = self._by_index.get(index)
            self.reply.calls.append(CallPieces(index, call_id))
            place = len(self.reply.calls) - 1
            if before is not None and not whole:
                last, made = self.reply.calls[before], self.reply.calls[place]
                if not last.arguments and call_id in ("", last.id):
                    # Two calls, or a name in two pieces: it cannot be known.
                    last.doubtful = made.doubtful = True
            self._by_index[index] = self._by_index[None] = self._by_id[call_id] = place
        call = self.reply.calls[place]
        if name and not call.name:
            self._count_bytes(len(name.encode("utf-8", "replace")))
            self.endless = self.endless or len(name) > _LONGEST_NAME
            call.name = name[:_LONGEST_NAME]
        if call.arguments.size == 2 and arguments.strip() and str(call.arguments) == "{}":
            call.arguments = Pieces()  # servers begin with it before anything has come
        arguments = call.arguments.joined(arguments)
        again = call.arguments.size == len(arguments) and str(call.arguments) == arguments
        if not (again and call.is_whole):  # some servers end a call with all of it once more
            self._keep(arguments, call.arguments)
        return ToolCallDelta(place, call.name, arguments)

    def _going_on(self, index: int | None, call_id: str, name: str, arguments: str) -> int | None:
        """The place of the call that a chunk goes on with; None where it begins a new one.

        The protocol says by `index`. Servers give all calls the same one or none at all, so a new
        id is a new call, and so is a new name, or what follows arguments that were whole. But some
        give each chunk an id of its own, or all calls the same.
        """
        known = self._by_id.get(call_id) if call_id else None
        if known is not None and name and self.reply.calls[known].index != index:
            known = None
        place = self._by_index.get(index) if known is None else known
        if place is None:
            return None
        call = self.reply.calls[place]
        if name and call.name and name != call.name:
            return None
        if known is None:
            if call_id and call.id and (name or not arguments or call.is_whole):
                return None
            # A chunk that repeats the name may go on with the call, or begin another like it.
            if name and call.name and arguments.strip() and call.is_whole:
                return None
        if call_id and not call.id:
            call.id = call_id
            self._by_id[call_id] = place
        return place

    def _keep(self, piece: str, text: Pieces) -> None:
        if piece:
            self._count_bytes(
                len(piece) if piece.isascii() else len(piece.encode("utf-8", "replace"))
            )
            text.add(piece)

    def _count_bytes(self, size: int) -> None:
        """Counts bytes of what the reply says, up to their bound."""
        self._left -= size
        if self._left < 0:
            raise ModelResponseTooLargeError(
                f"the reply says more than {self._most:,} bytes; if that is right, raise "
                "max_response_bytes"
            )

    def _showable(self, text: str) -> str:
        """What may be shown of further text: not what is, or could become, a call or reasoning that
        the server failed to see.
        """
        if self._leaking:
            return ""
        text = self._withheld + text
        ends = [at for literal in _LEAKS if (at := text.find(literal)) >= 0]
        if not self._shown and text.startswith(THOUGHT):
            ends.append(0)
        self._leaking = bool(ends)
        if self._leaking:
            end = min(ends)
        elif not self._shown and THOUGHT.startswith(text):
            end = 0
        else:
            end = len(text) - max(overlap(text, literal) for literal in _LEAKS)
        self._withheld = text[end:]
        self._shown += end
        return text[:end]

    def withheld(self, message: AssistantMessage) -> str:
        """The rest of the text, held back until it was known to be no call and no reasoning."""
        return (message.content or "")[self._shown :]

    @property
    def ended(self) -> bool:
        """Whether the reply has ended by itself, so that it neither goes on nor was cut."""
        return self.reply.finish is not None and self.finish_reason(has_calls=False) != "length"

    def give_up(self) -> None:
        """Ends a reply that repeats itself. What it cost is counted, as far as its tokens tell: the
        server says it with the last chunk only.
        """
        reply = self.reply
        reply.finish = "repetition"
        reply.usage = reply.usage or Usage(len(reply.prompt_token_ids), len(reply.token_ids))

    def finish(self, first_call: int) -> ModelResponse:
        """The reply as a whole.

        Args:
            first_call: The number of the reply's first call within its conversation. Ids are
                numbered, not taken from the server: those are random, may repeat, and would make
                two equal runs differ.

        Raises:
            ModelProtocolError: The reply has no finish reason, or the server gave it up (vLLM's
                `abort` and `error`): it is not whole.
        """
        if self.endless:
            self.give_up()
        reply = self.reply
        if reply.finish is None:
            if self._choice is None and self._other:
                raise self._refusals.unreadable(self._other)
            if self._choice is None and not self._done:
                raise ModelUnreadableError("the server's answer ended before it said anything")
            if self._done:
                raise ModelUnreadableError(
                    "the reply ended without a finish reason: it was cut, or the server gives none"
                )
            raise ModelProtocolError("the reply ended without a finish reason: it was cut")
        if _meaning(reply.finish) == "given up":
            raise ModelProtocolError(f"the server gave the reply up ({reply.finish})")
        for text in (reply.text, reply.reasoning, *(call.arguments for call in reply.calls)):
            text.end()
        calls = tuple(
            self._finished(call, f"call_{number}")
            for number, call in enumerate(self._ordered_calls(), first_call)
        )
        message = AssistantMessage(
            content=None if calls else str(reply.text),
            tool_calls=calls,
            reasoning=str(reply.reasoning) or None,
        )
        return ModelResponse(message, self.finish_reason(bool(calls)), reply.usage or Usage())

    def _ordered_calls(self) -> list[CallPieces]:
        """The calls that say anything; by their index where each has its own, as the protocol has
        it, and else as they came.
        """
        calls = [call for call in self.reply.calls if call.name or call.arguments]
        indices = {call.index for call in calls}
        if None not in indices and len(indices) == len(calls):
            calls.sort(key=lambda call: call.index or 0)
        return calls

    @staticmethod
    def _finished(call: CallPieces, call_id: str) -> ToolCall:
        arguments = str(call.arguments)
        if call.doubtful:
            return ToolCall(call_id, call.name, malformed=f"{call.name} {arguments}")
        return read_call(call_id, call.name, arguments)

    def finish_reason(self, has_calls: bool) -> FinishReason:
        """Why the reply ended, corrected: a whole (not streamed) reply with a call in it says
        `tool_calls` even when it was cut (vllm#47963).
        """
        meant = _meaning(self.reply.finish)
        if meant is not None and meant != "given up":
            return meant
        # It was cut where it is as long as it may be, and its last token is not one that ends.
        ids = self.reply.token_ids
        produced = self.reply.usage.output_tokens if self.reply.usage else len(ids)
        at_limit = self._max_tokens is not None and produced >= self._max_tokens
        if at_limit and not (ids and ids[-1] in STOP_IDS):
            return "length"
        return "tool_calls" if has_calls else "stop"


def read_call(call_id: str, name: str, arguments: str) -> ToolCall:
    """A call from its argument text; text that is no JSON object that can be kept exactly (see
    `agentkit.exact`) is kept as `malformed`.

    One code fence and one further layer of JSON are taken off, since both are certain. Broken
    JSON is never completed: what a guess makes of a cut call mostly is another call.
    """
    text = unfenced(arguments)
    if not text:
        return ToolCall(call_id, name)
    try:
        value = read_exact(text)
        if isinstance(value, str):
            value = read_exact(value)
    except InexactError:
        return ToolCall(call_id, name, malformed=arguments)
    if value is None or isinstance(value, dict):
        return ToolCall(call_id, name, value or {})
    return ToolCall(call_id, name, malformed=arguments)


_LEAKS = (CALL_OPEN, CHANNEL_OPEN)


def overlap(text: str, literal: str) -> int:
    """How much of the end of a text could be the beginning of a literal."""
    lengths = range(min(len(text), len(literal) - 1), 0, -1)
    return next((n for n in lengths if literal.startswith(text[-n:])), 0)


_OTHER_NAMES: Final = ("parameters", "input", "args")
"""The names that some servers give a call's arguments instead of `arguments`."""

_ID_BYTES, _CALL_BYTES = 8, 512  # what a token id, and a call without its text, take
_LONGEST_LOOKED_AT: Final = 65_536  # characters
_LONGEST_NAME = 1_000  # characters; a server takes 64


_MEANS: Final[Mapping[FinishReason | Literal["given up"], str]] = {
    "content_filter": "filter|guardrail|safe|toxic|prohibited|recitation|block|spii|sensitive"
    "|refusal|moderation|policy",
    "length": "length|max|limit|timeout|pause|exceeded|context|truncated",
    "repetition": "repetition",
    "malformed_call": "malformed",
    "given up": "abort|error|cancel|fail|insufficient|interrupt",
}
"""The words of a finish reason that means more than an end, whoever made it: vLLM, SGLang,
OpenRouter, Gemini, Bedrock, Cohere and others each have their own. The first that fits counts."""


def _meaning(finish: str | None) -> FinishReason | Literal["given up"] | None:
    """What a server's finish reason says, unless it is a plain end."""
    if finish in _PLAIN_ENDS:
        return None
    said = (finish or "").lower()
    return next((meant for meant, words in _MEANS.items() if re.search(words, said)), None)


_PLAIN_ENDS: Final = frozenset((None, "stop", "tool_calls"))
"""No end so far, and the two that nearly every reply has."""


def _values(payload: bytes) -> list[JsonObject]:
    """The JSON of a payload; several where a server ends its events with a single line end, or
    lists them.
    """
    try:
        value = read_json(payload)
        if isinstance(value, dict):
            return [value]
        if isinstance(value, str):  # JSON in JSON
            value = read_json(value.encode())
        listed: list[Any] = value if isinstance(value, list) and value else [value]
        return listed
    except ValueError:
        lines = [line for line in payload.split(b"\n") if line.strip() not in (b"", DONE)]
        if len(lines) < 2:
            raise
        return list(map(read_json, lines))


def _unwrapped(chunk: JsonObject) -> JsonObject:
    """A reply out of the envelope in which some gateways send it."""
    if "choices" in chunk:
        return chunk
    for name in ("data", "output", "result", "response"):
        inner = chunk.get(name)
        if isinstance(inner, dict) and isinstance(inner.get("choices"), list):
            return inner
    return chunk


def _ids(value: object) -> list[int]:
    """Token ids, also as floats."""
    if not isinstance(value, list) or not set(map(type, value)) <= {int, float}:
        raise TypeError("token ids are whole numbers")
    return value if set(map(type, value)) <= {int} else list(map(int, value))


def _usage(wire: object) -> Usage:
    """The counts of tokens. One that is no number is taken for absent: a reply is worth more than
    its bill.
    """
    if not isinstance(wire, dict):
        return Usage()
    prompt = wire.get("prompt_tokens_details")
    completion = wire.get("completion_tokens_details")
    prompt = prompt if isinstance(prompt, dict) else {}
    completion = completion if isinstance(completion, dict) else {}
    return Usage(
        input_tokens=_count(wire.get("prompt_tokens", wire.get("input_tokens"))),
        output_tokens=_count(wire.get("completion_tokens", wire.get("output_tokens"))),
        cached_input_tokens=_count(prompt.get("cached_tokens")),
        reasoning_tokens=_count(completion.get("reasoning_tokens")),
    )


def _count(value: object) -> int:
    """A count of tokens, also as a float or as text; 0 where there is none."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, (int, float)) and 0 <= value < _MOST_TOKENS:
        return int(value)
    return 0


_MOST_TOKENS: Final = 10**12


def _parts(content: Any) -> tuple[str, str]:
    """The text and the reasoning of a message's content: a text, a part, or a list of these."""
    if content is None or isinstance(content, str):  # what nearly every chunk has
        return content or "", ""
    match content:
        case list():
            read = [_parts(part) for part in content]
            return "".join(text for text, _ in read), "".join(reasoning for _, reasoning in read)
        case {"type": "thinking" | "reasoning"} | {"thinking": _}:
            inner = (content.get(key) for key in ("thinking", "text", "reasoning", "summary"))
            return "", "".join(_parts(next(filter(None, inner), None)))
        case {"text": inner} | {"content": inner} | {"parts": inner} | {"value": inner}:
            return _parts(inner)
        case {"type": str()}:  # an image, a call: nothing that is said
            return "", ""
        case _:
            raise TypeError(f"text expected, not {content!r}")


def _calls_among(content: object) -> list[JsonObject]:
    """The calls among the parts of a message's content, where gateways to other APIs leave them."""
    parts = content if isinstance(content, list) else []
    return [part for part in parts if isinstance(part, dict) and part.get("type") in _CALL_PARTS]


_CALL_PARTS: Final = ("tool_use", "tool_call", "function_call")


def _string(value: object) -> str:
    """A field that is text or absent."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    raise TypeError(f"text expected, not {value!r}")


def _index(value: object) -> int | None:
    """Where a call stands, also as a float or as text; None where it is not given."""
    if value is None or isinstance(value, int):
        return value
    if not isinstance(value, (float, str)):
        raise TypeError(f"a whole number expected, not {value!r}")
    return int(float(value))
