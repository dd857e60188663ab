"""What the server makes of a model's words: calls, reasoning, grammars, cuts."""

from __future__ import annotations

import math

from agentkit.errors import ModelStatusError, ServerNotReadyError
from agentkit.gemma4.tokens import CHANNEL_CLOSE, CHANNEL_OPEN
from agentkit.messages import JsonObject, ToolChoice, ToolDefinition
from agentkit.models.calls import LOST, is_away
from agentkit.serving.doctor.subject import (
    CITY,
    FORCED,
    LONG_TASK,
    NATIVE_BIAS,
    NO_GEMMA,
    PROXY,
    REPORT,
    TOOL_FLAGS,
    Exchange,
    Finding,
    Subject,
    bias,
    failed,
    passed,
    warned,
)
from agentkit.wire import OPTIONAL

_WANTED = [(REPORT.name, {"city": CITY})]
_OTHER = ToolDefinition(
    "stay_idle",
    "Does nothing.",
    {"type": "object", "properties": {}, "additionalProperties": False},
)


async def tool_parser(subject: Subject) -> Finding:
    """A call that the model makes must come back as a call."""
    try:
        forced = await subject.ask(tools=(REPORT,), choice=FORCED, extra=NATIVE_BIAS)
    except ServerNotReadyError as error:
        subject.tools = False
        return failed(str(error), TOOL_FLAGS)
    except ModelStatusError as error:
        if is_away(error):
            raise
        # It is the grammar that it refuses, or the tools: without the grammar it tells.
        subject.grammar_refused = str(error)
        forced = await subject.ask(tools=(REPORT,))
    subject.tools = True
    if forced.calls == _WANTED:
        return passed("a native call comes back as a call")
    own = await subject.own_calls(forced, (REPORT,))
    if forced.calls and own == _WANTED:
        return failed(f"a call comes back changed: {forced.calls}", TOOL_FLAGS)
    freely = await subject.ask(tools=(REPORT,))
    for asked in (forced, freely):
        made = await subject.own_calls(asked, (REPORT,)) or f"call:{REPORT.name}{{" in asked.text
        if made and not asked.calls:
            subject.reads_calls = False
            says = "calls come back as text: the server's tool parser does not read them"
            return failed(says, TOOL_FLAGS)
    if any(name == REPORT.name for name, _ in freely.calls):
        return passed("a call that the model made of itself comes back as a call")
    return warned("could not be told: the model was asked for a call and made none")


async def grammar(subject: Subject) -> Finding:
    """Required, named and free calls must keep to their schema while they are decoded."""
    if not subject.tools:
        return warned("not asked: the server takes no tools")
    if subject.grammar_refused:
        subject.grammar = False
        return _without_grammar(subject, f"the server refuses it ({subject.grammar_refused})")
    if subject.is_gemma is False:
        subject.grammar = False
        return passed("not asked: the grammar is Gemma 4's; see `control`")
    tools = (_OTHER, REPORT)
    named = ToolChoice("required", name=REPORT.name, max_calls=1)
    free = ToolChoice("auto", max_calls=1)
    ignored = []
    for kind, choice in (("required", FORCED), ("named", named), ("strict auto", free)):
        asked = await subject.ask(tools=tools, choice=choice, extra=NATIVE_BIAS)
        made = await subject.own_calls(asked, tools)
        allowed = [*_WANTED, *([(_OTHER.name, {})] if choice is not named else [])]
        if len(made) != 1 or made[0] not in allowed:
            ignored.append(kind)
    subject.grammar = not ignored
    if ignored:
        return _without_grammar(
            subject, f"`structured_outputs` is ignored or dropped ({', '.join(ignored)})"
        )
    return passed("required, named and free calls keep to their schema")


def _without_grammar(subject: Subject, why: str) -> Finding:
    says = f"calls are not held to their schema while they are written: {why}"
    if not subject.is_vllm:
        return warned(f"{says}; agentkit checks calls and asks again")
    return failed(says, "--structured-outputs-config.backend xgrammar, and " + PROXY)


async def control(subject: Subject) -> Finding:
    """What forced calls and typed answers can be held to, as agents find it out."""
    found = await subject.server.control.get()
    says = {
        "grammar": "calls are held to their schema by Gemma's grammar",
        "tool_choice": "forced calls are made by `tool_choice`",
        "json_schema": "forced calls are made by `response_format`",
        "free": "nothing can be forced",
    }[found]
    if not LOST[found]:
        return passed(says)
    return warned(f"{says}: {LOST[found]}", "a vLLM of one's own takes Gemma's grammar")


async def fields(subject: Subject) -> Finding:
    """Which fields the server does not take."""
    if not (left_out := sorted(subject.server.without)):
        return passed("all fields of a request are taken")
    lost = "; ".join(f"{name}: {OPTIONAL[name]}" for name in left_out)
    return warned(f"the server refuses fields, which are left out ({lost})")


_SPAN = 48  # tokens of the replies by which the cost of one is measured
_ROUNDS = 4  # so often at most each kind of reply is timed, for a busy machine to be quiet once
_DEAR_MS = 5.0  # milliseconds more for each token that nobody would put up with


