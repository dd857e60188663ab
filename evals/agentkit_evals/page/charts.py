"""Scores and differences as bars with their intervals, and the numbers as text beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agentkit.trace.page.html import Html, el, join
from agentkit_evals.compare import Comparison
from agentkit_evals.seen import Seen
from agentkit_evals.stats import Interval

_WIDTH, _HEIGHT = 1000.0, 20.0
_DOT = 6.0
_LEAST_SPAN = 0.1
"""The axis of differences reaches at least this far to either side, as a share."""


def score_chart(runs: Sequence[Seen]) -> Html:
    """A bar for each run, and below one for each run and tag, if cases have tags."""
    rows = list(_scores(runs))
    tags = {run.name: run.by_tag() for run in runs}
    for tag in sorted({tag for found in tags.values() for tag in found}):
        rows.append(el("p", tag, cls="group"))
        rows += [
            _row(run.name, tags[run.name][tag], tags[run.name][tag].percent())
            for run in runs
            if tag in tags[run.name]
        ]
    axis = el("p", *(el("span", f"{n} %") for n in (0, 25, 50, 75, 100)), cls="axis")
    key = join([el("i", cls="floor"), "when nothing is done"])
    floors = any(run.report.floor for run in runs)
    bottom = el("div", el("span"), axis, el("span"), cls="bar")
    return el("div", *rows, bottom, el("p", key, cls="soft key") if floors else None, cls="chart")


def _scores(runs: Sequence[Seen]) -> Iterator[Html]:
    for run in runs:
        found, floor = run.report.score, run.report.floor
        if found is None:
            yield el("div", el("b", run.name), el("span", "no verdict yet"), cls="bar")
        else:
            share = None if floor is None else floor.share
            yield _row(run.name, found, found.percent(), floor=share)


def change_chart(compared: Sequence[Comparison]) -> Html:
    """A bar for each difference from the first run; 0 is in the middle."""
    gaps = [one.difference for one in compared]
    span = max([_LEAST_SPAN, *(max(abs(gap.low), abs(gap.high)) for gap in gaps)])
    rows = []
    for one in compared:
        gap = one.difference
        words = f"{gap.points()}, p = {one.adjusted:.2g}: {_VERDICTS[one.winner]}"
        cls = {"first": "worse", "second": "better"}.get(one.winner or "", "")
        scaled = Interval(*((each / span + 1) / 2 for each in (gap.value, gap.low, gap.high)))
        rows.append(_row(one.runs[1], scaled, words, cls=cls))
    ends = (f"{-100 * span:.0f} points", "0", f"{100 * span:+.0f} points")
    axis = el("p", *(el("span", end) for end in ends), cls="axis")
    return el("div", *rows, el("div", el("span"), axis, el("span"), cls="bar"), cls="chart")


_VERDICTS = {"first": "worse", "second": "better", None: "no clear winner"}


def _row(
    name: str, found: Interval, words: str, *, floor: float | None = None, cls: str = ""
) -> Html:
    lines = [
        el("line", x1=at, x2=at, y1=0.0, y2=_HEIGHT, cls="grid")
        for at in (0.0, _WIDTH / 4, _WIDTH / 2, 3 * _WIDTH / 4, _WIDTH)
    ]
    low, high = found.low * _WIDTH, found.high * _WIDTH
    lines.append(
        el("rect", x=low, y=5.0, width=max(high - low, 2.0), height=10.0, cls=f"range {cls}")
    )
    at = min(max(found.value * _WIDTH - _DOT / 2, 0.0), _WIDTH - _DOT)
    lines.append(el("rect", x=at, y=1.0, width=_DOT, height=18.0, cls=f"dot {cls}"))
    if floor is not None:
        at = min(max(floor * _WIDTH - 2.0, 0.0), _WIDTH - 4.0)
        lines.append(el("rect", x=at, y=0.0, width=4.0, height=_HEIGHT, cls="floor"))
    picture = el(
        "svg",
        el("title", f"{name}: {words}"),
        *lines,
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{name}: {words}",
    )
    return el("div", el("b", name), picture, el("span", words, cls="number"), cls="bar")
