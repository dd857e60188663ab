"""Words of sentences for people and models, and text that is safe to show in a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from unicodedata import category


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
