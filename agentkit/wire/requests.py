"""What goes to the server: a `ModelRequest` as the bytes of a request body; and the messages and
tools of such a body read back.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from operator import is_
from typing import Any, Final

from pydantic_core import to_json

from agentkit.gemma4.tokens import CALL_OPEN, IDS, STOP_IDS
from agentkit.messages import (
    AssistantMessage,
    AudioPart,
    Content,
    ImagePart,
    JsonObject,
    Message,
    ModelRequest,
    ModelSettings,
    Part,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolMessage,
    UserMessage,
    VideoPart,
)


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
        self._newest = _Encoded((), (), -1)

    def encode(self, messages: Sequence[Message], without: Collection[str] = ()) -> bytes:
        """The `messages` array as JSON text.

        Args:
            messages: A whole conversation.
            without: Fields that the server does not take, out of `OPTIONAL`.
        """
        newest = self._newest  # once: another thread may replace it
        reasoned = "reasoning" not in without
        known = newest.known(messages) if newest.reasoned == reasoned else 0
        added = messages[known:]
        user = max((i for i, m in enumerate(added, known) if m.role == "user"), default=-1)
        if user >= 0:  # reasoning before what a user says is dropped from there on
            known, added, last_user = 0, messages, user
        else:
            last_user = newest.last_user if known else -1
        texts = (
            *newest.texts[:known],
            *(
                self._one(m, keep_reasoning=reasoned and i > last_user)
                for i, m in enumerate(added, known)
            ),
        )
        self._newest = _Encoded(tuple(messages), texts, last_user, reasoned)
        return b"[" + b",".join(texts) + b"]"

    def opening(self, messages: Sequence[Message]) -> bytes:
        """The messages up to the first of a user, as JSON texts: what all requests of a
        conversation begin with, until its window is cut down to less.
        """
        user = next((i for i, m in enumerate(messages) if m.role == "user"), 0)
        return b"".join(self._one(m, keep_reasoning=False) for m in messages[: user + 1])

    def _one(self, message: Message, *, keep_reasoning: bool) -> bytes:
        key = (id(message), keep_reasoning)
        if (known := self._known.get(key)) is not None:
            return known[1]
        encoded = to_json(_plain(self._escape(message), keep_reasoning))
        self._known[key] = (message, encoded)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
        return encoded


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A history as it was sent; the next one mostly is the same and a little more."""

    messages: tuple[Message, ...]
    texts: tuple[bytes, ...]
    last_user: int
    reasoned: bool = True

    def known(self, messages: Sequence[Message]) -> int:
        """How many messages of another history begin it, if all of these do."""
        same = len(messages) >= len(self.messages) and all(map(is_, self.messages, messages))
        return len(self.messages) if same else 0


def _plain(message: Message, keep_reasoning: bool) -> JsonObject:
    if isinstance(message, ToolMessage):
        content = _content(message.content)
        return {"role": "tool", "tool_call_id": message.call_id, "content": content}
    if not isinstance(message, AssistantMessage):
        return {"role": message.role, "content": _content(message.content)}
    wire: JsonObject = {"role": "assistant", "content": None}
    # Text beside calls is not sent: the template would print it after the tools' answers and end
    # the turn there (vllm#39885).
    if message.content is not None and not message.tool_calls:
        wire["content"] = _text(message.content)
    if message.reasoning and keep_reasoning:
        wire["reasoning"] = _text(message.reasoning)
    if message.tool_calls:
        wire["tool_calls"] = [_call(call) for call in message.tool_calls]
    return wire


