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
    return "".join(c if c in _HARMLESS or category(c) not in _DRIVING else "�" for c in text)


_DRIVING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_HARMLESS = frozenset(
    "\n\t\u200c\u200d\u00ad"
)  # the joiners of Persian, Hindi and emoji; soft hyphen
