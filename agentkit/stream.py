"""Reads what a server sends, bounded and without I/O: bytes in, payloads of its events out, and
`Pieces` for a text that comes in several of them.

The format is the WHATWG HTML standard's `text/event-stream` (section 9.2). Only what a model server
uses is kept: `data` fields, and an error in a line of its own, as gateways write it into a stream
that has begun. Comments (`: ping`) and other fields yield nothing, so a caller that clocks the
payloads cannot be kept waiting by a server that sends keep-alives only.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

from pydantic_core import from_json

from agentkit.errors import ModelResponseTooLargeError

MAX_RESPONSE_BYTES = 8 * 1024 * 1024
"""Most bytes, decoded, of one JSON text and of a reply, if the user sets no other limit. A whole
reply of 256K tokens takes some 3 MiB with its token ids. A server that sends more than this is
broken or hostile, and memory stays bounded all the same."""

MAX_EVENT_BYTES = MAX_RESPONSE_BYTES
"""Most bytes that one event may hold: it is one JSON text."""

_MOST_VALUES = 700_000
"""Lists, objects and commas of one JSON text: Python takes some 70 bytes for each, so that a few
megabytes of `[],[],` would be hundreds. A prompt and a reply of 256K token ids have 530,000."""

_LARGE = 65_536  # bytes; a shorter text cannot hold enough values to matter

_LINE_MEMORY = 48  # bytes of memory for each line beside its content


def read_json(payload: bytes) -> Any:
    """The value of a JSON text that a server sent.

    Raises:
        ModelResponseTooLargeError: It would take too much memory.
        ValueError: It is no JSON.
    """
    payload = payload.removeprefix(_MARK)
    if len(payload) > _LARGE and sum(map(payload.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise ModelResponseTooLargeError(
            f"the server sent a JSON text of more than {_MOST_VALUES:,} values"
        )
    try:
        return from_json(payload)
    except ValueError:
        if b"\\ud" not in payload.lower():
            raise
        # Halves of surrogate pairs: pydantic refuses one that stands alone, as in a piece of text.
        with suppress(RecursionError):
            return json.loads(payload)
        raise


def _is_json(payload: bytes) -> bool:
    try:
        read_json(payload)
    except ValueError:
        return False
    return True


DONE = b"[DONE]"
"""The payload by which OpenAI's protocol ends a stream."""

_MARK = b"\xef\xbb\xbf"  # that a text is UTF-8, as some servers begin it

_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventDecoder:
    """Splits a byte stream into the data payloads of its events.

    Feed it whatever the network delivers, cut anywhere, also inside a UTF-8 character or between
    CR and LF. It never waits, never looks ahead and never yields half an event; what stands in an
    event that no blank line ended is dropped, as the standard says. Time is linear in the bytes.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._pending = bytearray()  # a line that has not ended yet
        self._data: list[bytes] = []  # the data lines of the event that has not ended yet
        self._size = 0  # bytes that those data lines take in memory
        self._skip_lf = False  # the last line ended with CR, so a leading LF belongs to it
        self._first = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Takes the next bytes; returns the payloads of the events that they complete.

        Raises:
            ModelResponseTooLargeError: One event is larger than `max_event_bytes`.
        """
        if not chunk:
            return []
        line, _, rest = chunk.partition(b"\n")
        if rest == b"\n" and self._is_one_event(line):
            return [line[6:]]
        if self._skip_lf:
            chunk = chunk.removeprefix(b"\n")
        events: list[bytes] = []
        start = 0
        for end in _LINE_END.finditer(chunk):
            self._pending += chunk[start : end.start()]
            start = end.end()
            line = bytes(self._pending)
            self._pending.clear()
            self._line(line, events)
        self._pending += chunk[start:]
        self._check_size()
        self._skip_lf = chunk.endswith(b"\r")
        return events

    def rest(self) -> list[bytes]:
        """The payloads of a last event that no blank line ended, once the stream is at its end.

        The standard drops it. But it may be the event that ends a reply, or the whole stream of a
        server that ends its events with a single line end. If it was cut, it is not JSON and is
        dropped here too.
        """
        events: list[bytes] = []
        if self._pending:
            self._line(bytes(self._pending), events)
            self._pending.clear()
        lines = list(self._data)
        self._line(b"", events)
        if events and not _is_json(events[0]):
            events = lines
        return [event for event in events if event == DONE or _is_json(event)]

    def _is_one_event(self, line: bytes) -> bool:
        """Whether nothing is pending and this line, which a blank line follows, is a whole event.

        Nearly every chunk of vLLM is one, and then none of the work below is needed.
        """
        return (
            line.startswith(b"data: ")
            and not (self._pending or self._data or self._skip_lf or self._first)
            and b"\r" not in line
            and len(line) < self._max
        )

    def _line(self, line: bytes, events: list[bytes]) -> None:
        if self._first:
            line = line.removeprefix(_MARK)
            self._first = False
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
            self._data.clear()
            self._size = 0
        elif line.startswith(b"data"):
            field, _, value = line.partition(b":")
            if field == b"data":
                value = value.removeprefix(b" ")
                self._data.append(value)
                self._size += len(value) + _LINE_MEMORY * bool(self._data[1:])
                self._check_size()
        elif line.startswith(b"error:"):  # older llama.cpp: `error: {"message": …}`
            events.append(b'{"error": ' + line.removeprefix(b"error:") + b"}")
        elif line.startswith(b"{") and line.rstrip().endswith(b"}"):
            events.append(line)

    def _check_size(self) -> None:
        if self._size + len(self._pending) > self._max:
            raise ModelResponseTooLargeError(
                f"the server sent one event of more than {self._max:,} bytes; "
                "is this really a chat-completions stream?"
            )


class Pieces:
    """A text as far as it has come.

    Servers cut between the two halves of a surrogate pair. The first half waits here for the
    second; one that stays alone is U+FFFD.

    Attributes:
        size: Characters of the text.
    """

    __slots__ = ("_half", "_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._half = ""
        self.size = 0

    def __str__(self) -> str:
        return "".join(self._pieces)

    def __bool__(self) -> bool:
        return self.size > 0

    def joined(self, piece: str) -> str:
        """What the next piece comes to, with the half that waits and without one of its own."""
        if piece.isascii() and not self._half:
            return piece
        piece, self._half = self._half + piece, ""
        if "\ud800" <= piece[-1:] <= "\udbff":
            piece, self._half = piece[:-1], piece[-1]
        return piece.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def add(self, piece: str) -> None:
        """Adds a piece that `joined` returned."""
        self._pieces.append(piece)
        self.size += len(piece)
        if len(self._pieces) >= _MOST_PIECES:  # each takes 50 bytes by itself
            self._pieces = [str(self)]

    def end(self) -> None:
        """Ends the text: what still waits stays alone."""
        if self._half:
            self.add("\ufffd")
            self._half = ""


_MOST_PIECES = 4_096
