r"""A reply in Gemma 4's own syntax → reasoning, text and calls: incremental, without I/O.

    <|channel>thought\n…<channel|>text<|tool_call>call:NAME{k:<|"|>v<|"|>}<tool_call|>

Feed it text, or tokens where their ids are known: then text that merely *looks* like a control
token stays text. (Where a grammar constrained the reply, feed text: a grammar works on characters
and takes either spelling.) Every input gives a result; none raises.

Inside a string `<tool_call|>` is text, so it does not end the call. But a model that forgets a
quote would swallow the rest of its reply that way. Hence such places are remembered, and when a
call cannot be read to its end, or does not fit its tool, the first of them is tried as the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from agentkit.events import ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.gemma4.calls import CallReading, ParsedCall, Schemas, read_call
from agentkit.gemma4.lexer import THOUGHT, BareCalls, Control, Lexer
from agentkit.gemma4.opencall import OpenCall, Outer
from agentkit.gemma4.tokens import (
    CALL_CLOSE,
    CALL_OPEN,
    CHANNEL_CLOSE,
    CHANNEL_OPEN,
    IDS,
    QUOTE,
    STOP_LITERALS,
)
from agentkit.gemma4.values import Cut

__all__ = ["ParsedReply", "Parser", "ParserEvent", "Truncation", "parse"]

ParserEvent: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta
Truncation: TypeAlias = Cut | Literal["thought"]
"""Where a reply was cut: in a thought, or in a call's name, key, value or string."""

_STOPS: Final = frozenset(STOP_LITERALS)
_ENDS: Final = frozenset((CALL_CLOSE, CALL_OPEN, *STOP_LITERALS))
"""What ends a call outside a string."""


def _by_number(ids: Mapping[str, int]) -> dict[int, Control]:
    return {number: Control(literal) for literal, number in ids.items()}


_CONTROLS: Final = _by_number(IDS)
_SOFT: Final = Control("")
"""In the queue: quotes can be trusted again."""


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """A whole reply.

    Attributes:
        reasoning: The thought, without its channel tokens.
        text: The answer.
        calls: Finished calls; a `malformed` one could not be read.
        truncated: Where the reply ended too early; None when it seems whole.
        cut_call: The call that was cut, if one was: never to be run.
        stop: The stop token that ended the reply, where it was seen.
        leftover: What came behind the stop token.
    """

    reasoning: str = ""
    text: str = ""
    calls: tuple[ParsedCall, ...] = ()
    truncated: Truncation | None = None
    cut_call: ParsedCall | None = None
    stop: str | None = None
    leftover: str = ""


def parse(reply: str, tools: Schemas | None = None, *, in_thought: bool = False) -> ParsedReply:
    """Parse a whole reply at once; see `Parser`."""
    parser = Parser(tools, in_thought=in_thought)
    parser.feed(reply)
    return parser.finish()


