"""Text of models, tools and files, made safe to show."""

from __future__ import annotations

from unicodedata import category

__all__ = ["printable"]


def printable(text: str) -> str:
    """Without the characters by which a model or a file could drive the terminal: controls, and
    marks that turn the direction of writing. Spaces of every kind and joiners are text.
    """
    if text.isprintable():
        return text
    return "\n".join(
        line if line.isprintable() else "".join(map(_harmless, line)) for line in text.split("\n")
    )


def _harmless(character: str) -> str:
    if character in _HARMLESS or category(character) not in _DRIVING:
        return character
    return "�"


_DRIVING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_HARMLESS = frozenset("\t\u200c\u200d\u00ad")
"""The tab, the joiners of Persian, Hindi and emoji, the soft hyphen."""
