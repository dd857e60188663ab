"""Small pieces of English that sentences for people and models are made with."""

from __future__ import annotations

from collections.abc import Iterable


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
