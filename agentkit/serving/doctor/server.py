"""Probes of the server itself: its version, model, window and chat template; how it counts and
tokenizes messages; and how it reads the model's tokens: calls, reasoning, grammars and cut replies.
"""

from __future__ import annotations

import math
import re
import secrets
from typing import NamedTuple

from agentkit.errors import ModelStatusError, ServerNotReadyError
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.profiles import PROBE, fingerprint
from agentkit.gemma4.render import Generation, TemplateVariant, render
from agentkit.gemma4.tokens import CHANNEL_CLOSE, CHANNEL_OPEN, CONTROL_LITERALS
from agentkit.messages import JsonObject, ToolChoice, ToolDefinition, UserMessage
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
from agentkit.serving.plan import OLDEST_VLLM, TESTED_VLLM
from agentkit.wire import OPTIONAL, names_server, read_special_tokens


async def steadiness(subject: Subject) -> Finding:
    """Whether requests were answered at the first try."""
    if not subject.unsteady:
        return passed("every request was answered")
    statuses = ", ".join(map(str, sorted(set(subject.unsteady))))
    return warned(
        f"{len(subject.unsteady)} of {subject.asked} requests were put off ({statuses}) and "
        "answered when they were made again: each costs an agent some seconds",
        "look for a limit of rate or of waiting requests (vLLM: --max-num-queued-reqs), or for a "
        "replica that is down",
    )


_LEAST_WINDOW = 4096
"""Tokens below which instructions, a few tools, a result and a reply do not fit together."""


async def version(subject: Subject) -> Finding:
    """VLLM's version against the range that agentkit supports."""
    if not subject.is_vllm:
        named = names_server(subject.owner)
        what = f"this is {named}" if named and named != "vLLM" else "no vLLM tells its version here"
        return warned(
            f"{what}; what agents do without is told by the probes that follow",
            "reach vLLM itself, if it is behind a proxy; else agentkit serve MODEL starts one",
        )
    if not _RELEASE.match(subject.version):
        return warned(
            f"vLLM {subject.version} is no release, so its version does not tell what it can do",
            "the other probes tell whether what agentkit relies on holds",
        )
    numbers = _numbers(subject.version)
    if numbers < _numbers(OLDEST_VLLM):
        return failed(
            f"vLLM {subject.version} loses arguments of calls while it streams (vllm#45588)",
            f"install vLLM {OLDEST_VLLM} or newer; {TESTED_VLLM} is what agentkit is tested with",
        )
    if numbers > _numbers(TESTED_VLLM):
        return warned(
            f"vLLM {subject.version} is newer than {TESTED_VLLM}, which agentkit is tested with",
            "the other probes tell whether what agentkit relies on still holds",
        )
    return passed(f"vLLM {subject.version}")


_RELEASE = re.compile(r"v?\d+\.\d++(?!\.dev\d)")
"""A version that counts; a checkout without its tags builds `0.1.dev9+g1a2b3c4`, or `dev`."""


