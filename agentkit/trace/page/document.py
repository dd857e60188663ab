"""A whole HTML page in one file: it needs no network, and runs nothing but what is its own."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from agentkit.trace.page.html import Child, Html, el, text

__all__ = ["document", "facts"]


def document(title: str, *body: Child, style: str = "", script: str = "") -> str:
    """The page, with the look of all pages of agentkit.

    A content security policy of hashes lets the browser apply this page's own style and run its own
    script, and nothing else, whatever text stands in it.

    Args:
        title: Of the browser's tab.
        body: What the page shows.
        style: CSS beside what all pages share.
        script: JavaScript; the page must read without it.
    """
    style = (files("agentkit.trace.page") / "base.css").read_text("utf-8") + style
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = [
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{text(policy)}">'),
        Html('<meta name="referrer" content="no-referrer">'),
        el("title", title),
        Html(f"<style>{style}</style>"),
    ]
    last = Html(f"<script>{script}</script>") if script else None
    page = el("html", el("head", *head), el("body", *body, last), lang="en")
    return f"<!doctype html>\n{page}\n"


def facts(*entries: tuple[str, str, str]) -> Html:
    """Tiles, each with a name, a value, and a word more about it."""
    tiles = (
        el("div", el("dt", name), el("dd", value, " ", el("small", more)))
        for name, value, more in entries
    )
    return el("dl", *tiles, cls="facts")


def _hash(content: str) -> str:
    """As a content security policy names an inline style or script (CSP Level 3)."""
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
