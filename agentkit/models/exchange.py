"""What really goes to a server and comes back, told to whoever asks for one model call.

A model's events say what was meant; a person who looks for a fault wants the request as it was
sent, with the settings, grammar and template arguments that the model added of its own, and the
reply as it came, before anything was read out of it. Told is what is new: each request repeats the
one before and adds a little.

In: the body of a request as bytes, and the reply as far as it came. Out: `RequestSent` and
`ReplyReceived`. It changes nothing of a call, and nobody has to listen.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

from pydantic_core import from_json

from agentkit.events import ReplyReceived, RequestSent
from agentkit.messages import JsonObject
from agentkit.wire import Reply

Told: TypeAlias = Callable[[RequestSent | ReplyReceived], None]


class Exchanges:
    """The requests of one run, each told by what is new in it.

    Attributes:
        open: What comes of the newest request, until it has ended.
    """

    def __init__(self) -> None:
        self._messages = b"[]"
        self._count = 0
        self._fields = b"{}"
        self.open: Reply | None = None

    @contextmanager
    def told_to(self, told: Told) -> Generator[None]:
        """Tells what is sent and received within this block."""
        token = _listening.set((self, told))
        try:
            yield
        finally:
            _listening.reset(token)
            self.ended(told)

    def ended(self, told: Told) -> None:
        """Tells what came of the request that is open, whole or not."""
        reply, self.open = self.open, None
        if reply is not None:
            told(ReplyReceived(_as_json(reply)))

    def news(self, messages: bytes, fields: bytes) -> RequestSent:
        """What is new in a request.

        Args:
            messages: JSON text of its `messages`.
            fields: JSON text of an object of everything else.
        """
        before = self._messages
        if messages.startswith(before[:-1]):
            same, rest = self._count, messages[len(before) - 1 :].lstrip(b",")
            new: list[Any] = from_json(b"[" + rest)
        else:
            old, now = from_json(before), from_json(messages)
            pairs = enumerate(zip(old, now, strict=False))
            same = next((at for at, (a, b) in pairs if a != b), min(len(old), len(now)))
            new = now[same:]
        self._messages, self._count = messages, same + len(new)
        before, self._fields = self._fields, fields
        if fields == before:
            return RequestSent(same, tuple(new), {})
        body, known = from_json(fields), from_json(before)
        changed = {name: value for name, value in body.items() if known.get(name) != value}
        gone = tuple(name for name in known if name not in body)
        return RequestSent(same, tuple(new), changed, gone)


_listening: ContextVar[tuple[Exchanges, Told] | None] = ContextVar(
    "agentkit_exchange", default=None
)


def tell_sent(body: bytes, messages: bytes, reply: Reply) -> None:
    """Says that a request goes out.

    Args:
        body: Of the request: a JSON object whose first member is `messages`.
        messages: That member's JSON text.
        reply: What comes of it, filled as it comes.
    """
    if (listening := _listening.get()) is not None:
        exchanges, told = listening
        exchanges.ended(told)  # of an attempt before this one
        told(exchanges.news(messages, b"{" + body[len(b'{"messages":') + len(messages) + 1 :]))
        exchanges.open = reply


def _as_json(reply: Reply) -> JsonObject:
    calls = [[call.name, "".join(call.arguments)] for call in reply.calls]
    return {
        "text": "".join(reply.text),
        "reasoning": "".join(reply.reasoning),
        "calls": calls,
        "finish": reply.finish,
    }
