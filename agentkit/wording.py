"""Words of sentences for people and models, text that is safe to show in a terminal, and its normal
forms.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Literal
from unicodedata import category, combining, normalize


def pluralize(count: float, noun: str) -> str:
    """`1 step`, `2 steps`, `0.5 seconds`."""
    number = str(count) if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun}" if count == 1 else f"{number} {noun}s"


def listed(texts: Iterable[str], word: str = "and") -> str:
    """`a, b and c`."""
    parts = list(texts)
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}"


def moment(seconds: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A time (seconds since 1970) in the local time zone; empty if no clock shows it, as in a
    damaged record.
    """
    try:
        return datetime.fromtimestamp(seconds).strftime(form) if seconds else ""
    except (OverflowError, OSError, ValueError):
        return ""


def printable(text: str) -> str:
    """The text without characters by which a model or a file could control the terminal.

    These are control characters and marks that change the direction of writing. Spaces of every
    kind and joiners are text.
    """
    if text.isprintable():
        return text
    return "\n".join(
        line if line.isprintable() else "".join(map(_harmless, line)) for line in text.split("\n")
    )


def _harmless(character: str) -> str:
    if character in _HARMLESS or category(character) not in _CONTROLS:
        return character
    return "�"


_CONTROLS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_HARMLESS = frozenset("\t\u200c\u200d\u00ad")
"""The tab, the joiners of Persian, Hindi and emoji, the soft hyphen."""


def normalized(form: Literal["NFC", "NFKC"], text: str) -> str:
    """A text in a normal form of Unicode, in time linear in the text.

    `unicodedata.normalize` sorts the marks in a row by insertion: of 100,000 that takes half a
    minute, in which no other thread runs. So a row is cut after 30 marks, which is more than any
    language needs (UAX #15, section 13).
    """
    if len(text) <= _MOST_MARKS or text.isascii():
        return normalize(form, text)
    parts: list[str] = []
    begin = marks = 0
    for at, character in enumerate(text):
        marks = marks + 1 if _is_mark(character) else 0
        if marks > _MOST_MARKS:
            parts.append(normalize(form, text[begin:at]))
            begin, marks = at, 1
    return "".join([*parts, normalize(form, text[begin:])])


_MOST_MARKS = 30


@lru_cache(maxsize=4096)
def _is_mark(character: str) -> bool:
    """Whether a character begins with a mark when it is decomposed, as a few letters do."""
    return combining(normalize("NFKD", character)[0]) > 0
