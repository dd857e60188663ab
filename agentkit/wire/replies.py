"""What comes back: the JSON of a reply, whole or in chunks, as events and a `ModelResponse`.

Nothing may run from what has been collected until the reply has said that it is whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from agentkit.errors import ModelProtocolError, ModelResponseTooLargeError
from agentkit.events import ModelEvent, ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.exact import InexactError, read_exact
from agentkit.gemma4.lexer import THOUGHT
from agentkit.gemma4.tokens import CALL_OPEN, CHANNEL_OPEN, STOP_IDS
from agentkit.messages import (
    AssistantMessage,
    FinishReason,
    JsonObject,
    ModelResponse,
    ToolCall,
    Usage,
)
from agentkit.stream import MAX_RESPONSE_BYTES, read_json

__all__ = ["Reply", "ReplyDecoder", "read_call"]


@dataclass(slots=True)
class Reply:
    """What a server's reply holds, before anything is concluded from it.

    Attributes:
        text: The answer text.
        reasoning: The thought.
        calls: Name and argument text of each call, in order.
        finish: The server's `finish_reason`; None while the reply has not ended.
        usage: The server's token counts.
        token_ids: What the model produced, where the server returns it.
        prompt_token_ids: What the model was sent, where the server returns it.
    """

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, tuple[list[str], list[str]]] = field(default_factory=dict)
    finish: str | None = None
    usage: Usage | None = None
    token_ids: list[int] = field(default_factory=list)
    prompt_token_ids: list[int] = field(default_factory=list)


class ReplyDecoder:
    """Collects a reply from its chunks; a reply that came whole is one chunk.

    Nothing may run from what has been collected until `finish` has returned: a reply without a
    finish reason, or one that was cut, looks whole up to its last byte.

    Args:
        max_tokens: Most tokens that were asked for.
        max_bytes: Most bytes of what it says, thought and calls included, each token id taken as
            eight.
    """

    def __init__(self, max_tokens: int | None = None, max_bytes: int = MAX_RESPONSE_BYTES) -> None:
        self.reply = Reply()
        self._most = self._left = max_bytes
        self._max_tokens = max_tokens
        self._shown = 0  # characters of the text that were given out
        self._held = ""  # what follows them, as long as it could begin a call
        self._leaking = False  # a call or thought was seen in the text: no more of it is shown

    def feed(self, payload: bytes) -> list[ModelEvent]:
        """Takes one JSON payload; returns what can be shown of it.

        Raises:
            ModelProtocolError: It is not JSON, or not a chat completion.
            ModelResponseTooLargeError: The reply says more than `max_bytes`.
        """
        try:
            chunk = read_json(payload)
            return list(self._chunk(chunk))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            shown = payload[:200].decode("utf-8", "replace")
            raise ModelProtocolError(f"the server sent no chat completion: {shown!r}") from error

    def _chunk(self, chunk: JsonObject) -> Iterator[ModelEvent]:
        if usage := chunk.get("usage"):
            self.reply.usage = _usage(usage)
        if ids := _ids(chunk.get("prompt_token_ids")):
            self.reply.prompt_token_ids = ids
        for choice in chunk["choices"][:1]:
            ids = _ids(choice.get("token_ids"))
            self._take(_ID_BYTES * len(ids))
            self.reply.token_ids.extend(ids)
            yield from self._delta(choice.get("delta") or choice.get("message") or {})
            if finish := _string(choice.get("finish_reason")):
                self.reply.finish = finish

    def _delta(self, delta: JsonObject) -> Iterator[ModelEvent]:
        if thought := _string(delta.get("reasoning") or delta.get("reasoning_content")):
            self._keep(thought, self.reply.reasoning)
            yield ReasoningDelta(thought)
        if text := _string(delta.get("content")):
            self._keep(text, self.reply.text)
            if shown := self._showable(text):
                yield TextDelta(shown)
        for position, piece in enumerate(delta.get("tool_calls") or ()):
            index = _number(piece.get("index", position))
            function = piece.get("function") or {}
            name, arguments = _string(function.get("name")), _string(function.get("arguments"))
            if index not in self.reply.calls:
                self._take(_CALL_BYTES)
            names, texts = self.reply.calls.setdefault(index, ([], []))
            self._keep(name, names)
            self._keep(arguments, texts)
            if len(names) > 1:  # so that the name of each delta is there at once
                names[:] = ["".join(names)]
                if len(names[0]) > _LONGEST_NAME:
                    raise ModelProtocolError(f"a call's name is {names[0][:40]!r}… without end")
            yield ToolCallDelta(index, "".join(names), arguments)

    def _keep(self, piece: str, pieces: list[str]) -> None:
        """Adds a piece of text; many small ones become one, since each takes 50 bytes by itself."""
        if piece:
            self._take(len(piece) if piece.isascii() else len(piece.encode("utf-8", "replace")))
            pieces.append(piece)
            if len(pieces) >= _MOST_PIECES:
                pieces[:] = ["".join(pieces)]

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ModelResponseTooLargeError(
                f"the reply says more than {self._most:,} bytes; if that is right, raise "
                "max_response_bytes"
            )

    def _showable(self, text: str) -> str:
        """What may be shown of further text: not what is, or could become, a call or a thought that
        the server failed to see.
        """
        if self._leaking:
            return ""
        text = self._held + text
        ends = [at for literal in _LEAKS if (at := text.find(literal)) >= 0]
        if not self._shown and text.startswith(THOUGHT):
            ends.append(0)
        self._leaking = bool(ends)
        if self._leaking:
            end = min(ends)
        elif not self._shown and THOUGHT.startswith(text):
            end = 0
        else:
            end = len(text) - max(_overlap(text, literal) for literal in _LEAKS)
        self._held = text[end:]
        self._shown += end
        return text[:end]

    def held(self, message: AssistantMessage) -> str:
        """The rest of the text, held back until it was known to be no call and no thought."""
        return (message.content or "")[self._shown :]

    @property
    def ended(self) -> bool:
        """Whether the reply has ended by itself, neither going on nor cut."""
        return self.reply.finish is not None and self.finish_reason(has_calls=False) != "length"

    def give_up(self) -> None:
        """Ends a reply that repeats itself. What it cost is counted, as far as its tokens tell: the
        server says it with the last chunk only.
        """
        reply = self.reply
        reply.finish = "repetition"
        if reply.usage is None:
            reply.usage = Usage(len(reply.prompt_token_ids), len(reply.token_ids))

    def finish(self, first_call: int) -> ModelResponse:
        """The reply as a whole.

        Args:
            first_call: The number of the reply's first call within its conversation. Ids are
                numbered, not taken from the server: those are random, may repeat, and would make
                two equal runs differ.

        Raises:
            ModelProtocolError: The reply never said that it had ended, or that the server gave
                it up (vLLM's `abort` and `error`): what came of it is not whole.
        """
        reply = self.reply
        if reply.finish is None:
            raise ModelProtocolError("the reply ended without a finish reason: it was cut")
        if reply.finish in ("abort", "error"):
            raise ModelProtocolError(f"the server gave the reply up ({reply.finish})")
        calls = tuple(
            read_call(f"call_{first_call + n}", "".join(names), "".join(texts))
            for n, (_, (names, texts)) in enumerate(sorted(reply.calls.items()))
        )
        text = "".join(reply.text)
        message = AssistantMessage(
            content=None if calls else text,
            tool_calls=calls,
            reasoning="".join(reply.reasoning) or None,
        )
        return ModelResponse(message, self.finish_reason(bool(calls)), reply.usage or Usage())

    def finish_reason(self, has_calls: bool) -> FinishReason:
        """Why the reply ended, corrected: a whole (not streamed) reply with a call in it says
        `tool_calls` even when it was cut (vllm#47963).
        """
        reply = self.reply
        if reply.finish in ("length", "repetition", "content_filter"):
            return reply.finish  # type: ignore[return-value]  # narrowed by the test above
        if self._cut():
            return "length"
        return "tool_calls" if has_calls else "stop"

    def _cut(self) -> bool:
        """Whether it ended because room ran out, told by its last token or by its length."""
        ids = self.reply.token_ids
        produced = self.reply.usage.output_tokens if self.reply.usage else len(ids)
        at_limit = self._max_tokens is not None and produced >= self._max_tokens
        return at_limit and not (ids and ids[-1] in STOP_IDS)


def read_call(call_id: str, name: str, arguments: str) -> ToolCall:
    """A call from its argument text; text that is no JSON object that can be kept exactly (see
    `agentkit.exact`) is kept as `malformed`.

    One code fence and one further layer of JSON are taken off, since both are certain. Broken
    JSON is never completed: what a guess makes of a cut call mostly is another call.
    """
    text = arguments.strip()
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1].strip()
    if not text:
        return ToolCall(call_id, name)
    try:
        value = read_exact(text)
        if isinstance(value, str):
            value = read_exact(value)
    except InexactError:
        return ToolCall(call_id, name, malformed=arguments)
    if value is None:
        return ToolCall(call_id, name)
    if not isinstance(value, dict):
        return ToolCall(call_id, name, malformed=arguments)
    return ToolCall(call_id, name, value)


_FENCE = re.compile(r"```[a-z]*\n(.*)\n?```", re.DOTALL)


_LEAKS = (CALL_OPEN, CHANNEL_OPEN)


def _overlap(text: str, literal: str) -> int:
    """How much of the end of a text could be the beginning of a literal."""
    longest = min(len(text), len(literal) - 1)
    return next((n for n in range(longest, 0, -1) if literal.startswith(text[-n:])), 0)


_ID_BYTES, _CALL_BYTES = 8, 512
"""What a token id, and a call without its text, are taken to be long."""

_MOST_PIECES = 4_096
_LONGEST_NAME = 1_000  # characters; a server takes 64


def _ids(value: object) -> list[int]:
    """Token ids, or nothing."""
    ids: list[int] = value if isinstance(value, list) else []
    if (value and not ids) or not all(type(number) is int for number in ids):
        raise TypeError("token ids are whole numbers")
    return ids


def _usage(wire: JsonObject) -> Usage:
    prompt = wire.get("prompt_tokens_details") or {}
    completion = wire.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=_number(wire.get("prompt_tokens")),
        output_tokens=_number(wire.get("completion_tokens")),
        cached_input_tokens=_number(prompt.get("cached_tokens")),
        reasoning_tokens=_number(completion.get("reasoning_tokens")),
    )


def _string(value: object) -> str:
    """A field that is text or absent."""
    if value is None or isinstance(value, str):
        return value or ""
    raise TypeError(f"text expected, not {value!r}")


def _number(value: object) -> int:
    """A field that is a whole number or absent."""
    if value is None or isinstance(value, int):
        return value or 0
    raise TypeError(f"a whole number expected, not {value!r}")
