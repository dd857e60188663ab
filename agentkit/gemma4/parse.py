r"""A reply in Gemma 4's own syntax → reasoning, text and calls: incremental, without I/O.

    <|channel>thought\n…<channel|>text<|tool_call>call:NAME{k:<|"|>v<|"|>}<tool_call|>

Feed it tokens where their ids are known: then a control token is what has its id, and text that
merely looks like one stays text. Feed it text where a grammar constrained the reply or no ids are
known: then a control token is what is spelled like one. Every input gives a result; none raises.

A piece of a reply is text or a control token, and the parser is always in one of four states:

    state      a text there is   what leads out of it
    text       the answer        <|channel> to reasoning, <|tool_call> to call, a stop to done
    reasoning  reasoning         <channel|> to text, a stop to done
    call       the call          <tool_call|> to text, <|tool_call> to the next call, a stop to done
    done       left over         nothing

Outside a string the closing token ends a call. Inside one it may be text that the model wrote about
the format, or the model forgot the quote. So the places are kept, and when the call has ended, the
first of them ends it only where what goes beyond it cannot be read exactly: then the pieces behind
it go back into the queue and are taken again, and until they are through quotes are not trusted and
every closing token ends a call. An opening token, known by its id, begins a call wherever it
stands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from agentkit.events import ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.gemma4.calls import ParsedCall, Schemas, header_of, read_calls
from agentkit.gemma4.exact import Cut
from agentkit.gemma4.tokens import (
    CALL_CLOSE,
    CALL_OPEN,
    CHANNEL_CLOSE,
    CHANNEL_OPEN,
    IDS,
    QUOTE,
    STOP_LITERALS,
    THOUGHT,
    Control,
    Lexer,
)

ParserEvent: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta
Truncation: TypeAlias = Cut | Literal["reasoning"]
"""Where a reply was cut: in its reasoning, or in a call's name, key, value or string."""

_STOPS: Final = frozenset(STOP_LITERALS)
_ENDS: Final = frozenset((CALL_CLOSE, CALL_OPEN, *STOP_LITERALS))
"""What ends a call outside a string."""
_CONTROLS: Final[Mapping[int, Control]] = {
    number: Control(literal) for literal, number in IDS.items()
}
_TEXT: Final = -1
"""Stands for the id of any ordinary token."""
_ENDING_IDS: Final = frozenset(IDS[literal] for literal in _ENDS)
_TRUST_QUOTES: Final = Control("")
"""Stands in the queue behind pieces that are taken again: from there quotes can be trusted."""
_LONGEST_HEADER: Final = 256
"""Characters; a spelled opening token with no brace behind it for longer was text."""


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """A whole reply.

    Attributes:
        reasoning: The text of the model's thinking, without its channel tokens.
        text: The answer.
        calls: Finished calls; a `malformed` one could not be read.
        truncated: The place at which the reply ended too early; None when it seems whole.
        cut_call: The call that was cut, if one was: never to be run.
        stop: The stop token that ended the reply, where it was seen.
        leftover: What came behind the stop token.
        call_in_reasoning: A call was begun inside open reasoning. It is no call, and what the reply
            was to be is unknown.
    """

    reasoning: str = ""
    text: str = ""
    calls: tuple[ParsedCall, ...] = ()
    truncated: Truncation | None = None
    cut_call: ParsedCall | None = None
    stop: str | None = None
    leftover: str = ""
    call_in_reasoning: bool = False

    @property
    def only_calls(self) -> bool:
        """Whether the reply is calls and nothing else, reasoning and white space aside."""
        return bool(self.calls) and not self.text.strip() and self.truncated is None


def parse(reply: str, tools: Schemas | None = None, *, in_reasoning: bool = False) -> ParsedReply:
    """Parse a whole reply by its spelling; see `Parser`."""
    parser = Parser(tools, in_reasoning=in_reasoning)
    parser.feed(reply)
    return parser.finish()


def parse_tokens(
    ids: Sequence[int],
    pieces: Sequence[str],
    tools: Schemas | None = None,
    *,
    in_reasoning: bool = False,
    constrained: bool = False,
) -> ParsedReply:
    """Parse a whole reply by its token ids; see `Parser`.

    Args:
        ids: Token ids.
        pieces: The text of each token.
        tools: Schemas of the tools on offer.
        in_reasoning: The prompt ended inside open reasoning.
        constrained: A grammar held the calls. It works on characters, so inside a call, which only
            the token opens, the other control tokens may be spelled.
    """
    parser = Parser(tools, in_reasoning=in_reasoning)
    if constrained:
        ids, pieces = _spelled_inside(ids, pieces)
    parser.feed_tokens(ids, pieces)
    return parser.finish()


