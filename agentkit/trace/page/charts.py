"""A run as pictures: when what was at work, and the tokens of each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agentkit.trace.page.html import Html, el
from agentkit.trace.steps import Part, Step

_WIDTH = 1000.0
_LANE = 14.0
_MOST_LANES = 16
_LEAST_COLUMNS = 12  # so that a short run does not look like a heavy one
_TOKENS_HEIGHT = 90.0


@dataclass(frozen=True, slots=True)
class Placed:
    """A step with its anchor in the page."""

    anchor: str
    step: Step
    part: int

    @property
    def first(self) -> bool:
        """Whether the run began with it."""
        return self.anchor == "s1"


def place(parts: Sequence[Part]) -> list[Placed]:
    """All steps of a run in order."""
    placed: list[Placed] = []
    for number, part in enumerate(parts):
        for step in part.steps:
            placed.append(Placed(f"s{len(placed) + 1}", step, number))
    return placed


@dataclass(frozen=True, slots=True)
class _Bar:
    begin: float
    end: float
    cls: str
    title: str
    anchor: str


def timeline(parts: Sequence[Part], placed: Sequence[Placed]) -> Html:
    """Model calls in the first lane, tool calls below: side by side what ran side by side.

    Time between the parts of a run, when nothing was at work, is left out.
    """
    clock = _Clock(parts)
    scale = _WIDTH / max(clock.total, 1e-6)
    rows = [el("g", *(_bar(b, 0, scale) for b in _model_bars(placed, clock)))]
    free: list[float] = []
    for bar in sorted(_tool_bars(placed, clock), key=lambda bar: bar.begin):
        lane = next((n for n, end in enumerate(free) if end <= bar.begin), len(free))
        if lane == len(free) and lane < _MOST_LANES:
            free.append(bar.end)
        lane = min(lane, _MOST_LANES - 1)
        free[lane] = max(free[lane], bar.end)
        rows.append(_bar(bar, lane + 1, scale))
    height = _LANE * (1 + len(free))
    picture = el(
        "svg",
        *rows,
        viewBox=f"0 0 {_WIDTH:g} {height:g}",
        preserveAspectRatio="none",
        height=height * 1.6,
        role="img",
        aria_label="Timeline of model calls and tool calls",
    )
    ends = el("p", el("span", "0 s"), el("span", f"{clock.total:.2f} s"), cls="axis")
    return el("div", picture, ends, cls="chart")


def token_chart(placed: Sequence[Placed]) -> Html:
    """A column for each step: cached and fresh tokens of the prompt, and those of the reply."""
    most = max(
        (u.input_tokens + u.output_tokens for u in (p.step.usage for p in placed)), default=0
    )
    width = _WIDTH / max(len(placed), _LEAST_COLUMNS)
    columns = [_column(each, n * width, width, most or 1) for n, each in enumerate(placed)]
    picture = el(
        "svg",
        *columns,
        viewBox=f"0 0 {_WIDTH:g} {_TOKENS_HEIGHT:g}",
        preserveAspectRatio="none",
        height=_TOKENS_HEIGHT,
        role="img",
        aria_label="Tokens of each step",
    )
    ends = el("p", el("span", "step 1"), el("span", f"at most {most:,} tokens"), cls="axis")
    return el("div", picture, ends, cls="chart")


class _Clock:
    """Seconds at work since the run began."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._begins = [part.began for part in parts]
        self._before = [0.0]
        for part in parts:
            self._before.append(self._before[-1] + part.ended - part.began)
        self.total = self._before[-1]

    def at(self, part: int, time: float) -> float:
        return self._before[part] + max(0.0, time - self._begins[part])


def _model_bars(placed: Sequence[Placed], clock: _Clock) -> list[_Bar]:
    bars: list[_Bar] = []
    for each in placed:
        for asked in each.step.asked:
            end = clock.at(each.part, asked.time)
            seconds = asked.called.seconds
            title = f"step {each.step.number}: model, {seconds:.2f} s"
            bars.append(_Bar(max(0.0, end - seconds), end, "model", title, each.anchor))
    return bars


def _tool_bars(placed: Sequence[Placed], clock: _Clock) -> list[_Bar]:
    bars: list[_Bar] = []
    for each in placed:
        for ran in each.step.ran.values():
            if ran.started is None:
                continue
            begin = clock.at(each.part, ran.started)
            end = clock.at(each.part, ran.finished or each.step.ended)
            title = f"step {each.step.number}: {ran.call.name}, {end - begin:.2f} s"
            bars.append(_Bar(begin, end, "failed" if ran.failed else "tool", title, each.anchor))
    return bars


def _bar(bar: _Bar, lane: int, scale: float) -> Html:
    width = max((bar.end - bar.begin) * scale, 1.0)
    x = min(bar.begin * scale, _WIDTH - width)
    box = el(
        "rect",
        el("title", bar.title),
        cls=bar.cls,
        x=x,
        y=lane * _LANE + 1,
        width=width,
        height=_LANE - 2,
    )
    return el("a", box, href=f"#{bar.anchor}")


def _column(each: Placed, x: float, width: float, most: int) -> Html:
    usage = each.step.usage
    cached = min(usage.cached_input_tokens, usage.input_tokens)  # a proxy may say anything
    title = (
        f"step {each.step.number}: {usage.input_tokens:,} in ({usage.cached_input_tokens:,} cached)"
        f", {usage.output_tokens:,} out"
    )
    bottom = _TOKENS_HEIGHT
    boxes: list[Html] = [el("title", title)]
    for cls, tokens in (
        ("cached", cached),
        ("fresh", usage.input_tokens - cached),
        ("out", usage.output_tokens),
    ):
        height = tokens / most * _TOKENS_HEIGHT
        bottom -= height
        gap = min(1.0, width / 4)
        boxes.append(el("rect", cls=cls, x=x, y=bottom, width=width - gap, height=height))
    return el("a", *boxes, href=f"#{each.anchor}")