class Parser:
    """Takes one reply in any pieces.

    Args:
        tools: Schemas of the tools on offer, to type the arguments by.
        in_thought: The prompt ended inside an open thought (`<|channel>thought`), as it does
            after a tool's answer with thinking on.
        stripped: Also take calls and thoughts whose control tokens a server removed
            (`call:NAME{…}` of a known tool at the start of a line).
        ids: Literal → token id, for `feed_tokens`.
    """

    def __init__(
        self,
        tools: Schemas | None = None,
        *,
        in_thought: bool = False,
        stripped: bool = False,
        ids: Mapping[str, int] = IDS,
    ) -> None:
        self._tools: Schemas = tools or {}
        self._controls = _CONTROLS if ids is IDS else _by_number(ids)
        self._lexer = Lexer()
        self._by_ids = False
        self._state: Literal["text", "thought", "call", "bare", "done"] = "text"
        self._bare = BareCalls(self._tools) if stripped else None
        self._events: list[ParserEvent] = []
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ParsedCall] = []
        self._leftover: list[str] = []
        self._truncated: Truncation | None = None
        self._cut_call: ParsedCall | None = None
        self._stop: str | None = None
        self._at = 0
        self._header: str | None = None  # of a thought, while it may still turn out to be text
        self._newline = ""  # the last one of a thought belongs to its closing token
        self._open = OpenCall()
        self._queue: deque[str] = deque()
        self._hard = False  # every `<tool_call|>` ends a call, in a string or not
        if in_thought:
            self._state = "thought"

    # --- input -----------------------------------------------------------------------------

    def feed(self, text: str) -> list[ParserEvent]:
        """Take the next text; control tokens are found by their spelling."""
        self._by_ids = False
        self._take_all(self._lexer.feed(text))
        return self._drain()

    def feed_tokens(self, ids: Sequence[int], pieces: Sequence[str]) -> list[ParserEvent]:
        """Take the next tokens.

        Args:
            ids: Token ids; the control tokens among them are known by their id alone.
            pieces: The text of each token, as many as ids.
        """
        self._by_ids = True
        known = self._controls
        self._take_all(known.get(number, piece) for number, piece in zip(ids, pieces, strict=False))
        return self._drain()

    def finish(self) -> ParsedReply:
        """The reply, once nothing more comes."""
        self._take_all(self._lexer.flush())
        self._flush_bare()
        # A call that is read to an earlier end leaves pieces that may open another one.
        while self._state in ("call", "bare"):
            self._end_call(closed=False)
            self._take_all(())
            self._flush_bare()
        if self._state == "thought":
            self._truncated = "thought"
            self._emit_reasoning(self._newline)
        return ParsedReply(
            reasoning="".join(self._reasoning),
            text="".join(self._text),
            calls=tuple(self._calls),
            truncated=self._truncated,
            cut_call=self._cut_call,
            stop=self._stop,
            leftover="".join(self._leftover),
        )

    def _drain(self) -> list[ParserEvent]:
        events, self._events = self._events, []
        return events

    # --- states ----------------------------------------------------------------------------

    def _take_all(self, pieces: Iterable[str]) -> None:
        """Take pieces, and whatever a state hands back to be taken again, without recursion."""
        for new in pieces:
            self._queue.append(new)
            while self._queue:
                self._take(self._queue.popleft())
        while self._queue:
            self._take(self._queue.popleft())

    def _take(self, piece: str) -> None:
        if piece is _SOFT:
            self._hard = False
        if not piece:
            return
        self._at += len(piece)
        if self._state == "text":
            self._in_text(piece)
        elif self._state == "thought":
            self._in_thought(piece)
        elif self._state == "call":
            self._in_call(piece)
        elif self._state == "bare":
            self._in_bare_call(piece)
        else:
            self._leftover.append(piece)

    def _take_again(self, pieces: Sequence[str]) -> None:
        self._at -= sum(map(len, pieces))
        self._queue.extendleft(reversed(pieces))

    def _in_text(self, piece: str) -> None:
        if not isinstance(piece, Control):
            self._plain(piece)
            return
        self._flush_bare()
        if piece == CHANNEL_OPEN:
            self._state, self._header, self._newline = "thought", "", ""
        else:
            self._common_control(piece)

    def _in_thought(self, piece: str) -> None:
        if not isinstance(piece, Control):
            self._thought_text(piece)
        elif piece == CHANNEL_CLOSE:
            self._state, self._header, self._newline = "text", None, ""
        elif piece == CHANNEL_OPEN:
            self._header = ""
        else:
            self._common_control(piece)

    def _common_control(self, piece: Control) -> None:
        if piece == CALL_OPEN:
            self._begin_call("call", self._at - len(piece))
        elif piece == QUOTE:
            self._plain_or_thought('"' if self._by_ids else str(piece))
        elif piece in _STOPS:
            if self._state == "thought":
                self._truncated = "thought"
                self._emit_reasoning(self._newline)
            self._state, self._stop = "done", str(piece)
        # Anything else is a stray: closing tokens without an opening one, media, padding.

    def _plain_or_thought(self, text: str) -> None:
        if self._state == "thought":
            self._thought_text(text)
        else:
            self._plain(text)

    def _thought_text(self, text: str) -> None:
        if self._header is not None:
            self._header += text
            if THOUGHT.startswith(self._header):
                return
            text, header = self._header, self._header
            self._header = None
            if header.startswith(THOUGHT):
                text = header[len(THOUGHT) :]
            elif not self._by_ids:  # text about the token, not the token
                self._state = "text"
                self._plain(CHANNEL_OPEN + text)
                return
        text = self._newline + text
        self._newline = "\n" if text.endswith("\n") else ""
        self._emit_reasoning(text.removesuffix("\n"))

    def _plain(self, text: str) -> None:
        if self._bare is None:
            self._emit_text(text)
            return
        before, opening = self._bare.feed(text)
        self._emit_text(before)
        if opening == THOUGHT:
            self._state = "thought"
            self._thought_text(self._bare.take_rest())
        elif opening:
            rest = self._bare.take_rest()
            self._begin_call("bare", self._at - len(opening) - len(rest))
            self._take_again([opening, rest])

    def _flush_bare(self) -> None:
        if self._bare is not None and self._state == "text":
            self._emit_text(self._bare.flush())

    # --- calls -----------------------------------------------------------------------------

    def _begin_call(self, state: Literal["call", "bare"], start: int) -> None:
        outer: Outer = "thought" if self._state == "thought" else "text"
        self._open = OpenCall(start, outer, len(self._calls))
        self._state = state

    def _in_call(self, piece: str) -> None:
        call = self._open
        if not isinstance(piece, Control):
            self._call_text(piece)
        elif piece == QUOTE:
            call.in_string = not call.in_string
            self._call_text(piece)
        elif piece in _ENDS and (self._hard or not call.in_string):
            self._end_call(closed=True, by=piece)
        elif piece in _STOPS:
            self._end_call(closed=False, by=piece)
        else:
            if piece == CALL_CLOSE:
                call.ends.append(len(call.pieces))
            self._call_text(piece)

    def _call_text(self, piece: str) -> None:
        call = self._open
        call.pieces.append(piece)
        searching = call.name is None
        shown = call.show(str(piece))
        if searching and not self._by_ids and not call.may_be_call():
            self._give_up_call()
        elif shown:
            self._events.append(ToolCallDelta(call.index, *shown))

    def _give_up_call(self) -> None:
        """What followed `<|tool_call>` is no call: it was text about the token."""
        call = self._open
        self._state = call.outer
        self._plain_or_thought(CALL_OPEN)
        self._take_again(call.pieces)

    def _in_bare_call(self, piece: str) -> None:
        call = self._open
        if isinstance(piece, Control) and piece != QUOTE:
            self._end_call(closed=piece == CALL_CLOSE, by=piece)
            return
        if isinstance(piece, Control):
            call.in_string = not call.in_string
            self._call_text(piece)
            return
        end = call.closing_brace(piece)
        self._call_text(piece if end is None else piece[:end])
        if end is not None:
            self._end_call(closed=True)
            self._take_again([piece[end:]])

    def _end_call(self, *, closed: bool, by: Control | None = None) -> None:
        """Read the open call; `by` is the token that ended it, if one did."""
        call = self._open
        reading, used = self._best_reading(call, closed=closed)
        rest = call.pieces[used:]
        parsed = self._parsed(call, reading, used, CALL_CLOSE if rest or by == CALL_CLOSE else "")
        self._state = "text"
        if reading.arguments is None and not closed:
            self._truncated, self._cut_call = self._where(reading), parsed
        else:
            self._calls.append(parsed)
        if rest:
            # Quotes cannot be trusted behind this call, so its rest is taken by tokens alone.
            self._hard = True
            self._take_again([*rest[1:], *([by] if by else []), _SOFT])
        elif by and by != CALL_CLOSE:
            self._take_again([by])

    def _where(self, reading: CallReading) -> Cut:
        return reading.cut or ("string" if self._open.in_string else "value")

    def _parsed(self, call: OpenCall, reading: CallReading, used: int, closing: str) -> ParsedCall:
        opening = CALL_OPEN if self._state == "call" else ""
        raw = f"{opening}{''.join(call.pieces[:used])}{closing}"
        end = call.start + len(raw)
        if reading.arguments is None:
            return ParsedCall(reading.name, {}, raw, call.start, end, malformed=raw)
        return ParsedCall(reading.name, reading.arguments, raw, call.start, end)

    def _best_reading(self, call: OpenCall, *, closed: bool) -> tuple[CallReading, int]:
        """The reading up to the end, or up to the first earlier place that could be the end."""
        everything = len(call.pieces)
        whole = read_call(call.pieces, self._tools, closed=closed)
        if not closed and whole.arguments is not None and not whole.whole:
            whole = CallReading(whole.name, cut="value")
        end = call.early_end()
        if end is None or (whole.arguments is not None and not whole.misfit):
            return whole, everything
        early = read_call(call.pieces[:end], self._tools, closed=True)
        if early.arguments is None:
            return whole, everything
        if whole.arguments is not None and whole.misfit <= early.misfit:
            return whole, everything
        return early, end

    # --- output ----------------------------------------------------------------------------

    def _emit_text(self, text: str) -> None:
        if text:
            self._text.append(text)
            self._events.append(TextDelta(text))

    def _emit_reasoning(self, text: str) -> None:
        if text:
            self._reasoning.append(text)
            self._events.append(ReasoningDelta(text))
