"""An acceptance as one HTML file: the verdict first, then each part with all that was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Final

from agentkit.trace.page.html import Html, base_style, document, el, facts
from agentkit_evals.acceptance.record import Acceptance, Cell, Part, Row

_STYLES: Final = {
    **dict.fromkeys(("passed", "pass", "right"), "good"),
    **dict.fromkeys(("warned", "warn", "absent", "no verdict"), "warn"),
    **dict.fromkeys(("failed", "fail", "wrong"), "bad"),
}
"""Verdicts of every kind, as they look. A case that a model does not pass is no fault of anything:
it looks like the rest."""

_TEXTS: Final = ("says", "remedy", "asks", "failure", "error")
"""Columns of sentences."""


def page_of(found: Acceptance) -> str:
    """The page of an acceptance."""
    style = (files("agentkit_evals.acceptance") / "page.css").read_text("utf-8")
    title = f"Acceptance of {found.model} · agentkit"
    return document(title, _body(found), styles=[base_style(), style], scripts=[])


def _body(found: Acceptance) -> Iterator[Html]:
    when = found.made.replace("T", " ").replace("+00:00", " UTC")
    yield el(
        "header",
        el("h1", f"Acceptance of {found.model}"),
        el("p", f"{when} · agentkit {found.agentkit} · {found.server}", cls="soft"),
    )
    if found.caution:
        yield el("p", found.caution, cls="caution")
    doubtful = any(part.outcome == "warned" for part in found.parts)
    style = " bad" if not found.accepted else " warn" if doubtful else ""
    yield el("p", found.sentence, cls=f"verdict{style}")
    yield facts(
        ("model", f"Gemma 4 {found.profile}" if found.profile != "gemma-4" else "Gemma 4", ""),
        ("served as", found.model, ""),
        ("server", found.server, found.address),
        ("window", f"{found.window:,}" if found.window else "not told", "tokens"),
        ("calls are held by", found.control or "not known", ""),
        ("fingerprint", found.fingerprint or "not known", "agentkit doctor --require"),
    )
    yield el("h2", "Parts")
    yield _table([_line(part) for part in found.parts])
    for part in found.parts:
        if part.figures or part.tables:
            yield from _section(part)
    yield el("footer", el("p", "agentkit accept: see docs/accept.md of agentkit."))


def _line(part: Part) -> Row:
    return {
        "part": part.title,
        "verdict": part.outcome,
        "says": part.says,
        "remedy": part.remedy,
        "seconds": part.seconds or None,
    }


def _section(part: Part) -> Iterator[Html]:
    yield el("h2", part.title[:1].upper() + part.title[1:], _tag(part.outcome), id=part.name)
    yield el("p", part.says)
    if part.remedy:
        yield el("p", part.remedy, cls="soft")
    if part.figures:
        yield facts(*((name, _shown(value), "") for name, value in part.figures.items()))
    for heading, rows in part.tables.items():
        if rows:
            opened = any(_STYLES.get(str(row.get("verdict"))) in ("bad", "warn") for row in rows)
            heard = el("summary", f"{heading} ({len(rows)})")
            yield el("details", heard, _table(rows), open=opened or len(rows) < _FEW)


_FEW: Final = 12
"""Rows that are shown without being asked for."""


def _table(rows: Sequence[Row]) -> Html:
    """A table of the columns in which anything stands; sentences stand below each other."""
    names = [name for name in rows[0] if any(row.get(name) not in (None, "") for row in rows)]
    told = [name for name in names if name in _TEXTS]
    names = [name for name in names if name not in told[1:]]

    def kind(name: str) -> str:
        if name in _TEXTS:
            return "text"
        return "number" if all(_is_number(row.get(name)) for row in rows) else "name"

    head = el("tr", *(el("th", name, cls=kind(name)) for name in names))
    lines = [
        el("tr", *(el("td", *_cell(name, row, told), cls=kind(name)) for name in names))
        for row in rows
    ]
    return el("div", el("table", el("thead", head), el("tbody", *lines)), cls="wide")


def _is_number(value: Cell) -> bool:
    return value is None or isinstance(value, int | float)


def _cell(name: str, row: Row, told: Sequence[str]) -> Iterator[str | Html]:
    if name not in told:
        value = row.get(name)
        yield _tag(str(value)) if name == "verdict" and value else _shown(value)
        return
    first, *more = [_shown(row[column]) for column in told if row.get(column)] or [""]
    yield first
    for sentence in more:
        yield el("p", sentence, cls="soft")


def _shown(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else value


def _tag(verdict: str) -> Html:
    style = _STYLES.get(verdict, "soft")
    return el("span", verdict, cls=f"tag {style}")
