"""The page of a run: its head, its pictures, and each step with what was sent, said and called.

In: the parts of a run, as `parts_of` reads them. Out: one HTML document. Whatever a model, a tool
or a file said is text in it: all of it is escaped (`html`), the browser runs nothing but the page's
own script, and nothing is fetched.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files

from agentkit.events import ReplyInterrupted, as_json
from agentkit.journal import Damage
from agentkit.messages import (
    AssistantMessage,
    Content,
    Message,
    ModelSettings,
    TextPart,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
    text_of,
)
from agentkit.trace.page.html import Html, base_style, document, el, facts, join
from agentkit.trace.page.window import window_section
from agentkit.trace.recording import Asked, Part, Step, ToolRun
from agentkit.trace.window import filled_of
from agentkit.wording import moment, pluralize

_OPEN_ALL = 12
"""Most steps that a page shows unfolded; with more of them it shows the list."""


def page_of(parts: Sequence[Part], damage: Sequence[Damage] = ()) -> str:
    """The page of a run.

    Args:
        parts: The parts of the run, as `parts_of` reads them.
        damage: What its record has lost.
    """
    title = f"{parts[0].started.run_id} · agentkit"
    body = _body(parts, place(parts), damage)
    return document(title, body, styles=[page_style()], scripts=[page_script()])


def page_style() -> str:
    """The CSS of the page, and of others that are to look like it."""
    return base_style() + _resource("page.css")


def page_script() -> str:
    """The JavaScript of the page."""
    return _resource("page.js")


def _body(
    parts: Sequence[Part], placed: Sequence[Placed], damage: Sequence[Damage]
) -> Iterator[Html]:
    yield _header(parts)
    if damage:
        lost = [el("li", str(each)) for each in damage]
        yield el("section", el("h2", "Lost"), el("ul", *lost), cls="end bad")
    failures = [(each.anchor, what) for each in placed for what in failures_of(each.step)]
    yield _facts(parts, placed, len(failures))
    yield _end(parts[-1])
    if failures:
        rows = [el("li", el("a", what, href=f"#{anchor}")) for anchor, what in failures]
        yield el("h2", "What went wrong")
        yield el("ul", *rows, id="failures")
    yield el("h2", "Time", id="time")
    yield timeline(parts, placed)
    yield _key(("model", "model"), ("tool", "tool"), ("failed", "tool that failed"))
    yield el("h2", "Tokens", id="tokens")
    yield token_chart(placed)
    yield _key(("cached", "prompt, cached"), ("fresh", "prompt, read anew"), ("out", "reply"))
    yield from window_section(filled_of(parts), {p.step.number: p.anchor for p in placed})
    yield el("h2", "Steps", id="steps")
    for number, each in enumerate(placed):
        if number and each.part != placed[number - 1].part:
            yield el("p", "The run went on here.", cls="soft")
        yield step_section(each, open_=len(placed) <= _OPEN_ALL)
    keys = {
        "j": "next step",
        "k": "step before",
        "e": "next failure",
        "o": "open or close all",
        "t": "reasoning",
    }
    yield el("footer", el("p", *(join([el("kbd", k), f" {what}  "]) for k, what in keys.items())))


def _header(parts: Sequence[Part]) -> Html:
    started = parts[0].started
    when = moment(parts[0].began)
    versions = " · ".join(f"{name} {version}" for name, version in started.versions.items())
    names = [a.called.model for part in parts for s in part.steps for a in s.asked]
    asked = [m for m in started.messages if isinstance(m, UserMessage)][-1:]
    return el(
        "header",
        el("h1", started.run_id),
        el("p", f"{when} · {(names or [started.model])[0]}", cls="soft"),
        el("p", versions, cls="soft") if versions else None,
        *(el("pre", text_of(message.content)) for message in asked),
    )


def _facts(parts: Sequence[Part], placed: Sequence[Placed], failures: int) -> Html:
    usage = sum((part.usage for part in parts), Usage())
    result = parts[-1].result
    seconds = sum(part.ended - part.began for part in parts)
    calls = sum(len(each.step.ran) for each in placed)
    cached = usage.cached_input_tokens / usage.input_tokens if usage.input_tokens else 0.0
    return facts(
        ("end", result.stop_reason if result is not None else "unfinished", ""),
        ("steps", f"{len(placed):,}", ""),
        ("tool calls", f"{calls:,}", pluralize(failures, "failure") if failures else ""),
        ("seconds", f"{seconds:.1f}", ""),
        ("tokens in", f"{usage.input_tokens:,}", f"{cached:.0%} cached"),
        ("tokens out", f"{usage.output_tokens:,}", f"{usage.reasoning_tokens:,} of reasoning"),
    )


def _key(*entries: tuple[str, str]) -> Html:
    return el("p", *(join([el("i", cls=c), name]) for c, name in entries), cls="soft key")


def _end(part: Part) -> Html:
    result = part.result
    if result is None:
        why = "The record ends here: the run was killed, or was still at work."
        return el("section", el("h2", "End"), el("p", why), cls="end warn")
    output = result.said if isinstance(result.said, str) else json_of(result.said)
    good = result.stop_reason == "answer"
    style = "" if good else " warn" if result.stop_reason == "paused" else " bad"
    return el(
        "section",
        el("h2", "Answer" if good else f"No answer: {result.stop_reason}"),
        el("p", result.explanation) if result.explanation else None,
        el("pre", output) if output else None,
        cls=f"end{style}",
    )


def _resource(name: str) -> str:
    return (files("agentkit.trace.page") / name).read_text("utf-8")


# --- pictures ------------------------------------------------------------------------------------


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
        """Whether it is the step that the run began with."""
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
    models: list[Html] = []
    for each in placed:
        for asked in each.step.asked:
            end = clock.at(each.part, asked.time)
            seconds = asked.called.seconds
            title = f"step {each.step.number}: model, {seconds:.2f} s"
            bar = _Bar(max(0.0, end - seconds), end, "model", title, each.anchor)
            models.append(_bar(bar, 0, scale))
    rows = [el("g", *models)]
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


# --- one step ------------------------------------------------------------------------------------


_SHORT = 160


def json_of(value: object) -> str:
    """A value as indented JSON."""
    return json.dumps(json.loads(as_json(value)), indent=2, ensure_ascii=False)


def failures_of(step: Step) -> Iterator[str]:
    """What went wrong in a step, a sentence each."""
    for restart in step.restarts:
        yield f"Step {step.number}: {restart.reason}"
    for cut in step.interrupted:
        yield f"Step {step.number}: the reply was interrupted: {cut.why[:_SHORT]}"
    for ran in step.ran.values():
        if ran.end is None and ran.failed:
            yield f"Step {step.number}: {ran.call.name} has no result"
        elif ran.end is not None and ran.failed:
            first = next(iter(text_of(ran.end.result.content).splitlines()), "")
            yield f"Step {step.number}: {ran.call.name}: {first[:_SHORT]}"


def step_section(each: Placed, *, open_: bool) -> Html:
    """A step as a part of the page that can be folded."""
    step = each.step
    bad = any(True for _ in failures_of(step))
    return el(
        "details",
        _summary(step),
        el("div", *_inside(step, first=each.first), cls="inside"),
        cls="step bad" if bad else "step",
        id=each.anchor,
        open=open_,
    )


def _summary(step: Step) -> Html:
    seconds = sum(asked.called.seconds for asked in step.asked)
    first = step.asked[0].called.first_token if step.asked else None
    times = f"{seconds:.2f} s" + ("" if first is None else f" (first token {first:.2f})")
    return el(
        "summary",
        el("b", f"Step {step.number}"),
        el("span", _headline(step), cls="what"),
        *_marks(step),
        el("span", _tokens(step.usage), cls="number"),
        el("span", times, cls="number"),
    )


def _headline(step: Step) -> str:
    counts = Counter(ran.call.name for ran in step.ran.values())
    calls = ", ".join(
        f"{ran.call.name}({_arguments(ran.call)})"
        if counts[ran.call.name] == 1
        else f"{ran.call.name} {counts[ran.call.name]} times"
        for ran in {ran.call.name: ran for ran in step.ran.values()}.values()
    )
    if calls or step.finished is None:
        return calls[:_SHORT] or ("interrupted" if step.interrupted else "no reply")
    return " ".join(text_of(step.finished.message.content)[:_SHORT].split())


def _arguments(call: ToolCall) -> str:
    return ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False, default=str)[:_SHORT]}"
        for name, value in call.arguments.items()
    )


def _marks(step: Step) -> Iterator[Html]:
    if len(step.asked) > 1:
        yield el("span", f"asked {len(step.asked)} times", cls="tag warn")
    if step.compacted:
        yield el("span", "compacted", cls="tag warn")
    repaired = sum(bool(ran.repairs) for ran in step.ran.values())
    if repaired:
        yield el("span", f"{repaired} repaired", cls="tag warn")
    failed = sum(ran.failed for ran in step.ran.values())
    if failed:
        yield el("span", f"{failed} failed", cls="tag bad")


def _inside(step: Step, *, first: bool) -> Iterator[Html]:
    for compacted in step.compacted:
        tokens = f"{compacted.before:,} → {compacted.after:,} tokens"
        tag = el("span", f"context compacted: {tokens}", cls="tag warn")
        yield el("p", tag, f" {compacted.reason}")
        cleared, dropped = ", ".join(compacted.cleared), compacted.dropped
        if cleared or dropped:
            left_out = f"{pluralize(dropped, 'message')} left out" if dropped else ""
            stubs = f"results sent as stubs: {cleared}" if cleared else ""
            yield el("p", "; ".join(filter(None, (stubs, left_out))), cls="soft")
        if (summary := compacted.summary) is not None:
            took = f"a summary of them, {_tokens(summary.cost)}"
            yield el("p", f"{took}: {summary.problem}" if summary.problem else took, cls="soft")
            if summary.text:
                yield el("pre", summary.text)
    reasons = [restart.reason for restart in step.restarts]
    for number, asked in enumerate(step.asked):
        if number and number <= len(reasons):
            again = f"Asked again: {reasons[number - 1]}."
            yield el("p", el("span", again, cls="tag warn"))
        yield _sent(asked, whole=first and number == 0)
        yield from _reply(asked)
    yield from _wire(step)
    for cut in step.interrupted:
        yield _interrupted(cut)
    for ran in step.ran.values():
        yield _call(ran)


# --- what was sent -------------------------------------------------------------------------------


def _sent(asked: Asked, *, whole: bool) -> Html:
    called = asked.called
    new = asked.request.messages if whole else asked.request.messages[called.same :]
    told = f"{pluralize(len(asked.request.messages), 'message')} sent, {len(new)} new"
    parts = [el("summary", told, cls="soft"), _settings(asked)]
    if called.tools:
        names = pluralize(len(called.tools), "tool")
        tools = [
            el(
                "details",
                el("summary", el("code", t.name), " ", t.description),
                el("pre", json_of(t)),
            )
            for t in called.tools
        ]
        parts.append(el("details", el("summary", names, cls="soft"), *tools))
    parts += [_message(message) for message in new]
    return el("details", *parts)


def _settings(asked: Asked) -> Html:
    request, usual = asked.request, asdict(ModelSettings())
    chosen = {k: v for k, v in asdict(request.settings).items() if v != usual[k]}
    choice = asdict(request.tool_choice)
    if choice["mode"] != "auto" or choice["max_calls"]:
        chosen["tool_choice"] = choice
    shown = ", ".join(f"{name} = {value}" for name, value in chosen.items())
    return el("p", "Settings: ", el("code", shown or "the server's"), cls="soft")


def _message(message: Message) -> Html:
    whose = f"tool {message.name}" if isinstance(message, ToolMessage) else message.role
    parts: list[Html] = [el("h3", whose)]
    if isinstance(message, AssistantMessage):
        if message.reasoning:
            parts.append(el("pre", message.reasoning, cls="reasoning"))
        parts += [
            el("pre", f"{call.name}({json_of(call.arguments)})") for call in message.tool_calls
        ]
    if message.content is not None:
        parts.append(el("pre", _content(message.content)))
    return el("div", *parts, cls="message")


def _content(content: Content) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(p.text if isinstance(p, TextPart) else f"[{p.type}]" for p in content)


def _wire(step: Step) -> Iterator[Html]:
    """What went to the server and what came back, without any reading of it."""
    for number, sent in enumerate(step.sent):
        new = {"messages": sent.messages, **sent.fields}
        parts = [el("h3", "sent, as far as it is new"), el("pre", json_of(new))]
        if sent.gone:
            parts.append(el("p", f"gone: {', '.join(sent.gone)}", cls="soft"))
        if number < len(step.received):
            parts += [el("h3", "received"), el("pre", json_of(step.received[number].reply))]
        told = f"On the wire, {sent.same + len(sent.messages)} messages"
        yield el("details", el("summary", told, cls="soft"), *parts)


def _interrupted(cut: ReplyInterrupted) -> Html:
    calls = [el("pre", f"{name}({arguments}") for name, arguments in cut.calls]
    return el(
        "div",
        el("p", el("span", f"interrupted after {cut.seconds:.2f} s: {cut.why}", cls="tag bad")),
        el("pre", cut.reasoning, cls="reasoning") if cut.reasoning else None,
        el("pre", cut.text) if cut.text else None,
        *calls,
        el("p", "Its calls were never run.", cls="soft") if calls else None,
        cls="call bad",
    )


# --- what came -----------------------------------------------------------------------------------


def _reply(asked: Asked) -> Iterator[Html]:
    response = asked.called.response
    message = response.message
    if message.reasoning:
        yield el(
            "details",
            el("summary", f"Reasoning, {len(message.reasoning):,} characters", cls="soft"),
            el("pre", message.reasoning, cls="reasoning"),
            cls="closed",
        )
    if message.content:
        yield el("div", el("pre", message.content), cls="answer")
    if response.finish_reason not in ("stop", "tool_calls"):
        yield el("p", el("span", f"the reply ended: {response.finish_reason}", cls="tag bad"))


def _call(ran: ToolRun) -> Html:
    parts: list[Html | None] = [
        el("h3", el("code", ran.call.name), " ", *_call_marks(ran)),
        el("pre", json_of(ran.call.arguments)) if ran.call.arguments else None,
    ]
    parts += [
        el(
            "p",
            el("span", f"repaired ({repair.rung})", cls="tag warn"),
            " was ",
            el("code", repair.was),
        )
        for repair in ran.repairs
    ]
    if ran.asked is not None:
        decided = ran.decided
        said = decided.decision if decided else "nobody decided"
        reason = f": {decided.reason}" if decided and decided.reason else ""
        target = [" on ", el("code", ran.asked.target)] if ran.asked.target else []
        tag = el("span", f"a person was asked: {said}", cls="tag warn")
        parts.append(el("p", tag, reason, *target))
    if ran.progress:
        progress = el("summary", pluralize(len(ran.progress), "report"), cls="soft")
        parts.append(el("details", progress, el("pre", "\n".join(ran.progress))))
    if ran.end is not None:
        parts.append(el("pre", _content(ran.end.result.content)))
        if ran.end.result.traceback:
            where = el("summary", "Traceback", cls="soft")
            parts.append(el("details", where, el("pre", ran.end.result.traceback)))
    return el("div", *parts, cls="call bad" if ran.failed else "call")


def _call_marks(ran: ToolRun) -> Iterator[Html]:
    if ran.end is None:
        if not ran.waits:
            yield el("span", "no result", cls="tag bad")
            if ran.started is not None:
                yield el("span", " it had begun, and may have taken effect", cls="number")
        return
    result, spent = ran.end.result, ran.end.spent
    yield el("span", result.kind, cls="tag bad" if result.is_error else "tag")
    time = f"{result.seconds:.3f} s" if ran.started is not None else "not run"
    yield el("span", f" {time}", cls="number")
    if result.attempts > 1:
        yield el("span", f"{result.attempts} attempts", cls="tag warn")
    if spent is not None:
        told = f" sub-agents: {pluralize(spent.steps, 'step')}, {_tokens(spent.usage)}"
        yield el("span", told, cls="number")


def _tokens(usage: Usage) -> str:
    cached = f" ({usage.cached_input_tokens:,} cached)" if usage.cached_input_tokens else ""
    return f"{usage.input_tokens:,} in{cached}, {usage.output_tokens:,} out"
