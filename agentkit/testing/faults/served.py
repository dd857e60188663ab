"""One reply of a fault server as plain data: what the model wrote, what its server reports, and the
faults that change either.

`Served` holds both sides of a reply, because the two need not agree: a server's parser may garble a
call whose tokens were right, and its `finish_reason` may be wrong. `encode` turns it into the body
of a reply, streamed or whole, in the JSON shapes of a vLLM 0.32.0 server.

A `Fault` is a name, a sentence, and a change to a reply or to its delivery. A `Delivery` is what
goes over the wire, in which pieces, and how it ends. The server writes it; nothing here touches a
socket.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final, Literal, TypeAlias

from agentkit.gemma4 import tokens
from agentkit.gemma4.render import render_call
from agentkit.messages import JsonObject
from agentkit.testing.scripted import Reply

_BYTES_FROM: Final = 1000
"""Token id of the byte 0. In the fault server's vocabulary, Gemma 4's control tokens have their own
ids, and every other byte is a token."""

_LITERALS: Final = {literal: i for literal, i in tokens.IDS.items() if i < _BYTES_FROM}
_BY_ID: Final = {i: literal.encode() for literal, i in _LITERALS.items()}
_CONTROL: Final = re.compile("|".join(map(re.escape, sorted(_LITERALS, key=len, reverse=True))))
_PLAIN: Final = "\udc3c"
"""A lone surrogate, which no text can hold. It stands for a `<` in the model's words, so that this
begins no control token, whatever follows it."""

_FRAGMENT: Final = 9
"""Characters of arguments in one chunk, at least."""


@dataclass(frozen=True, slots=True)
class ServedCall:
    """A call as it is in the reply.

    Attributes:
        name: The function's name.
        arguments: Its arguments, as text that should be a JSON object.
        id: `""` lets the server make one; None leaves it out.
    """

    name: str
    arguments: str | None
    id: str | None = ""


@dataclass(frozen=True, slots=True)
class Served:
    """One reply, as the model produced it and as the server reports it.

    Attributes:
        text: `content`.
        reasoning: `reasoning`.
        calls: `tool_calls`.
        finish_reason: The reason in a streamed reply; a whole reply that holds a call always has
            `tool_calls` (vllm#47963).
        cut: Whether the reply used up `max_tokens`, so that no stop token ended it.
        native: The model's own text, the source of `token_ids`; by default made of the fields
            above. If these cannot be written in Gemma's syntax, no ids are sent.
    """

    text: str = ""
    reasoning: str = ""
    calls: tuple[ServedCall, ...] = ()
    finish_reason: str = "stop"
    cut: bool = False
    native: str | None = None


def served(reply: Reply) -> Served:
    """A scripted reply as a faultless server would send it."""
    message = reply.message
    calls = tuple(
        ServedCall(c.name, json.dumps(c.arguments) if c.malformed is None else c.malformed, c.id)
        for c in message.tool_calls
    )
    return Served(
        text=message.content or "",
        reasoning=message.reasoning or "",
        calls=calls,
        finish_reason=reply.finish_reason,
        cut=reply.finish_reason == "length",
    )


# --- tokens --------------------------------------------------------------------------------------


def tokenize(text: str) -> list[int]:
    """The ids of a text: those of control tokens, and one for each other byte."""
    ids: list[int] = []
    end = 0
    for found in _CONTROL.finditer(text):
        ids.extend(_byte_ids(text[end : found.start()]))
        ids.append(_LITERALS[found[0]])
        end = found.end()
    return [*ids, *_byte_ids(text[end:])]


def _byte_ids(text: str) -> Iterator[int]:
    return (_BYTES_FROM + byte for byte in text.replace(_PLAIN, "<").encode())


def plain(text: str) -> str:
    """A text for `native` in which nothing is read as a control token."""
    return text.replace("<", _PLAIN)


def detokenize(ids: list[int]) -> str:
    """The text of ids; the inverse of `tokenize`."""
    pieces = (_BY_ID.get(i) or bytes([i - _BYTES_FROM]) for i in ids)
    return b"".join(pieces).decode("utf-8", "replace")


def _native(reply: Served) -> str:
    """The reply in Gemma 4's own syntax, stop token included; `""` if it has no such form."""
    if reply.native is not None:
        return reply.native
    calls = [native_call(call) for call in reply.calls]
    if None in calls:
        return ""
    reasoning = f"{tokens.CHANNEL_OPEN}thought\n{plain(reply.reasoning)}{tokens.CHANNEL_CLOSE}"
    stop = tokens.RESPONSE_OPEN if reply.calls else tokens.TURN_CLOSE
    parts = [reasoning if reply.reasoning else "", plain(reply.text), *filter(None, calls)]
    return "".join([*parts, "" if reply.cut else stop])


def native_call(call: ServedCall) -> str | None:
    """A call in Gemma 4's own syntax; None if its arguments are no JSON object."""
    try:
        arguments = json.loads(plain(call.arguments or "{}"))
    except ValueError:
        return None
    return render_call(call.name, arguments) if isinstance(arguments, dict) else None


# --- the wire ------------------------------------------------------------------------------------


def encode(reply: Served, request: JsonObject, *, model: str, number: int) -> list[bytes]:
    """The pieces of a reply's body, in the order in which the server writes them.

    Args:
        reply: The reply.
        request: The body of the request; `stream`, `stream_options`, `max_tokens` and
            `return_token_ids` are respected.
        model: The served name.
        number: The number of the reply, from which its ids are made.
    """
    ids = tokenize(_native(reply))
    produced = len(ids) or len(reply.text + reply.reasoning) + 8 * len(reply.calls) + 1
    usage = {"usage": _usage(reply, request, produced)}
    ids = ids if request.get("return_token_ids") else []
    head: JsonObject = {"id": f"chatcmpl-{number:016x}", "created": 1_795_000_000, "model": model}
    if not request.get("stream"):
        return [json.dumps(_whole(reply, head, ids) | usage).encode()]
    events = [_event(head, [choice]) for choice in _choices(reply, head, ids)]
    if (request.get("stream_options") or {}).get("include_usage"):
        events.append(_event(head | usage, []))
    return [*events, b"data: [DONE]\n\n"]


def _usage(reply: Served, request: JsonObject, produced: int) -> JsonObject:
    if reply.cut and request.get("max_tokens"):
        produced = request["max_tokens"]
    prompt = prompt_tokens(request)
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + produced,
        "completion_tokens": produced,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": len(reply.reasoning.encode())},
    }