def _spelled_inside(ids: Sequence[int], pieces: Sequence[str]) -> tuple[list[int], list[str]]:
    """The tokens, with those literals that are spelled inside a call as tokens."""
    changed: list[tuple[int, str]] = []
    lexer: Lexer | None = None
    looked = quotes = 0  # how far the newest call was looked at, and its quotes up to there
    for number, piece in zip(ids, pieces, strict=False):
        if lexer is not None and number == IDS[CALL_OPEN]:
            quotes += sum(seen == IDS[QUOTE] for seen, _ in changed[looked:])
            looked = len(changed)
            if quotes % 2:
                changed.append((_TEXT, piece))  # the grammar lets a text spell it
                continue
        if lexer is None or number in _CONTROLS:
            changed += _literals(lexer.flush() if lexer else ())
            changed.append((number, piece))
            if number in _ENDING_IDS:
                lexer = Lexer() if number == IDS[CALL_OPEN] else None
                looked, quotes = len(changed), 0
            continue
        changed += (parts := _literals(lexer.feed(piece)))
        if any(part == IDS[CALL_CLOSE] for part, _ in parts):
            changed += _literals(lexer.flush())
            lexer = None
    changed += _literals(lexer.flush() if lexer else ())
    return [number for number, _ in changed], [piece for _, piece in changed]


def _literals(parts: Iterable[str]) -> list[tuple[int, str]]:
    """Pieces of a lexer as tokens; only those literals count that can stand inside a call."""
    tokens: list[tuple[int, str]] = []
    for part in parts:
        counts = isinstance(part, Control) and part in (QUOTE, CALL_CLOSE)
        tokens.append((IDS[part] if counts else _TEXT, str(part)))
    return tokens


@dataclass(slots=True)
class _OpenCall:
    """The call that is being written.

    Attributes:
        index: Which call of the reply it is, from 0.
        pieces: Everything behind `<|tool_call>`.
        ends: Positions in `pieces` of each control token inside a string that could be its end.
        in_string: The quote token was seen an odd number of times.
        head: What came before the name was known.
        name: The tool's name, once its brace has come.
    """

    index: int = 0
    pieces: list[str] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    in_string: bool = False
    head: str = ""
    name: str | None = None

    def show(self, piece: str) -> tuple[str, str] | None:
        """Name and further argument text, once the name is known."""
        if self.name is not None:
            return self.name, piece
        self.head += piece
        if "{" not in piece and "(" not in piece:
            return None
        if (found := header_of(self.head)) is None:
            return None
        self.name = found[0]
        return self.name, self.head[found[1] :]

    def may_be_call(self) -> bool:
        """Whether the beginning looks like `call:NAME{` or a JSON call, however it was cut."""
        head = self.head.lstrip()
        length = min((at for at in (head.find("{"), head.find("(")) if at >= 0), default=len(head))
        return length < _LONGEST_HEADER and ("call:".startswith(head[:5]) or head[0] in ":{")


