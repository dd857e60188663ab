"""Cutting a reply's text into control tokens and text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agentkit.gemma4.tokens import (
    CALL_CLOSE,
    CALL_OPEN,
    CHANNEL_CLOSE,
    CHANNEL_OPEN,
    QUOTE,
    STOP_LITERALS,
)

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
