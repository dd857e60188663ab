"""How a reply's bytes reach the client, or do not: whole, cut, stalled, reset.

A `Delivery` is plain data: what to write, in which pieces, and how it ends. `deliver` writes it to
a socket. Bodies are sent with chunked transfer coding, so that a clean end and a broken one differ
on the wire as they do with a real server.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final, Literal, TypeAlias

End: TypeAlias = Literal[
    "complete",  # the body ends as HTTP wants it, whether or not its content does
    "close",  # the connection is closed in the middle
    "reset",  # the connection is reset (TCP RST)
    "stall",  # nothing more comes until the client leaves
    "pings",  # only keep-alive comments come until the client leaves
    "restart",  # reset, and nobody listens for `down` seconds
]

_PING_EVERY: Final = 0.02
_SSE: Final = {"content-type": "text/event-stream; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """One HTTP response, as it is to go over the wire.

    Attributes:
        body: Pieces, each written by itself.
        status: HTTP status; None ends the connection without even a status line.
        headers: Of the response.
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


def deliver(delivery: Delivery, link: socket.socket, closing: threading.Event) -> bool:
    """Writes it; returns whether the connection can serve another request.

    Raises:
        OSError: The client has gone.
    """
    if delivery.status is not None:
        link.sendall(_head(delivery.status, delivery.headers))
        if not delivery.pause:  # one write: each is a chunk of its own all the same
            link.sendall(b"".join(map(_chunk, delivery.body)))
        for piece in delivery.body if delivery.pause else ():
            if closing.wait(delivery.pause):
                return False
            link.sendall(_chunk(piece))
    match delivery.end:
        case "complete" if delivery.status is not None:
            link.sendall(b"0\r\n\r\n")
            return True
        case "reset" | "restart":
            # Lingering for 0 seconds makes close() send RST instead of FIN.
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        case "stall":
            _until_left(link, closing, ping=False)
        case "pings":
            _until_left(link, closing, ping=True)
        case _:
            pass
    return False


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "server: agentkit-faults"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "transfer-encoding: chunked", "", ""]).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _until_left(link: socket.socket, closing: threading.Event, *, ping: bool) -> None:
    while not closing.is_set():
        if select.select([link], [], [], _PING_EVERY)[0] and not link.recv(65536):
            return
        if ping:
            link.sendall(_chunk(b": ping\n\n"))