class Parser:
    """Takes one reply in any pieces.

    Args:
        tools: Schemas of the tools on offer, to type the arguments by.
        in_reasoning: The prompt ended inside open reasoning (`<|channel>thought`), as it does
            after a tool's answer with thinking on.
    """

    def __init__(self, tools: Schemas | None = None, *, in_reasoning: bool = False) -> None:
        self._tools: Schemas = tools or {}
        self._lexer = Lexer()
        self._by_ids = False
        self._state: Literal["text", "reasoning", "call", "done"] = "text"
        self._events: list[ParserEvent] = []
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ParsedCall] = []
        self._leftover: list[str] = []
        self._truncated: Truncation | None = None
        self._cut_call: ParsedCall | None = None
        self._stop: str | None = None
        self._call_in_reasoning = False
        self._header: str | None = None  # of reasoning, while it may still turn out to be text
        self._newline = ""  # the last line end of reasoning belongs to its closing token
        self._open = _OpenCall()
        self._queue: deque[str] = deque()
        self._quotes_untrusted = False  # every control token ends a call, in a string or not
        if in_reasoning:
            self._state = "reasoning"

    # --- input -----------------------------------------------------------------------------------

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
        self._take_all(
            _CONTROLS.get(number, piece) for number, piece in zip(ids, pieces, strict=False)
        )
        return self._drain()

    def finish(self) -> ParsedReply:
        """The reply, once nothing more comes."""
        self._take_all(self._lexer.flush())
        # A call that is read to an earlier end leaves pieces that may open another one.
        while self._state == "call":
            self._end_call(closed=False)
            self._take_all(())
        if self._state == "reasoning":
            self._truncated = "reasoning"
            self._emit_reasoning(self._newline)
        return ParsedReply(
            reasoning="".join(self._reasoning),
            text="".join(self._text),
            calls=tuple(self._calls),
            truncated=self._truncated,
            cut_call=self._cut_call,
            stop=self._stop,
            leftover="".join(self._leftover),
            call_in_reasoning=self._call_in_reasoning,
        )

    def _drain(self) -> list[ParserEvent]:
        events, self._events = self._events, []
        return events

    # --- states ----------------------------------------------------------------------------------

    def _take_all(self, pieces: Iterable[str]) -> None:
        """Take pieces, and whatever a state hands back to be taken again, without recursion."""
        for new in pieces:
            self._queue.append(new)
            while self._queue:
                self._take(self._queue.popleft())
        while self._queue:
            self._take(self._queue.popleft())

    def _take(self, piece: str) -> None:
        if piece is _TRUST_QUOTES:
            self._quotes_untrusted = False
        if not piece:
            return
        if self._state == "text":
            self._in_text(piece)
        elif self._state == "reasoning":
            self._in_reasoning(piece)
        elif self._state == "call":
            self._in_call(piece)
        else:
            self._leftover.append(piece)

    def _in_text(self, piece: str) -> None:
        if not isinstance(piece, Control):
            self._emit_text(piece)
        elif piece == CHANNEL_OPEN:
            self._state, self._header, self._newline = "reasoning", "", ""
        elif piece == CALL_OPEN:
            self._open = _OpenCall(len(self._calls))
            self._state = "call"
        else:
            self._common_control(piece)

    def _in_reasoning(self, piece: str) -> None:
        if not isinstance(piece, Control):
            self._reasoning_text(piece)
        elif piece == CHANNEL_CLOSE:
            self._state, self._header, self._newline = "text", None, ""
        elif piece == CHANNEL_OPEN:
            self._header = ""
        elif piece in (CALL_OPEN, CALL_CLOSE):
            self._call_in_reasoning |= self._by_ids and piece == CALL_OPEN
            self._reasoning_text(str(piece))
        else:
            self._common_control(piece)

    def _common_control(self, piece: Control) -> None:
        if piece == QUOTE:
            text = '"' if self._by_ids else str(piece)
            if self._state == "reasoning":
                self._reasoning_text(text)
            else:
                self._emit_text(text)
        elif piece in _STOPS:
            if self._state == "reasoning":
                self._truncated = "reasoning"
                self._emit_reasoning(self._newline)
            self._state, self._stop = "done", str(piece)
        # Anything else is a stray: closing tokens without an opening one, media, padding.

    def _reasoning_text(self, text: str) -> None:
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
                self._emit_text(CHANNEL_OPEN + text)
                return
        text = self._newline + text
        self._newline = "\n" if text.endswith("\n") else ""
        self._emit_reasoning(text.removesuffix("\n"))

    # --- calls -----------------------------------------------------------------------------------

    def _in_call(self, piece: str) -> None:
        call = self._open
        if not isinstance(piece, Control):
            self._call_text(piece)
        elif piece == QUOTE:
            call.in_string = not call.in_string
            self._call_text(piece)
        elif piece in _STOPS:
            self._end_call(closed=False, by=piece)
        elif piece in (CALL_CLOSE, CALL_OPEN):
            begins_a_call = self._by_ids and piece == CALL_OPEN
            if call.in_string and not self._quotes_untrusted and not begins_a_call:
                call.ends.append(len(call.pieces))
                self._call_text(piece)
            else:
                self._end_call(closed=True, by=piece)
        else:
            self._call_text(piece)

    def _call_text(self, piece: str) -> None:
        call = self._open
        call.pieces.append(piece)
        searching = call.name is None
        shown = call.show(str(piece))
        if searching and not self._by_ids and not call.may_be_call():
            # What followed the spelled `<|tool_call>` is no call: it was text about the token.
            self._state = "text"
            self._emit_text(CALL_OPEN)
            self._queue.extendleft(reversed(call.pieces))
        elif shown:
            self._events.append(ToolCallDelta(call.index, *shown))

    def _end_call(self, *, closed: bool, by: Control | None = None) -> None:
        """Read the open call; `by` is the token that ended it, if one did."""
        call = self._open
        self._state = "text"
        readings = read_calls(call.pieces, self._tools, closed=closed and not call.ends)
        rest: list[str] = []
        if call.ends and any(reading.arguments is None for reading in readings):
            first = call.ends[0]
            readings = read_calls(call.pieces[:first], self._tools, closed=True)
            end, *rest = call.pieces[first:]
            rest = rest if end == CALL_CLOSE else [end, *rest]
            closed = True
        closing = CALL_CLOSE if closed and by != CALL_OPEN else ""
        for reading in readings:
            raw = f"{CALL_OPEN}{reading.raw}{closing}"
            if reading.arguments is None:
                parsed = ParsedCall(reading.name, {}, raw, raw)
            else:
                damage = tuple(sorted(reading.damage))
                parsed = ParsedCall(reading.name, reading.arguments, raw, None, damage)
            if reading.arguments is None and not closed:
                self._truncated = reading.cut or "value"
                self._cut_call = parsed
            else:
                self._calls.append(parsed)
        if rest:
            # Quotes cannot be trusted behind this call, so its rest is taken by tokens alone.
            self._quotes_untrusted = True
            self._queue.extendleft(reversed([*rest, *([by] if by else []), _TRUST_QUOTES]))
        elif by and by != CALL_CLOSE:
            self._queue.appendleft(by)

    # --- output ----------------------------------------------------------------------------------

    def _emit_text(self, text: str) -> None:
        if text:
            self._text.append(text)
            self._events.append(TextDelta(text))

    def _emit_reasoning(self, text: str) -> None:
        if text:
            self._reasoning.append(text)
            self._events.append(ReasoningDelta(text))
