"""The OpenAI chat-completions wire as vLLM speaks it: the only file that spells its field names.

In: a `ModelRequest`. Out: the bytes of a request body; and from the decoded JSON of a reply, whole
or in stream chunks, the events and the `ModelResponse` it amounts to. No I/O, no retries, no
decisions about what to run. Field names and their meanings are vLLM 0.32's
(`vllm/entrypoints/openai/chat_completion/protocol.py`).
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pydantic_core import from_json, to_json

from agentkit.errors import ModelProtocolError
from agentkit.events import ModelEvent, ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.gemma4.lexer import THOUGHT
from agentkit.gemma4.tokens import CALL_OPEN, CHANNEL_OPEN, IDS, STOP_IDS
from agentkit.messages import (
    AssistantMessage,
    AudioPart,
    Content,
    FinishReason,
    ImagePart,
    JsonObject,
    Message,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    Part,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolMessage,
    Usage,
    VideoPart,
)

__all__ = ["MessageEncoder", "Reply", "ReplyDecoder", "encode_request"]


# --- requests ----------------------------------------------------------------------------------


class MessageEncoder:
    """Messages to wire JSON, each encoded once however often it is sent.

    A long run sends its whole history on every step; keeping the bytes of each message makes a
    step cost what it adds.

    Args:
        escape: Makes every text of a message safe to stand in a prompt.
        limit: Most messages kept.
    """

    def __init__(self, escape: Callable[[Message], Message], limit: int = 4096) -> None:
        self._escape = escape
        self._limit = limit
        # Keyed by identity; holding the message keeps its identity from being used again.
        self._known: OrderedDict[tuple[int, bool], tuple[Message, bytes]] = OrderedDict()

    def encode(self, messages: Sequence[Message]) -> bytes:
        """The `messages` array as JSON text."""
        last_user = max((i for i, m in enumerate(messages) if m.role == "user"), default=-1)
        return (
            b"["
            + b",".join(self._one(m, keep_reasoning=i > last_user) for i, m in enumerate(messages))
            + b"]"
        )

    def _one(self, message: Message, *, keep_reasoning: bool) -> bytes:
        key = (id(message), keep_reasoning)
        if (known := self._known.get(key)) is not None:
            return known[1]
        encoded = to_json(_plain(self._escape(message), keep_reasoning))
        self._known[key] = (message, encoded)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
        return encoded


def _plain(message: Message, keep_reasoning: bool) -> JsonObject:
    if isinstance(message, AssistantMessage):
        return _assistant(message, keep_reasoning)
    if isinstance(message, ToolMessage):
        content = _content(message.content)
        return {"role": "tool", "tool_call_id": message.call_id, "content": content}
    return {"role": message.role, "content": _content(message.content)}


def _assistant(message: AssistantMessage, keep_reasoning: bool) -> JsonObject:
    """Text beside calls is not sent: the template would print it after the tools' answers and
    end the turn there (vllm#39885).
    """
    wire: JsonObject = {"role": "assistant", "content": None}
    if message.content is not None and not message.tool_calls:
        wire["content"] = _text(message.content)
    if message.reasoning and keep_reasoning:
        wire["reasoning"] = _text(message.reasoning)
    if message.tool_calls:
        wire["tool_calls"] = [_call(call) for call in message.tool_calls]
    return wire


def _call(call: ToolCall) -> JsonObject:
    arguments = _text(json.dumps(call.arguments, ensure_ascii=False, separators=(",", ":")))
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": _text(call.name), "arguments": arguments},
    }


def _content(content: Content) -> str | list[JsonObject]:
    if isinstance(content, str):
        return _text(content)
    return [_part(part) for part in content]


def _part(part: Part) -> JsonObject:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": _text(text)}
        case ImagePart(url=url):
            return {"type": "image_url", "image_url": {"url": url}}
        case AudioPart(data=data, format=kind):
            return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}
        case VideoPart(url=url):
            return {"type": "video_url", "video_url": {"url": url}}


def _text(text: str) -> str:
    """Undecodable bytes of a file name arrive as lone surrogates, which JSON cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def encode_request(
    request: ModelRequest,
    *,
    model: str,
    messages: bytes,
    declarations: Sequence[JsonObject],
    stream: bool,
    extra: JsonObject,
) -> bytes:
    """The body of a chat-completions request.

    Args:
        request: What to ask.
        model: The served name, a LoRA adapter's included.
        messages: The encoded `messages` array.
        declarations: The tools' functions (`name`, `description`, `parameters`), as the model is
            to see them.
        stream: Whether the reply comes in chunks.
        extra: Fields that the model adds, such as `structured_outputs`; `settings.extra_body`
            wins over them.
    """
    body: JsonObject = {
        "model": model,
        # Sent always: `--override-generation-config` makes a server forget them (vllm#45591).
        "stop_token_ids": list(STOP_IDS),
        "return_token_ids": True,
        **_settings(request.settings),
        **_tools(declarations, request.tool_choice),
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    body |= extra
    body |= dict(request.settings.extra_body)
    return b'{"messages":' + messages + b"," + to_json(body)[1:]


def _settings(settings: ModelSettings) -> JsonObject:
    sent = {
        "max_tokens": settings.max_tokens,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
        "seed": settings.seed,
        "stop": list(settings.stop) if settings.stop else None,
        "chat_template_kwargs": (
            None if settings.thinking is None else {"enable_thinking": settings.thinking}
        ),
    }
    return {name: value for name, value in sent.items() if value is not None}


def _tools(declarations: Sequence[JsonObject], choice: ToolChoice) -> JsonObject:
    """`tools` is never an empty list: vLLM answers 400 to that."""
    if not declarations:
        return {}
    body: JsonObject = {"tools": [{"type": "function", "function": d} for d in declarations]}
    if choice.mode == "none":
        # The tools stay in the prompt, whose prefix is cached. vLLM would swallow a call made all
        # the same and leave an empty answer, so the token that begins one is banned.
        body |= {"tool_choice": "none", "logit_bias": {str(IDS[CALL_OPEN]): -100}}
    return body


# --- replies -----------------------------------------------------------------------------------


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
    """

    def __init__(self, max_tokens: int | None = None) -> None:
        self.reply = Reply()
        self._max_tokens = max_tokens
        self._shown = 0  # characters of the text that were given out
        self._held = ""  # what follows them, as long as it could begin a call
        self._leaking = False  # a call or thought was seen in the text: no more of it is shown

    def feed(self, payload: bytes) -> list[ModelEvent]:
        """Takes one JSON payload; returns what can be shown of it.

        Raises:
            ModelProtocolError: It is not JSON, or not a chat completion.
        """
        try:
            chunk = from_json(payload)
            return list(self._chunk(chunk))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            shown = payload[:200].decode("utf-8", "replace")
            raise ModelProtocolError(f"the server sent no chat completion: {shown!r}") from error

    def _chunk(self, chunk: JsonObject) -> Iterator[ModelEvent]:
        if usage := chunk.get("usage"):
            self.reply.usage = _usage(usage)
        if ids := chunk.get("prompt_token_ids"):
            self.reply.prompt_token_ids = list(ids)
        for choice in chunk["choices"][:1]:
            self.reply.token_ids.extend(choice.get("token_ids") or ())
            yield from self._delta(choice.get("delta") or choice.get("message") or {})
            if finish := _string(choice.get("finish_reason")):
                self.reply.finish = finish

    def _delta(self, delta: JsonObject) -> Iterator[ModelEvent]:
        if thought := _string(delta.get("reasoning") or delta.get("reasoning_content")):
            self.reply.reasoning.append(thought)
            yield ReasoningDelta(thought)
        if text := _string(delta.get("content")):
            self.reply.text.append(text)
            if shown := self._showable(text):
                yield TextDelta(shown)
        for position, piece in enumerate(delta.get("tool_calls") or ()):
            index = _number(piece.get("index", position))
            function = piece.get("function") or {}
            name, arguments = _string(function.get("name")), _string(function.get("arguments"))
            names, texts = self.reply.calls.setdefault(index, ([], []))
            names.append(name)
            texts.append(arguments)
            yield ToolCallDelta(index, "".join(names), arguments)

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
    """A call from its argument text; text that is no JSON object is kept as `malformed`.

    One code fence and one further layer of JSON are taken off, since both are certain. Broken
    JSON is never completed: what a guess makes of a cut call mostly is another call.
    """
    text = arguments.strip()
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1].strip()
    if not text:
        return ToolCall(call_id, name)
    try:
        value = from_json(text, allow_inf_nan=False)
        if isinstance(value, str):
            value = from_json(value, allow_inf_nan=False)
    except ValueError:
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


def count_calls(messages: Sequence[Message]) -> int:
    """Calls in a conversation: the number of the next one."""
    return sum(len(m.tool_calls) for m in messages if isinstance(m, AssistantMessage))