_ARGUMENTS: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def _call(call: ToolCall) -> JsonObject:
    arguments = _text(_ARGUMENTS.encode(call.arguments))
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
    held: Mapping[str, Any] | None = None,
    gemma: bool = True,
    strict: bool = False,
    without: Collection[str] = (),
) -> bytes:
    """The body of a chat-completions request.

    Args:
        request: What to ask.
        model: The served name, a LoRA adapter's included.
        messages: The encoded `messages` array.
        declarations: The tools' functions (`name`, `description`, `parameters`), as the model is
            to see them.
        stream: Whether the reply comes in chunks.
        held: Fields that hold the reply to something while it is decoded, such as
            `structured_outputs`; `settings.extra_body` wins over them, as over everything.
        gemma: Whether the model is a Gemma 4. Ids of its tokens mean other things to others.
        strict: Whether the tools are marked as ones that calls have to fit.
        without: Fields that the server does not take, out of `OPTIONAL`.
    """
    body: JsonObject = {
        "model": model,
        "return_token_ids": True,
        **_settings(request.settings),
        **_tools(
            declarations,
            request.tool_choice,
            gemma=gemma,
            strict=strict and "strict" not in without,
            bans="tool_choice" not in without,
        ),
    }
    if gemma:
        # Sent always: `--override-generation-config` makes a server forget them (vllm#45591).
        body["stop_token_ids"] = list(STOP_IDS)
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    body |= held or {}
    if "max_tokens" in without and "max_tokens" in body:
        body["max_completion_tokens"] = body["max_tokens"]
    for name in _OF_THE_BODY.intersection(without):
        body.pop(name, None)
    for name, value in request.settings.extra_body.items():
        joined = name in _JOINED and isinstance(value, Mapping)
        body[name] = {**body.get(name, {}), **value} if joined else value
    return b'{"messages":' + messages + b"," + to_json(body)[1:]


def session_header(opening: bytes) -> dict[str, str]:
    """The header by which a router keeps a conversation on the replica whose prefix cache is warm.

    vllm-router's `consistent_hash` reads `X-Session-ID` before all else, and other proxies can be
    set to hash on it. Requests that begin alike share a prefix, so the name is made of how they
    begin: the runs, resumptions and retries of a conversation get the same one, nobody has to hand
    it on, and it says nothing of what it is made of.

    Args:
        opening: What the request begins with. Of a long one, 64 KiB at either end and its length
            count: an image may be in it, and a long system prompt is the same in all.
    """
    ends = opening if len(opening) <= 131_072 else opening[:65_536] + opening[-65_536:]
    name = blake2b(ends, digest_size=16, salt=len(opening).to_bytes(16))
    return {"x-session-id": name.hexdigest()}


OPTIONAL: Final[Mapping[str, str]] = {
    "return_token_ids": "calls are read as the server read them, not from the model's own tokens",
    "stop_token_ids": "replies end where the server says, also where its list of ends is not whole",
    "stream_options": "streams bring no count of tokens, so limits on tokens do not hold",
    "chat_template_kwargs": "thinking is as the server has it, and cannot be switched",
    "logit_bias": "a reply that must hold no call may hold one, and is asked for again",
    "parallel_tool_calls": "a forced reply may hold more calls than asked for",
    "structured_outputs": "calls are not held to their schemas by Gemma's grammar",
    "response_format": "typed answers are not held to their schema",
    "strict": "calls that the model makes of itself may not fit their schema",
    "top_k": "sampling is not cut to the likeliest tokens",
    "seed": "replies are not the same each time",
    "max_tokens": "the bound is sent as `max_completion_tokens`",
    "reasoning": "what the model reasoned before a call is not shown to it again",
    "tool_choice": "a reply that must hold no call may hold one, and is asked for again",
}
"""Fields that a server may refuse without a reply being lost, each with what is lost then. A
`tool_choice` that forces a call is not left out: `find_control` finds another way."""

_OF_THE_BODY: Final = OPTIONAL.keys() - {"strict", "reasoning", "tool_choice"}
"""Those that are members of the body itself, whatever it asks for."""

_JOINED = frozenset({"chat_template_kwargs", "logit_bias", "stream_options"})
"""Objects in which we write one field and a caller may write another."""


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


