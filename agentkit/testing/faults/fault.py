"""What a fault is: a name, a sentence, and a change to a reply or to its delivery.

A `Delivery` is plain data: what goes over the wire, in which pieces, and how it ends. The server
writes it; nothing here touches a socket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final, Literal, TypeAlias

from agentkit.testing.faults.served import Served

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
    """One HTTP response, as it is to go over the wire.

    Attributes:
        body: Pieces, each written by itself.
        status: HTTP status; None ends the connection without even a status line.
        headers: The response's headers.
        end: How it ends after the last piece.
        pause: Seconds before each piece.
        down: Seconds that nobody listens, with the end `restart`.
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
        """The first `at` bytes of the body, ending so."""
        kept: list[bytes] = []
        for piece in self.body:
            kept.append(piece[:at])
            at -= len(kept[-1])
        return replace(self, body=tuple(filter(None, kept)), end=end)


ChangeReply: TypeAlias = Callable[[Served], Served]
ChangeDelivery: TypeAlias = Callable[[Delivery, float], Delivery]
"""A delivery and a place in it (0 to 1) → the damaged delivery."""


def _same_reply(reply: Served) -> Served:
    return reply


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a model or its server misbehaves.

    Attributes:
        name: How to ask for it.
        what: One line for people.
        reply: What it does to what the model says.
        delivery: What it does on the wire.
    """

    name: str
    what: str
    reply: ChangeReply = _same_reply
    delivery: ChangeDelivery = lambda delivery, _place: delivery

    @property
    def side(self) -> Literal["model", "server"]:
        """Whose fault it is."""
        return "server" if self.reply is _same_reply else "model"

    def fits(self, reply: Served) -> bool:
        """Whether it changes this reply at all: single-quoted arguments need a call."""
        return self.side == "server" or self.reply(reply) != reply


@dataclass(frozen=True, slots=True)
class Damaged:
    """A reply and the faults that strike it, in order.

    Attributes:
        faults: What strikes.
        reply: What would have been said.
        at: Where faults of the wire strike, 0 to 1; None leaves it to the server's seed.
    """

    faults: tuple[Fault, ...]
    reply: Served
    at: float | None = None

    def delivery(self, encode: Callable[[Served], Sequence[bytes]], chance: Random) -> Delivery:
        """What goes over the wire.

        Args:
            encode: Turns the reply into the pieces of a body.
            chance: Decides what `at` leaves open.
        """
        reply = self.reply
        for fault in self.faults:
            reply = fault.reply(reply)
        delivery = Delivery(tuple(encode(reply)))
        for fault in self.faults:
            place = chance.random() if self.at is None else self.at
            delivery = fault.delivery(delivery, place)
        return delivery
