"""Cutting a reply's text into control tokens and text, and finding calls that lost theirs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from agentkit.gemma4.tokens import (
    CALL_CLOSE,
    CALL_OPEN,
    CHANNEL_CLOSE,
    CHANNEL_OPEN,
    QUOTE,
    STOP_LITERALS,
)

__all__ = ["THOUGHT", "BareCalls", "Control", "Lexer"]

THOUGHT: Final = "thought\n"
"""The name of the only channel there is, and the end of its line."""

_STOPS: Final = frozenset(STOP_LITERALS)


class Control(str):
    """A control token, as opposed to text that is spelled like one."""

    __slots__ = ()


class Lexer:
    """Cuts text at control literals, holding back what may become one.

    A stop literal with more text behind it did not stop anything, so it is text.
    """

    _find = re.compile(
        "|".join(
            map(
                re.escape,
                (CHANNEL_OPEN, CHANNEL_CLOSE, CALL_OPEN, CALL_CLOSE, QUOTE, *STOP_LITERALS),
            )
        )
    )
    _literals = (CHANNEL_OPEN, CHANNEL_CLOSE, CALL_OPEN, CALL_CLOSE, QUOTE, *STOP_LITERALS)

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> Iterator[str]:
        """The pieces that are certain now, control tokens as `Control`."""
        text, self._held = self._held + text, ""
        at = 0
        for found in self._find.finditer(text):
            if found.start() > at:
                yield text[at : found.start()]
            at = found.end()
            if found[0] not in _STOPS:
                yield Control(found[0])
            elif at == len(text):
                self._held = found[0]
            else:
                yield found[0]
        tail = text[at:]
        cut = tail.rfind("<")
        if cut >= 0 and any(literal.startswith(tail[cut:]) for literal in self._literals):
            tail, self._held = tail[:cut], tail[cut:]
        if tail:
            yield tail

    def flush(self) -> Iterator[str]:
        """What was held back, once no more text comes."""
        held, self._held = self._held, ""
        if held:
            yield Control(held) if held in _STOPS else held


class BareCalls:
    """Finds calls and thoughts in text that lost its control tokens, at the start of a line."""

    _MAX_INDENT: Final = 8

    def __init__(self, names: Iterable[str]) -> None:
        self._openings = tuple(f"call:{name}{brace}" for name in names for brace in "{(")
        openings = "|".join(map(re.escape, self._openings)) or "(?!)"
        self._find = re.compile(rf"^[ \t]{{0,{self._MAX_INDENT}}}(?:{openings})", re.MULTILINE)
        self._held = ""
        self._rest = ""
        self._first = True
        self._at_line_start = True

    def feed(self, text: str) -> tuple[str, str]:
        """Text that is certainly text, and the opening of a call or thought if one follows."""
        text, self._held = self._held + text, ""
        if self._first and text.startswith(THOUGHT):
            return self._opened(text, 0, len(THOUGHT))
        if self._first and THOUGHT.startswith(text):
            self._held = text
            return "", ""
        found = self._find.search(text)
        if found and found.start() == 0 and not self._at_line_start:
            found = self._find.search(text, 1)
        if found:
            return self._opened(text, found.start(), found.end())
        return self._hold(text), ""

    def _opened(self, text: str, start: int, end: int) -> tuple[str, str]:
        self._first, self._at_line_start, self._rest = False, True, text[end:]
        return text[:start], text[start:end]

    def _hold(self, text: str) -> str:
        self._first = False
        line = text.rfind("\n") + 1
        starts_line = line > 0 or self._at_line_start
        tail = text[line:]
        start = tail.lstrip(" \t")
        indent = len(tail) - len(start)
        if starts_line and indent <= self._MAX_INDENT and self._may_open(start):
            self._held, self._at_line_start = tail, True
            return text[:line]
        self._at_line_start = False
        return text

    def _may_open(self, start: str) -> bool:
        return any(opening.startswith(start) for opening in self._openings)

    def take_rest(self) -> str:
        """What stood behind the opening."""
        rest, self._rest = self._rest, ""
        return rest

    def flush(self) -> str:
        """What was held back; the next text starts a line."""
        held, self._held = self._held, ""
        self._first, self._at_line_start = self._first and not held, True
        return held
