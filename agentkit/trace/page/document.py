"""An HTML document that needs no network and lets the browser run nothing but its own script.

A content security policy names the styles and scripts by their hashes; whatever else would run or
be fetched is refused.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files

from agentkit.trace.page.html import Child, Html, el, text


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
        title: Of the window.
        body: What is shown.
        styles: CSS texts.
        scripts: JavaScript texts, run at the end.
        allowed: Further styles and scripts, those of documents that this one shows within it.
    """
    hashes = {kind: " ".join(map(_hash, (*own, *allowed))) for kind, own in _kinds(styles, scripts)}
    policy = (
        f"default-src 'none'; style-src {hashes['style']}; script-src {hashes['script']}; "
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


def _kinds(styles: Sequence[str], scripts: Sequence[str]) -> Iterable[tuple[str, Sequence[str]]]:
    return (("style", styles), ("script", scripts))


def _hash(content: str) -> str:
    """As a content security policy names an inline style or script (CSP Level 3)."""
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