def _numbers(text: str) -> tuple[int, ...]:
    """Major, minor and patch, without suffixes such as `rc1` and `+cpu`."""
    found = re.match(r"v?(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else (0, 0, 0)


async def model(subject: Subject) -> Finding:
    """Whether the served name tells which Gemma 4 it is."""
    if subject.is_gemma is False:
        return warned(
            f"{subject.model} is no Gemma 4: nothing of Gemma is sent to it, calls are not held to "
            "Gemma's grammar, and its window and media are what the server says",
            "agentkit is made for Gemma 4: agentkit serve google/gemma-4-26B-A4B-it",
        )
    if not subject.known_model:
        return warned(
            f"{subject.model} is served; the name does not say which Gemma 4 it is, so its "
            "window, its media and whether it should think are guessed",
            "serve it under a name that does: --served-model-name gemma-4-26b-mine",
        )
    return passed(f"{subject.model} is served: profile {subject.profile.name}")


async def window(subject: Subject) -> Finding:
    """The server's window against what the model can use."""
    tokens, profile = subject.window, subject.profile
    if tokens is None:
        return warned(
            f"the server does not say how long its window is; {profile.context_window} is assumed",
            "no proxy may drop max_model_len from /v1/models",
        )
    if tokens < _LEAST_WINDOW:
        return failed(
            f"{tokens:,} tokens are too few for instructions, tools, results and a reply",
            f"--max-model-len {profile.compaction_point * 4 // 3} or more",
        )
    if subject.known_model and tokens < profile.compaction_point:
        return warned(
            f"{tokens:,} tokens; {profile.name} works well up to {profile.compaction_point:,} "
            "tokens of prompt, older steps will be left out earlier",
            f"--max-model-len {profile.compaction_point * 4 // 3}, if memory permits",
        )
    if subject.known_model and tokens > profile.context_window:
        return warned(
            f"{tokens:,} tokens are more than the {profile.context_window:,} of {profile.name}",
            f"--max-model-len {profile.context_window}",
        )
    return passed(f"{tokens:,} tokens")


# --- messages ------------------------------------------------------------------------------------


_NOT_SHOWN = "the server does not show its prompts (/tokenize, /detokenize)"
_SERVE_DIRECTLY = "reach vLLM itself: a proxy before it hides these paths"
_TEMPLATE = (
    "--chat-template FILE with the chat_template.jinja of the newest google/gemma-4-*-it release"
)


async def template(subject: Subject) -> Finding:
    """The generation of the chat template, recognised by the prompt of a fixed conversation."""
    if subject.is_gemma is False:
        return passed(NO_GEMMA)
    prompt = await subject.prompt(PROBE.messages, PROBE.tools)
    if prompt is None:
        return warned(f"{_NOT_SHOWN}, so its template is not known", _SERVE_DIRECTLY)
    subject.template = fingerprint(prompt.text)
    if subject.template == "april":
        return failed(
            "a chat template from before July 2026: parameters with names like `type` vanish, "
            "null becomes None, the system text may be printed as a Python list",
            _TEMPLATE,
        )
    if subject.template == "unknown":
        lost = [what for what, sign in _SIGNS if sign not in prompt.text]
        if lost:
            return failed(
                f"the chat template is not Gemma 4's: it loses {', '.join(lost)}", _TEMPLATE
            )
        return warned("a chat template of its own; it shows tools, calls and results", _TEMPLATE)
    return passed(f"{subject.template}, as agentkit renders it")


_SIGNS = (
    ("the user's text", "ping"),
    ("tools", "Checks a template."),
    ("parameters named like JSON Schema's own words", "A name of JSON Schema itself."),
    ("calls", "call:probe{"),
    ("results", "pong"),
)


async def token_counts(subject: Subject) -> Finding:
    """Whether agentkit's rendering, the server's /tokenize and `usage` count a prompt alike."""
    # Long enough that a proxy which cuts prompts would cut it, and new each time.
    text = f"How many tokens are these? {secrets.token_hex(128)} <br> 日本語"
    tools = () if subject.tools is False else (REPORT,)
    prompt = await subject.prompt((UserMessage(text),), tools)
    reply = await subject.ask(text, tools=tools, max_tokens=1)
    used = reply.response.usage.input_tokens
    if prompt is None:
        return warned(f"{_NOT_SHOWN}; prompts are counted by estimate", _SERVE_DIRECTLY)
    if not used:
        return failed("replies come without usage", "no proxy may drop `usage` from replies")
    counts = {"/tokenize": len(prompt.ids), "usage": used}
    if subject.template.startswith("canonical"):
        variant: TemplateVariant = "small" if subject.template == "canonical-small" else "large"
        functions = [tool.declaration for tool in tools]
        rendered = render((UserMessage(text),), functions, Generation(variant=variant))
        ours = await subject.tokens(rendered)
        counts["agentkit's own rendering"] = len(ours or ())
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        return failed(
            f"one prompt is counted differently: {said}",
            "something between here and vLLM changes requests; let it pass them as they are",
        )
    return passed(f"{', '.join(counts)} agree")


async def control_tokens(subject: Subject) -> Finding:
    """Whether text from outside that spells control tokens stays text."""
    info = await subject.get("/tokenizer_info")
    listed = read_special_tokens(info) if info else []
    literals = {*CONTROL_LITERALS, *listed}
    literals = {text for text in literals if text and not any(map(str.isspace, text))}
    escape = Escape(literals)
    spelled = " ".join(sorted(literals))
    escaped = await subject.tokens(escape.escape(spelled))
    if escaped is None or not await subject.tokens(spelled):
        return warned(
            f"{_NOT_SHOWN}, so nobody can see whether forged turns stay text", _SERVE_DIRECTLY
        )
    control: set[int] = set()
    for literal in sorted(literals):
        ids = await subject.tokens(literal) or []
        if len(ids) == 1:
            control.add(ids[0])
    if forged := control & set(escaped):
        return failed(
            f"{len(forged)} control tokens can be forged by text, though it is escaped",
            "serve the checkpoint with its own tokenizer, and report this to agentkit",
        )
    where = "the served tokenizer" if listed else "Gemma 4"
    return passed(f"none of {len(control)} control tokens of {where} can be forged by text")


# --- the model's tokens --------------------------------------------------------------------------

_WANTED = [(REPORT.name, {"city": CITY})]
_OTHER = ToolDefinition(
    "stay_idle",
    "Does nothing.",
    {"type": "object", "properties": {}, "additionalProperties": False},
)


async def tool_parser(subject: Subject) -> Finding:
    """Whether a call that the model makes comes back as a call."""
    try:
        forced = await subject.ask(tools=(REPORT,), choice=FORCED, extra=NATIVE_BIAS)
    except ServerNotReadyError as error:
        subject.tools = False
        return failed(str(error), TOOL_FLAGS)
    except ModelStatusError as error:
        if is_away(error):
            raise
        # It refuses the grammar or the tools: a request without the grammar shows which.
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
    """Whether required, named and free calls are held to their schema while they are decoded."""
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
    """How forced calls and typed answers can be enforced, as agents find it out."""
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
    """Which fields of a request the server refuses."""
    if not (left_out := sorted(subject.server.without)):
        return passed("all fields of a request are taken")
    lost = "; ".join(f"{name}: {OPTIONAL[name]}" for name in left_out)
    return warned(f"the server refuses fields, which are left out ({lost})")


_SPAN = 48  # tokens of the replies that are timed
_ROUNDS = 4  # most timings of each kind of reply, so that a busy machine is quiet once
_DEAR_MS = 5.0  # further milliseconds a token that nobody would accept


class _Pace(NamedTuple):
    """Milliseconds until the first token of a reply, and for each of its tokens."""

    first: float
    per_token: float


async def grammar_cost(subject: Subject) -> Finding:
    """What the grammar of the tools costs for each token of a reply.

    Whole replies are timed, since their pieces may come late and all at once; the prompt is the
    same each time, and cached. Other work on the machine makes replies slower and never faster. So
    the fastest reply of each kind is reported, and the grammar is blamed only if its fastest reply
    is still far behind the slowest one without it.
    """
    if not subject.grammar:
        return passed("not asked: calls are held to no grammar")

    async def timed(*, held: bool) -> _Pace | None:
        """Times one reply, with the grammar or without; None if it comes in one piece."""
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
        return _Pace(1000 * asked.arrivals[0], 1000 * asked.arrivals[-1] / tokens)

    if (compiled := await timed(held=True)) is None:
        return passed("could not be told: replies come in one piece")
    first, held, free = math.inf, math.inf, math.inf
    slowest = 0.0
    for _ in range(_ROUNDS):
        without, known = await timed(held=False), await timed(held=True)
        if without is None or known is None:
            return passed("could not be told: replies come in one piece")
        free, slowest = min(free, without.per_token), max(slowest, without.per_token)
        first, held = min(first, known.first), min(held, known.per_token)
        if not _is_dear(held, slowest):
            break
    says = f"{held:.1f} ms a token with the grammar, {free:.1f} without"
    figures = {
        "ms a token with the grammar": round(held, 2),
        "ms a token without": round(free, 2),
        "ms to the first token of a new grammar": round(compiled.first, 1),
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
    """Whether reasoning comes back as reasoning, not as part of the answer."""
    if subject.is_gemma is False:
        return passed(NO_GEMMA)
    exchanges: list[Exchange] = []
    if subject.grammar is not False:
        reply = f"{CHANNEL_OPEN}thought\n{_REASONING}{CHANNEL_CLOSE}{_ANSWER}"
        held: JsonObject = {"structured_outputs": {"choice": [reply]}}
        exchanges.append(
            await subject.ask(
                "Think, then answer.", extra={**held, **bias(CHANNEL_OPEN, CHANNEL_CLOSE)}
            )
        )
    if not any([a.reasoning or await _had_reasoning(subject, a) for a in exchanges]):
        exchanges.append(
            await subject.ask("Is 91 a prime? Think first.", thinking=True, max_tokens=256)
        )
    for asked in exchanges:
        if asked.reasoning:
            return passed("reasoning comes back apart from the answer")
        if await _had_reasoning(subject, asked):
            if _REASONING in (await subject.words(asked) or "") and _REASONING not in asked.text:
                return failed("reasoning does not come back: it is cut from replies", PROXY)
            return failed("reasoning comes back as part of the answer", "--reasoning-parser gemma4")
    return warned("could not be told: the model was asked to reason and did not")


async def _had_reasoning(subject: Subject, asked: Exchange) -> bool:
    """Whether the model reasoned, by its own tokens or by reasoning that leaked into the text."""
    words = await subject.words(asked) or asked.text
    return f"{CHANNEL_OPEN}thought\n" in words or words.startswith("thought\n")


async def own_tokens(subject: Subject) -> Finding:
    """Whether replies have the model's own tokens: from them a garbled call can be read again."""
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
    """Whether a reply that ran out of room is seen as cut; otherwise half a call would run."""
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
