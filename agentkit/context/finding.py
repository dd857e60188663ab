"""Finds the lines of a text that hold the most of some words. Words only: no pattern can explode.

In: a text of any length, and words. Out: the lines that hold most of them, without regard to case.
A long line, such as JSON without line ends, is looked through in pieces, so that what is shown of a
match is always short.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

_PIECE: Final = 400
"""Characters of a line that are taken for one at most."""

_BLOCK: Final = 32_768
"""Characters that are looked through at once: none of the words in them, and no line needs a look.
The interpreter can turn to other threads in between."""


@dataclass(frozen=True, slots=True)
class Match:
    """A line, or a piece of a long one, that holds some of the words.

    Attributes:
        start: The character at which it begins.
        end: The character behind its last one.
        line: The number of the line, from 1.
        words: How many of the words it holds.
    """

    start: int
    end: int
    line: int
    words: int


@dataclass(slots=True)
class Matches:
    """Those lines that hold the most of the words, in order.

    Attributes:
        words: How many of the words each of them holds; 0 where no line holds any.
        count: How many there are.
        first: The first ones of them.
    """

    words: int
    count: int
    first: list[Match]


def words_of(text: str) -> tuple[str, ...]:
    """The words to look for, each once, as they are compared."""
    return tuple(dict.fromkeys(text.casefold().split()))


def best_lines(
    text: str, words: Sequence[str], most: int, *, least: int = 1, looks: int | None = None
) -> Matches:
    """The lines that hold the most of the words.

    Args:
        text: Where to look.
        words: As `words_of` gives them.
        most: How many matches are kept.
        least: Lines that hold fewer of the words are passed over.
        looks: Most lines that are looked at one by one; all of them by default.
    """
    best = Matches(0, 0, [])
    for start, end, line in islice(_lines_to_look_at(text, words), looks):
        for at in range(start, max(end, start + 1), _PIECE):
            piece_end = min(at + _PIECE, end)
            # A word that goes on in the next piece of the same line is found in this one.
            reach = min(piece_end + max(map(len, words)), end)
            folded = text[at:reach].casefold()
            held = sum(word in folded for word in words)
            if held < max(least, best.words):
                continue
            if held > best.words:
                best = Matches(held, 0, [])
            best.count += 1
            if len(best.first) < most:
                best.first.append(Match(at, piece_end, line, held))
    return best


def _lines_to_look_at(text: str, words: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Start, end and number of each line that may hold one of the words."""
    at, number = 0, 1
    while at < len(text) and words:
        block_end = text.find("\n", at + _BLOCK)
        block_end = len(text) if block_end < 0 else block_end + 1
        if _holds_any(text, at, block_end, words):
            while at < block_end:
                end = text.find("\n", at, block_end)
                end = block_end if end < 0 else end
                yield at, end, number
                at, number = end + 1, number + 1
        else:
            number += text.count("\n", at, block_end)
        at = block_end


def _holds_any(text: str, start: int, end: int, words: Sequence[str]) -> bool:
    overlap = max(map(len, words))
    for at in range(start, end, _BLOCK):
        folded = text[at : min(at + _BLOCK + overlap, end)].casefold()
        if any(word in folded for word in words):
            return True
    return False


def around(text: str, match: Match, lines: int) -> tuple[int, int]:
    """Start and end of the match with so many lines before and after it, as far as none is long."""
    start, end = match.start, match.end
    for _ in range(lines):
        if start and text[start - 1] == "\n":
            low = max(start - 1 - _PIECE, 0)
            before = text.rfind("\n", low, start - 1)
            start = before + 1 if before >= 0 else start if low else 0
        if end < len(text) and text[end] == "\n":
            high = min(end + 1 + _PIECE, len(text))
            after = text.find("\n", end + 1, high)
            end = after if after >= 0 else end if high < len(text) else high
    return start, end
