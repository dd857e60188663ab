"""The picture of what filled the model's window, request by request, and what was cut of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from agentkit.trace.page.html import Html, el, join
from agentkit.trace.window import PARTS, Filled, why

_WIDTH: Final = 1000.0
_HEIGHT: Final = 120.0
_LEAST_COLUMNS: Final = 12
"""Columns for which there is room at least, so that a short run does not look like a heavy one."""

_CUTS: Final = 8
"""Cuts of one request that are listed."""


def window_section(filled: Sequence[Filled], anchors: Mapping[int, str]) -> Iterator[Html]:
    """The picture, its key, and the list of cuts; nothing where the record does not tell.

    Args:
        filled: The prompts of the run.
        anchors: The place of each step in the page.
    """
    if not filled:
        return
    yield el("h2", "Window", id="window")
    yield _chart(filled, anchors)
    used = [name for name in PARTS if any(name in each.parts for each in filled)]
    yield el("p", *(join([el("i", cls=f"p-{name}"), name]) for name in used), cls="soft key")
    cuts = [_cut(each, anchors) for each in filled if each.cuts or each.compacted]
    if cuts:
        yield el("ul", *cuts, id="cuts")


def _chart(filled: Sequence[Filled], anchors: Mapping[int, str]) -> Html:
    limit = filled[-1].fitted.compact_at or 0
    most = max(*(each.tokens for each in filled), limit, 1)
    width = _WIDTH / max(len(filled), _LEAST_COLUMNS)
    boxes = [_column(each, n * width, width, most, anchors) for n, each in enumerate(filled)]
    if limit:
        y = _HEIGHT * (1 - limit / most)
        title = el("title", f"compacted beyond {limit:,} tokens")
        boxes.append(el("line", title, cls="limit", x1=0, x2=_WIDTH, y1=y, y2=y))
    picture = el(
        "svg",
        *boxes,
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        preserveAspectRatio="none",
        height=_HEIGHT,
        role="img",
        aria_label="Tokens of each prompt by what they are spent on",
    )
    fitted = filled[-1].fitted
    window = f" of a window of {fitted.window:,}" if fitted.window else ""
    told = f"compacted beyond {limit:,}{window} ({fitted.source})" if limit else f"no limit{window}"
    return el(
        "div", picture, el("p", el("span", "request 1"), el("span", told), cls="axis"), cls="chart"
    )


def _column(each: Filled, x: float, width: float, most: int, anchors: Mapping[int, str]) -> Html:
    parts = each.parts
    scale = each.tokens / max(sum(parts.values()), 1) / most * _HEIGHT
    listed = ", ".join(f"{name} {tokens:,}" for name, tokens in parts.items())
    cached = f", {each.cached:,} cached" if each.cached is not None else ""
    title = f"step {each.step}: {each.tokens:,} tokens{cached}: {listed}"
    boxes: list[Html] = [el("title", title)]
    bottom, gap = _HEIGHT, min(1.0, width / 4)
    for name, tokens in parts.items():
        bottom -= tokens * scale
        boxes.append(
            el("rect", cls=f"p-{name}", x=x, y=bottom, width=width - gap, height=tokens * scale)
        )
    if each.compacted:
        boxes.append(el("rect", cls="compacted", x=x, y=0, width=width - gap, height=3))
    return el("a", *boxes, href=f"#{anchors.get(each.step, '')}")


def _cut(each: Filled, anchors: Mapping[int, str]) -> Html:
    shown = [el("li", cut) for cut in each.cuts[:_CUTS]]
    if len(each.cuts) > _CUTS:
        shown.append(el("li", f"and {len(each.cuts) - _CUTS} more"))
    again = f"{each.again:,} tokens that were cached before were read anew" if each.again else ""
    return el(
        "li",
        el("a", f"Step {each.step}", href=f"#{anchors.get(each.step, '')}"),
        *(f" {why(compacted)}" for compacted in each.compacted),
        el("ul", *shown, *([el("li", again)] if again and each.compacted else [])),
        cls="soft",
    )
