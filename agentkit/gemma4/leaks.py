"""Native calls that a server delivered as plain text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from agentkit.gemma4.calls import ParsedCall, Schemas, free_character, read_call
from agentkit.gemma4.lexer import Control
from agentkit.gemma4.tokens import CALL_CLOSE, CALL_OPEN, QUOTE

__all__ = ["find_leaked_calls"]

_MAX_LEAKS: Final = 64
"""A text with more of them is not a set of calls but something else gone wrong."""


def find_leaked_calls(
    text: str, known_names: Collection[str], tools: Schemas | None = None
) -> list[ParsedCall]:
    """Native calls that arrived as plain text, because a server's parser missed their tokens.

    Only calls of known tools count, and only outside quotes and code, where a model talks *about*
    calls.

    Args:
        text: What the server delivered as the answer.
        known_names: Names of the tools on offer.
        tools: Schemas to type the arguments by.
    """
    names = "|".join(re.escape(name) for name in known_names)
    if not names or "call:" not in text:
        return []
    mark = free_character(text)
    flat = text.replace(QUOTE, mark)
    opening = re.compile(rf"(?:{re.escape(CALL_OPEN)}\s*)?call:(?:{names})\s*\{{")
    found: list[ParsedCall] = []
    for match in _limited(opening.finditer(flat)):
        if (found and match.start() < found[-1].end) or _is_quoted(flat, match.start()):
            continue
        call = _leaked(flat, mark, match.start(), tools or {})
        if call:
            found.append(call)
    return [_in_text(call, flat, mark) for call in found]


def _limited(matches: Iterator[re.Match[str]]) -> Iterator[re.Match[str]]:
    for _, match in zip(range(_MAX_LEAKS), matches, strict=False):
        yield match


def _leaked(flat: str, mark: str, start: int, tools: Schemas) -> ParsedCall | None:
    begin = start + (len(CALL_OPEN) if flat.startswith(CALL_OPEN, start) else 0)
    closing = flat.find(CALL_CLOSE, begin)
    pieces = [flat[begin:]]
    reading = read_call(_marked(pieces[0], mark), tools, closed=False)
    end = begin + reading.end
    if reading.arguments is None and closing >= 0:
        reading = read_call(_marked(flat[begin:closing], mark), tools, closed=True)
        end = closing
    if reading.arguments is None:
        return None
    if flat.startswith(CALL_CLOSE, end):
        end += len(CALL_CLOSE)
    return ParsedCall(reading.name, reading.arguments, flat[start:end], start, end)


def _marked(text: str, mark: str) -> Iterator[str]:
    """Pieces with the quote token as `Control` again."""
    for at, piece in enumerate(text.split(mark)):
        if at:
            yield Control(QUOTE)
        yield piece


def _in_text(call: ParsedCall, flat: str, mark: str) -> ParsedCall:
    """The call with positions of the text before its quote tokens became one character."""
    growth = len(QUOTE) - 1
    return replace(
        call,
        raw=call.raw.replace(mark, QUOTE),
        start=call.start + growth * flat.count(mark, 0, call.start),
        end=call.end + growth * flat.count(mark, 0, call.end),
    )


def _is_quoted(text: str, at: int) -> bool:
    if text.count("```", 0, at) % 2:
        return True
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line.count("`") % 2 == 1 or line[-1:] in ('"', "'", "“", "«")