def prompt_tokens(request: JsonObject) -> int:
    """The tokens of a request's messages and tools; no template is applied."""
    shown = [json.dumps(part) for part in (request.get("messages"), request.get("tools")) if part]
    text = "".join(shown)
    # A control token is one token, not one for each of its bytes.
    saved = sum(len(found[0]) - 1 for found in _CONTROL.finditer(text))
    return len(text.encode()) - saved


def _whole(reply: Served, head: JsonObject, ids: list[int]) -> JsonObject:
    message: JsonObject = {
        "role": "assistant",
        "content": reply.text or None,
        "reasoning": reply.reasoning or None,
        "tool_calls": [
            _call_head(call, head, n)
            | {"function": {"name": call.name, "arguments": call.arguments}}
            for n, call in enumerate(reply.calls)
        ],
    }
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "tool_calls" if reply.calls else reply.finish_reason,
        "stop_reason": _stop_reason(reply),
        "token_ids": ids or None,
    }
    return {**head, "object": "chat.completion", "choices": [choice]}


def _call_head(call: ServedCall, head: JsonObject, index: int) -> JsonObject:
    if call.id is None:
        return {"type": "function"}
    made = f"chatcmpl-tool-{head['id'].removeprefix('chatcmpl-')}-{index}"
    return {"id": call.id or made, "type": "function"}


def _stop_reason(reply: Served) -> int | None:
    if reply.cut:
        return None
    return tokens.IDS[tokens.RESPONSE_OPEN if reply.calls else tokens.TURN_CLOSE]