def _tools(
    declarations: Sequence[JsonObject],
    choice: ToolChoice,
    *,
    gemma: bool,
    strict: bool,
    bans: bool,
) -> JsonObject:
    """`tools` is never an empty list: vLLM answers 400 to that."""
    if not declarations:
        return {}
    marked: JsonObject = {"strict": True} if strict else {}
    tools = [{"type": "function", "function": {**each, **marked}} for each in declarations]
    body: JsonObject = {"tools": tools}
    if choice.mode == "none":
        # The tools stay in the prompt, whose prefix is cached. vLLM would swallow a call made all
        # the same and leave an empty answer, so the token that begins one is banned.
        if bans:
            body["tool_choice"] = "none"
        if gemma:
            body["logit_bias"] = {str(IDS[CALL_OPEN]): -100.0}
    return body


def forced(choice: ToolChoice) -> JsonObject:
    """A required call in OpenAI's own fields."""
    named = {"type": "function", "function": {"name": choice.name}}
    fields: JsonObject = {"tool_choice": named if choice.name else "required"}
    if choice.max_calls == 1:
        fields["parallel_tool_calls"] = False
    return fields


def constrains_itself(settings: ModelSettings) -> bool:
    """Whether the caller's own fields hold the reply to something: a second constraint is refused,
    and `response_format` would keep the model from calling tools (vllm#16313).
    """
    return not {"structured_outputs", "response_format"}.isdisjoint(settings.extra_body)


def encode_detokenize(model: str, token_ids: Sequence[int]) -> bytes:
    """The body of a request for the text of tokens."""
    return to_json({"model": model, "tokens": token_ids})


def encode_tokenize(model: str, text: str) -> bytes:
    """The body of a request for the tokens of a text, as it stands in a prompt."""
    return to_json({"model": model, "prompt": _text(text), "add_special_tokens": False})


# --- a request read back from its body -----------------------------------------------------------


def read_messages(sent: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages of a body, all their texts as they were sent.

    Raises:
        KeyError: A message lacks what `encode_request` writes.
        ValueError: A message is of an unknown role, or its arguments are no JSON.
    """
    return [_read_message(each) for each in sent]


def read_declarations(fields: Mapping[str, Any]) -> list[JsonObject]:
    """The tools of a body, as a chat template is given them."""
    functions = [dict(tool["function"]) for tool in fields.get("tools", ())]
    return [{k: v for k, v in each.items() if k != "strict"} for each in functions]


def _read_message(sent: Mapping[str, Any]) -> Message:
    content = sent.get("content")
    match sent["role"]:
        case "system":
            return SystemMessage(content or "")
        case "user":
            return UserMessage(_read_content(content))
        case "tool":
            return ToolMessage(sent["tool_call_id"], "", _read_content(content))
        case "assistant":
            calls = tuple(_read_call(each) for each in sent.get("tool_calls", ()))
            return AssistantMessage(content, calls, sent.get("reasoning"))
        case role:
            raise ValueError(f"a message of the role {role!r}")


def _read_call(sent: Mapping[str, Any]) -> ToolCall:
    function = sent["function"]
    return ToolCall(sent["id"], function["name"], json.loads(function["arguments"]))


def _read_content(sent: str | Sequence[Mapping[str, Any]] | None) -> Content:
    if sent is None or isinstance(sent, str):
        return sent or ""
    return tuple(_read_part(part) for part in sent)


def _read_part(sent: Mapping[str, Any]) -> Part:
    match sent["type"]:
        case "text":
            return TextPart(sent["text"])
        case "image_url":
            return ImagePart(sent["image_url"]["url"])
        case "input_audio":
            return AudioPart(sent["input_audio"]["data"], sent["input_audio"]["format"])
        case "video_url":
            return VideoPart(sent["video_url"]["url"])
        case kind:
            raise ValueError(f"a part of the type {kind!r}")