async def grammar_cost(subject: Subject) -> Finding:
    """What the grammar of the tools costs for each token of a reply.

    The whole of a reply is timed, since its pieces may come late and all at once; the prompt is the
    same each time, and cached. What else runs on the machine makes replies slower and never faster:
    the quickest of each kind are told, and the grammar is blamed only where even its quickest reply
    is far behind the slowest without one.
    """
    if not subject.grammar:
        return passed("not asked: calls are held to no grammar")

    async def timed(*, held: bool) -> tuple[float, float] | None:
        """Milliseconds to the first token, and for each; None where nothing streams."""
        asked = await subject.ask(
            LONG_TASK,
            tools=(REPORT,),
            choice=ToolChoice("auto") if held else None,
            stream=True,
            max_tokens=_SPAN,
            extra=subject.at_least(_SPAN),
        )
        if len(asked.arrivals) < 2:
            return None
        tokens = max(asked.response.usage.output_tokens, 1)
        return 1000 * asked.arrivals[0], 1000 * asked.arrivals[-1] / tokens

    if (compiled := await timed(held=True)) is None:
        return passed("could not be told: replies come in one piece")
    first, held, free = math.inf, math.inf, math.inf
    slowest = 0.0
    for _ in range(_ROUNDS):
        without, known = await timed(held=False), await timed(held=True)
        if without is None or known is None:
            return passed("could not be told: replies come in one piece")
        free, slowest = min(free, without[1]), max(slowest, without[1])
        first, held = min(first, known[0]), min(held, known[1])
        if not _is_dear(held, slowest):
            break
    says = f"{held:.1f} ms a token with the grammar, {free:.1f} without"
    figures = {
        "ms a token with the grammar": round(held, 2),
        "ms a token without": round(free, 2),
        "ms to the first token of a new grammar": round(compiled[0], 1),
        "ms to the first token of a known grammar": round(first, 1),
    }
    if _is_dear(held, slowest):
        return warned(
            f"{says}: replies that offer tools are that much slower",
            "--structured-outputs-config.backend xgrammar; or ModelSettings(grammar=False)",
            figures,
        )
    return passed(says, figures)


def _is_dear(held: float, free: float) -> bool:
    return held - free > max(_DEAR_MS, free / 2)


_REASONING = "ready"
_ANSWER = "Fine."


async def reasoning_parser(subject: Subject) -> Finding:
    """Reasoning must come back as reasoning, not as part of the answer."""
    if subject.is_gemma is False:
        return passed(NO_GEMMA)
    told = f"{CHANNEL_OPEN}thought\n{_REASONING}{CHANNEL_CLOSE}{_ANSWER}"
    held: JsonObject = {"structured_outputs": {"choice": [told]}}
    forced = await subject.ask(
        "Think, then answer.", extra={**held, **bias(CHANNEL_OPEN, CHANNEL_CLOSE)}
    )
    freely = forced
    if not (forced.reasoning or await _had_reasoning(subject, forced)):
        freely = await subject.ask("Is 91 a prime? Think first.", thinking=True, max_tokens=256)
    for asked in (forced, freely):
        if asked.reasoning:
            return passed("thoughts come back apart from the answer")
        if await _had_reasoning(subject, asked):
            return failed("thoughts come back as part of the answer", "--reasoning-parser gemma4")
    return warned("could not be told: the model was asked for a thought and had none")


async def _had_reasoning(subject: Subject, asked: Exchange) -> bool:
    """Whether the model reasoned, by its own words or by what leaked of them."""
    words = await subject.words(asked) or asked.text
    return f"{CHANNEL_OPEN}thought\n" in words or words.startswith("thought\n")


async def own_tokens(subject: Subject) -> Finding:
    """The model's own tokens: with them a call that the server garbled can be read again."""
    asked = await subject.ask("Say hello.", max_tokens=8)
    produced, ids = asked.response.usage.output_tokens, asked.reply.token_ids
    if not ids or await subject.words(asked) is None:
        says = (
            "replies come without the model's own tokens: calls that are garbled on the way stay so"
        )
        return failed(says, PROXY) if subject.is_vllm else warned(says)
    if len(ids) != produced:
        return failed(f"{len(ids)} tokens came, {produced} are counted", PROXY)
    return passed("replies come with the model's own tokens, and they are counted right")


_LONG = ToolDefinition(
    "write_text",
    "Writes a text.",
    {
        "type": "object",
        "properties": {"text": {"type": "string", "enum": [f"{CITY} " * 60]}},
        "required": ["text"],
    },
)
_CUT_AT = 16


async def cut_replies(subject: Subject) -> Finding:
    """A reply that ran out of room must be seen as cut, a call above all: it would run in part."""
    wrong = []
    for stream in (False, True):
        way = "streamed" if stream else "whole"
        text = await subject.ask(
            LONG_TASK,
            stream=stream,
            max_tokens=_CUT_AT,
            extra=subject.at_least(_CUT_AT),
        )
        produced = text.response.usage.output_tokens
        if text.response.finish_reason != "length" and not 0 < produced < _CUT_AT:
            wrong.append(f"{way} text")  # a model that wrote less ended by itself
        if subject.grammar:
            call = await subject.ask(
                tools=(_LONG,), choice=FORCED, stream=stream, max_tokens=_CUT_AT, extra=NATIVE_BIAS
            )
            if call.response.finish_reason != "length":
                wrong.append(f"{way} calls")
    if not wrong:
        return passed("replies that ran out of room are seen as cut")
    says = f"{', '.join(wrong)} that ran out of room look finished"
    if not subject.is_vllm:
        return warned(f"{says}, if the model wrote that much")
    return failed(says, f"{PROXY}: `finish_reason`, `usage` and `token_ids` tell")