def _choices(reply: Served, head: JsonObject, ids: list[int]) -> Iterator[JsonObject]:
    """One choice for each chunk; the ids are spread evenly, since only their sequence matters."""
    yield {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    deltas = [*_deltas(reply, head), {}]
    share = -(-len(ids) // len(deltas))
    for n, delta in enumerate(deltas):
        choice: JsonObject = {"index": 0, "delta": delta, "finish_reason": None}
        if ids:
            choice["token_ids"] = ids[n * share : (n + 1) * share]
        if n == len(deltas) - 1:
            choice |= {"finish_reason": reply.finish_reason, "stop_reason": _stop_reason(reply)}
        yield choice


def _deltas(reply: Served, head: JsonObject) -> Iterator[JsonObject]:
    """The deltas of a reply; the first of a call has its name, later ones its arguments."""
    for piece in re.findall(r"\S*\s*", reply.reasoning)[:-1]:
        yield {"reasoning": piece}
    for text in re.findall(r"\S*\s*", reply.text)[:-1]:
        yield {"content": text}
    for index, call in enumerate(reply.calls):
        first = {"index": index, **_call_head(call, head, index)}
        yield {"tool_calls": [first | {"function": {"name": call.name}}]}
        text = call.arguments or ""
        size = max(_FRAGMENT, len(text) // 32)
        for start in range(0, len(text), size):
            piece = {"arguments": text[start : start + size]}
            yield {"tool_calls": [{"index": index, "function": piece}]}


def _event(head: JsonObject, choices: list[JsonObject]) -> bytes:
    chunk = {**head, "object": "chat.completion.chunk", "choices": choices}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


# --- faults --------------------------------------------------------------------------------------

End: TypeAlias = Literal[
    "complete",  # the body ends as HTTP wants it, whether or not its content does
    "close",  # the connection is closed in the middle
    "reset",  # the connection is reset (TCP RST)
    "stall",  # nothing more comes until the client leaves
    "pings",  # only keep-alive comments come until the client leaves
    "restart",  # reset, and nobody listens for `down` seconds
]

_SSE: Final = {"content-type": "text/event-stream; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """One HTTP response as it goes over the wire.

    Attributes:
        body: Its pieces, each a chunk of its own.
        status: HTTP status; None ends the connection without a status line.
        headers: The response's headers.
        end: How it ends after the last piece.
        pause: Seconds before each piece.
        down: With the end `restart`, seconds in which connections are refused.
    """

    body: tuple[bytes, ...] = ()
    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=lambda: _SSE)
    end: End = "complete"
    pause: float = 0.0
    down: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.body))

    def cut(self, at: int, end: End = "complete") -> Delivery:
        """The same delivery with only the first `at` bytes of the body, ending with `end`."""
        kept: list[bytes] = []
        for piece in self.body:
            kept.append(piece[:at])
            at -= len(kept[-1])
        return replace(self, body=tuple(filter(None, kept)), end=end)


ChangeReply: TypeAlias = Callable[[Served], Served]
ChangeDelivery: TypeAlias = Callable[[Delivery, float], Delivery]
"""A delivery and a relative position in it (0 to 1) → the damaged delivery."""


def _same_reply(reply: Served) -> Served:
    return reply


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a model or its server misbehaves.

    Attributes:
        name: Its name.
        what: What happens, in one line for people.
        reply: Changes the reply.
        delivery: Changes the delivery.
    """

    name: str
    what: str
    reply: ChangeReply = _same_reply
    delivery: ChangeDelivery = lambda delivery, _place: delivery

    @property
    def side(self) -> Literal["model", "server"]:
        """The side that the fault is on."""
        return "server" if self.reply is _same_reply else "model"

    def fits(self, reply: Served) -> bool:
        """Whether it changes this reply at all: a fault of arguments needs a call."""
        return self.side == "server" or self.reply(reply) != reply


@dataclass(frozen=True, slots=True)
class Damaged:
    """A reply and the faults that damage it, in order.

    Attributes:
        faults: The faults.
        reply: The reply before the damage.
        at: Where in the body faults of the wire strike, 0 to 1; None: by the server's seed.
    """

    faults: tuple[Fault, ...]
    reply: Served
    at: float | None = None

    def delivery(self, encode: Callable[[Served], Sequence[bytes]], chance: Random) -> Delivery:
        """Damages the reply and its delivery.

        Args:
            encode: Turns the reply into the pieces of a body.
            chance: Chooses the place if `at` is None.
        """
        reply = self.reply
        for fault in self.faults:
            reply = fault.reply(reply)
        delivery = Delivery(tuple(encode(reply)))
        for fault in self.faults:
            place = chance.random() if self.at is None else self.at
            delivery = fault.delivery(delivery, place)
        return delivery
