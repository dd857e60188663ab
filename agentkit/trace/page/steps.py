"""One step of the page: what was sent that is new, the reply, the calls."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from agentkit.events import ReplyInterrupted, as_json
from agentkit.messages import (
    AssistantMessage,
    Content,
    Message,
    ModelSettings,
    TextPart,
    ToolCall,
    ToolMessage,
    Usage,
    text_of,
)
from agentkit.schema.phrases import many
from agentkit.trace.page.charts import Placed
from agentkit.trace.page.html import Html, el
from agentkit.trace.steps import Asked, Ran, Step

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
            left_out = f"{many(dropped, 'message')} left out" if dropped else ""
            stubs = f"results sent as stubs: {cleared}" if cleared else ""
            yield el("p", "; ".join(filter(None, (stubs, left_out))), cls="soft")
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


# --- what was sent -----------------------------------------------------------------------------


def _sent(asked: Asked, *, whole: bool) -> Html:
    called = asked.called
    new = asked.request.messages if whole else asked.request.messages[called.same :]
    told = f"{many(len(asked.request.messages), 'message')} sent, {len(new)} new"
    parts = [el("summary", told, cls="soft"), _settings(asked)]
    if called.tools:
        names = many(len(called.tools), "tool")
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
    parts: list[Html] = [el("h3", _whose(message))]
    if isinstance(message, AssistantMessage):
        if message.reasoning:
            parts.append(el("pre", message.reasoning, cls="thought"))
        parts += [
            el("pre", f"{call.name}({json_of(call.arguments)})") for call in message.tool_calls
        ]
    if message.content is not None:
        parts.append(el("pre", _content(message.content)))
    return el("div", *parts, cls="message")


def _whose(message: Message) -> str:
    return f"tool {message.name}" if isinstance(message, ToolMessage) else message.role


def _content(content: Content) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(p.text if isinstance(p, TextPart) else f"[{p.type}]" for p in content)


def _wire(step: Step) -> Iterator[Html]:
    """What went to the server and what came back, as they were."""
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
        el("pre", cut.reasoning, cls="thought") if cut.reasoning else None,
        el("pre", cut.text) if cut.text else None,
        *calls,
        el("p", "Its calls were never run.", cls="soft") if calls else None,
        cls="call bad",
    )


# --- what came ---------------------------------------------------------------------------------


def _reply(asked: Asked) -> Iterator[Html]:
    response = asked.called.response
    message = response.message
    if message.reasoning:
        yield el(
            "details",
            el("summary", f"Thought, {len(message.reasoning):,} characters", cls="soft"),
            el("pre", message.reasoning, cls="thought"),
            cls="thoughts",
        )
    if message.content:
        yield el("div", el("pre", message.content), cls="answer")
    if response.finish_reason not in ("stop", "tool_calls"):
        yield el("p", el("span", f"the reply ended: {response.finish_reason}", cls="tag bad"))


def _call(ran: Ran) -> Html:
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
        parts.append(el("p", *_decision(ran)))
    if ran.progress:
        progress = el("summary", many(len(ran.progress), "report"), cls="soft")
        parts.append(el("details", progress, el("pre", "\n".join(ran.progress))))
    if ran.end is not None:
        parts.append(el("pre", _content(ran.end.result.content)))
        if ran.end.result.traceback:
            where = el("summary", "Traceback", cls="soft")
            parts.append(el("details", where, el("pre", ran.end.result.traceback)))
    return el("div", *parts, cls="call bad" if ran.failed else "call")


def _call_marks(ran: Ran) -> Iterator[Html]:
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
        told = f" sub-agents: {many(spent.steps, 'step')}, {_tokens(spent.usage)}"
        yield el("span", told, cls="number")


def _decision(ran: Ran) -> Sequence[Html | str]:
    decided = ran.decided
    said = decided.decision if decided else "nobody decided"
    reason = f": {decided.reason}" if decided and decided.reason else ""
    target = [" on ", el("code", ran.asked.target)] if ran.asked and ran.asked.target else []
    return [el("span", f"a person was asked: {said}", cls="tag warn"), reason, *target]


def _tokens(usage: Usage) -> str:
    cached = f" ({usage.cached_input_tokens:,} cached)" if usage.cached_input_tokens else ""
    return f"{usage.input_tokens:,} in{cached}, {usage.output_tokens:,} out"
