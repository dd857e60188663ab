"""HTML that is safe by construction: text is escaped unless it has been made by these functions."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias

from agentkit.trace.printable import printable

_MOST_TEXT = 200_000
"""Characters of one text: a page with more opens slowly, and nobody reads it there."""


class Html(str):
    """A piece of HTML; only this module makes one out of text."""

    __slots__ = ()


Child: TypeAlias = str | Html | None


def text(value: str) -> Html:
    """Text as HTML: nothing in it is markup, and nothing turns the direction of writing."""
    cut = len(value) - _MOST_TEXT
    if cut > 0:
        value = f"{value[:_MOST_TEXT]}\n… {cut:,} more characters; the run file has them"
    return Html(html.escape(printable(value.replace("\r\n", "\n")), quote=True))


def el(tag: str, *children: Child, cls: str = "", **attributes: str | float | bool) -> Html:
    """An element.

    Args:
        tag: Its name.
        children: Text, which is escaped, or HTML.
        cls: Its classes.
        attributes: Others; `_` stands for `-`, and True for one without a value.
    """
    if cls:
        attributes = {"class": cls, **attributes}
    inside = join(children)
    return Html(f"<{tag}{_attributes(attributes)}>{inside}</{tag}>")


def join(children: Iterable[Child]) -> Html:
    """Children one after the other."""
    return Html("".join(c if isinstance(c, Html) else text(c) for c in children if c is not None))


def _attributes(attributes: dict[str, str | float | bool]) -> str:
    parts: list[str] = []
    for name, value in attributes.items():
        if value is True:
            parts.append(f" {name}")
        elif value is not False:
            shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
            parts.append(f' {name.replace("_", "-")}="{text(str(shown))}"')
    return "".join(parts)
