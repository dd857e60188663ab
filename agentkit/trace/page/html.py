"""HTML that is safe by construction: text is escaped unless it has been made by these functions.

A document of it needs no network and lets the browser run nothing but its own script: a content
security policy names the styles and scripts by their hashes; whatever else would run or be fetched
is refused.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import TypeAlias

from agentkit.wording import printable

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
    start = f"<{tag}{_attributes(attributes)}>"
    return Html(start if tag in _VOID else f"{start}{join(children)}</{tag}>")


_VOID = frozenset({"br", "hr", "img", "input"})
"""Elements that have no children and no end tag (html.spec.whatwg.org, 13.1.2)."""


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


# --- a document ----------------------------------------------------------------------------------


def document(
    title: str,
    body: Iterable[Child],
    *,
    styles: Sequence[str],
    scripts: Sequence[str],
    allowed: Sequence[str] = (),
) -> str:
    """A page as text.

    Args:
        title: The title of the window.
        body: What is shown.
        styles: CSS texts.
        scripts: JavaScript texts, run at the end.
        allowed: Further styles and scripts, those of documents that this one shows within it.
    """
    style_hashes = " ".join(map(_hash, (*styles, *allowed)))
    script_hashes = " ".join(map(_hash, (*scripts, *allowed)))
    policy = (
        f"default-src 'none'; style-src {style_hashes}; script-src {script_hashes}; "
        "base-uri 'none'; form-action 'none'"
    )
    head = [
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{text(policy)}">'),
        Html('<meta name="referrer" content="no-referrer">'),
        el("title", title),
        *(Html(f"<style>{style}</style>") for style in styles),
    ]
    ends = (Html(f"<script>{script}</script>") for script in scripts)
    page = el("html", el("head", *head), el("body", *body, *ends), lang="en")
    return f"<!doctype html>\n{page}\n"


def base_style() -> str:
    """The CSS that all pages share: colours by day and by night, text, tiles, tags."""
    return (files("agentkit.trace.page") / "base.css").read_text("utf-8")


def facts(*entries: tuple[str, str, str]) -> Html:
    """Tiles, each with a name, a value, and a word more about it."""
    tiles = (
        el("div", el("dt", name), el("dd", value, " ", el("small", more)))
        for name, value, more in entries
    )
    return el("dl", *tiles, cls="facts")


def _hash(content: str) -> str:
    """The name of an inline style or script in a content security policy (CSP Level 3)."""
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
