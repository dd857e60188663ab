"""A recorded run as one HTML file that needs no network.

Whatever a model, a tool or a file said is text in it: all of it is escaped (`html`), and the
browser runs nothing but the page's own script (`document`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files

from agentkit.journal import Damage
from agentkit.messages import Usage, UserMessage, text_of
from agentkit.schema.phrases import many
from agentkit.trace.page.charts import Placed, place, timeline, token_chart
from agentkit.trace.page.document import base_style, document, facts
from agentkit.trace.page.html import Html, el, join
from agentkit.trace.page.steps import failures_of, json_of, step_section
from agentkit.trace.printable import moment
from agentkit.trace.steps import Part

__all__ = ["document", "page_of", "page_script", "page_style"]

_OPEN_ALL = 12
"""Steps that a page shows opened; of more it shows the list."""


def page_of(parts: Sequence[Part], damage: Sequence[Damage] = ()) -> str:
    """The page of a run.

    Args:
        parts: Of the run, as `parts_of` reads them.
        damage: Of its record.
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
    yield el("h2", "Steps", id="steps")
    for number, each in enumerate(placed):
        if number and each.part != placed[number - 1].part:
            yield el("p", "The run went on here.", cls="soft")
        yield step_section(each, open_=len(placed) <= _OPEN_ALL)
    yield _footer()


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
        ("tool calls", f"{calls:,}", many(failures, "failure") if failures else ""),
        ("seconds", f"{seconds:.1f}", ""),
        ("tokens in", f"{usage.input_tokens:,}", f"{cached:.0%} cached"),
        ("tokens out", f"{usage.output_tokens:,}", f"{usage.reasoning_tokens:,} of thought"),
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


def _footer() -> Html:
    keys = (("j", "next step"), ("k", "step before"), ("e", "next failure"))
    more = (("o", "open or close all"), ("t", "thoughts"))
    shown = [join([el("kbd", key), f" {what}  "]) for key, what in (*keys, *more)]
    return el("footer", el("p", *shown))


def _resource(name: str) -> str:
    return (files(__name__) / name).read_text("utf-8")
