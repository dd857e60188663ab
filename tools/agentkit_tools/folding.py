r"""Defines, for all tools, when two pieces of text look alike.

A model remembers a text by how it looks, so a piece that it wants to replace or to find may be
spelled differently in the file. Two spellings are the same under these foldings:

| folding | what is one and the same |
|---|---|
| normal form | a character composed (NFC) and decomposed (NFD), Hangul syllables and their jamo |
| line ends | `\n`, `\r\n`, `\r`, NEL, LS and PS |
| spaces | a space, NBSP and the other spaces of a fixed width, U+3000 |
| quotes | `'` and U+2018 to U+201B, U+2032, U+02BC; `"` and U+201C to U+201F, U+2033 |
| dashes | `-` and U+2010 to U+2015, U+2212 and the small and full-width hyphens |
| ellipsis | `...` and U+2026 |
| widths | full-width forms and ASCII, half-width katakana and hangul and the full ones; ligatures |
| invisible | zero-width characters, soft hyphens, marks of direction, variation selectors |
| blanks | one space and any run of spaces, tabs, form feeds, within a line |
| line's end | blanks before a line's end and none |

The first eight are `LOOK`; with the last two they are `BLANKS`. Letter case, other scripts' letters
that look alike, and digits of another script are never folded: they are other characters. The
indentation of a line is no folding: `agentkit_tools.edits` compares it line by line.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final

from agentkit.wording import normalized


class Folding(Enum):
    """How much is folded; each level includes the ones before."""

    NONE = 0
    LOOK = 1
    BLANKS = 2


@dataclass(frozen=True, slots=True)
class Folded:
    """A folded text that knows where each part of it was in its source.

    Only the pieces that folding changed are recorded: everything between them is unchanged. A piece
    that folding removed is empty in the folded text, so a position there has one source position
    before the piece (`end`) and one behind it (`begin`).

    Attributes:
        text: The folded text.
        begins: Where each changed piece begins in it.
        ends: Where each changed piece ends in it.
        sources: Where each changed piece begins in the source.
        source_ends: Where each changed piece ends in the source.
    """

    text: str
    begins: Sequence[int] = ()
    ends: Sequence[int] = ()
    sources: Sequence[int] = ()
    source_ends: Sequence[int] = ()

    def begin(self, position: int) -> int | None:
        """The source position of what begins at a position; None inside a changed piece."""
        at = bisect_right(self.begins, position) - 1
        if at < 0:
            return position
        if position < self.ends[at]:
            return self.sources[at] if position == self.begins[at] else None
        return self.source_ends[at] + position - self.ends[at]

    def end(self, position: int) -> int | None:
        """The source position of what ends at a position; None inside a changed piece."""
        at = bisect_left(self.begins, position) - 1
        if at < 0:
            return position
        if position < self.ends[at]:
            return None
        return self.source_ends[at] + position - self.ends[at]

    def around(self, source: int) -> tuple[int, int]:
        """The folded position of a source position, twice.

        Inside a changed piece no single one exists: then where that piece begins and ends.
        """
        at = bisect_right(self.sources, source) - 1
        if at < 0:
            return source, source
        if source >= self.source_ends[at]:
            position = self.ends[at] + source - self.source_ends[at]
            return position, position
        begin = self.begins[at]
        return begin, begin if source == self.sources[at] else self.ends[at]


def fold(text: str, folding: Folding) -> Folded:
    """Folds a text, and records where each changed piece was."""
    if folding is Folding.NONE:
        return Folded(text)
    pieces: list[tuple[int, int, int, int]] = []
    parts: list[str] = []
    length = at = 0
    for found in _pattern(folding, text.isascii()).finditer(text):
        piece = _folded_piece(found, text)
        if piece == found[0]:
            continue
        begin, end = found.span()
        parts += [text[at:begin], piece]
        length += begin - at
        pieces.append((length, length + len(piece), begin, end))
        length += len(piece)
        at = end
    return Folded("".join([*parts, text[at:]]), *map(list, zip(*pieces, strict=True)))


def folded(text: str, folding: Folding = Folding.LOOK) -> str:
    """Folds a text."""
    return fold(text, folding).text


def find(wanted: str, line: str) -> int:
    """Finds in a line what looks like `wanted`, which is folded under `BLANKS`; -1 if nothing."""
    there = fold(line, Folding.BLANKS)
    found = there.text.find(wanted)
    return -1 if found < 0 else there.begin(found) or 0


def continues(text: str, position: int) -> bool:
    """Whether a position is inside of what a reader takes for one character.

    These are the positions before a combining mark, in a line end of two characters, within a
    Hangul syllable of several jamo, at the joiner of an emoji, and behind a byte that could not be
    decoded, since the next byte may be its second half.
    """
    if not 0 < position < len(text):
        return False
    before, here = text[position - 1], text[position]
    if here.isascii():
        return (before == "\r" and here == "\n") or "\udc80" <= before <= "\udcff"
    return before == _JOINER or "\udc80" <= before <= "\udcff" or here in _continuing()


# --- the foldings ------------------------------------------------------------------------------

_JOINER = "\u200d"
_BLANK = " \t\v\f\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_LINE_END = "\n\r\x85\u2028\u2029"
_INVISIBLE: Final = (
    *(0xAD, 0x34F, 0x61C, 0x180E, 0xFEFF),
    *range(0x200B, 0x2010),  # zero-width space, joiners, marks of direction
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2065),
    *range(0x2066, 0x206A),
    *range(0xFE00, 0xFE10),  # variation selectors
    *range(0xE0100, 0xE01F0),
)


@cache
def _alike() -> dict[int, str]:
    """Code point → what that character alone is folded to."""
    table = dict.fromkeys(_INVISIBLE, "")
    table |= dict.fromkeys((0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " ")
    table |= dict.fromkeys((*range(0x2018, 0x201C), 0x2032, 0x2BC), "'")
    table |= dict.fromkeys((*range(0x201C, 0x2020), 0x2033), '"')
    table |= dict.fromkeys((*range(0x2010, 0x2016), 0x2212, 0xFE58, 0xFE63), "-")
    table |= dict.fromkeys((0x85, 0x2028, 0x2029), "\n")
    table[0x2026] = "..."
    for code in (*range(0xFB00, 0xFB07), *range(0xFF01, 0xFFEF)):  # ligatures; widths
        table[code] = unicodedata.normalize("NFKC", chr(code))
    return table


@cache
def _tables() -> tuple[str, str, frozenset[str]]:
    """The combining marks, and the single characters that NFC replaces, as character classes.

    The marks are also returned as a set. Beyond plane 1, only ideographs and variation selectors
    are looked at: there is nothing else.
    """
    marks: list[str] = []
    single: list[str] = []
    for code in (*range(0x80, 0x20000), *range(0x2F800, 0x2FA20), *range(0xE0100, 0xE01F0)):
        character = chr(code)
        if unicodedata.category(character).startswith("M"):
            marks.append(character)
        elif unicodedata.normalize("NFC", character) != character and code not in _SURROGATES:
            single.append(character)
    marks += ["\uff9e", "\uff9f"]  # half-width marks of katakana
    return _ranges(marks), _ranges(single), frozenset(marks)


_SURROGATES = range(0xD800, 0xE000)


@cache
def _continuing() -> frozenset[str]:
    """Characters that belong to the one before them."""
    jamo = map(chr, range(0x1160, 0x1200))  # vowels and finals
    tones = map(chr, range(0x1F3FB, 0x1F400))  # of skin, behind an emoji
    return _tables()[2] | {_JOINER, *jamo, *tones}


def _ranges(characters: list[str]) -> str:
    """The inside of a character class."""
    made: list[str] = []
    begin = last = characters[0]
    for character in [*characters[1:], chr(sys.maxunicode)]:
        if ord(character) == ord(last) + 1:
            last = character
            continue
        made.append(f"{begin}-{last}")
        begin = last = character
    return "".join(made)


@cache
def _pattern(folding: Folding, ascii_only: bool) -> re.Pattern[str]:
    """Matches every piece that folding may change; the groups `end` and `run` are blanks."""
    blank = " \t\v\f" if ascii_only else _BLANK
    line_end = "\n\r" if ascii_only else _LINE_END
    rungs: list[str] = []
    if folding is Folding.BLANKS:
        rungs += [
            rf"(?P<end>[{blank}]++(?=[{line_end}]|\Z))",
            rf"(?P<run>[{blank}]{{2,}}|[\t\v\f])",
        ]
    rungs.append(r"\r\n?")
    if not ascii_only:
        marks, single, _ = _tables()
        alike = _ranges([chr(code) for code in sorted(_alike())])
        rungs += [
            rf"[^\r\n{marks}][{marks}]+",
            r"[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?|[\uac00-\ud7a3][\u11a8-\u11c2]",
            rf"[{alike}{single}]",
        ]
    return re.compile("|".join(rungs))


def _folded_piece(found: re.Match[str], text: str) -> str:
    piece = found[0]
    if piece in ("\r\n", "\r"):
        return "\n"
    if found.lastgroup == "end":
        return ""
    if found.lastgroup == "run":
        begins_line = not found.start() or text[found.start() - 1] in _LINE_END
        return re.sub(r"[^ \t]", " ", re.sub(r"[\v\f]", "", piece)) if begins_line else " "
    return normalized("NFC", piece.translate(_alike()))
