"""Who is there and what it makes of messages: vLLM's version, the model, its window, its template,
its counts and its control tokens.
"""

from __future__ import annotations

import re
import secrets

from agentkit.gemma4.escape import Escape
from agentkit.gemma4.profiles import PROBE, fingerprint
from agentkit.gemma4.render import Generation, TemplateVariant, render
from agentkit.gemma4.tokens import CONTROL_LITERALS
from agentkit.messages import UserMessage
from agentkit.serving.doctor.subject import (
    NO_GEMMA,
    REPORT,
    Finding,
    Subject,
    failed,
    passed,
    warned,
)
from agentkit.serving.plan import OLDEST_VLLM, TESTED_VLLM
from agentkit.wire import names_server, read_special_tokens


async def steadiness(subject: Subject) -> Finding:
    """Whether requests were answered at the first try."""
    if not subject.unsteady:
        return passed("every request was answered")
    said = ", ".join(str(status) for status in sorted(set(subject.unsteady)))
    return warned(
        f"{len(subject.unsteady)} of {subject.asked} requests were put off ({said}) and answered "
        "when they were made again: each costs an agent some seconds",
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
    """Major, minor and patch; what follows them (`rc1`, `+cpu`) does not count."""
    found = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else (0, 0, 0)


async def model(subject: Subject) -> Finding:
    """Whether the served name tells which Gemma 4 it is; that it is served is settled before."""
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


# --- what it makes of messages -------------------------------------------------------------------


_NOT_TOLD = "the server does not show its prompts (/tokenize, /detokenize)"
_SERVE_DIRECTLY = "reach vLLM itself: a proxy before it hides these paths"
_TEMPLATE = (
    "--chat-template FILE with the chat_template.jinja of the newest google/gemma-4-*-it release"
)


async def template(subject: Subject) -> Finding:
    """The generation of the chat template, told by the prompt of a fixed conversation."""
    if subject.is_gemma is False:
        return passed(NO_GEMMA)
    probe = PROBE
    told = await subject.prompt(probe.messages, probe.tools)
    if told is None:
        return warned(f"{_NOT_TOLD}, so its template is not known", _SERVE_DIRECTLY)
    subject.template = fingerprint(told[0])
    if subject.template == "april":
        return failed(
            "a chat template from before July 2026: parameters with names like `type` vanish, "
            "null becomes None, the system text may be printed as a Python list",
            _TEMPLATE,
        )
    if subject.template == "unknown":
        lost = [what for what, sign in _SIGNS if sign not in told[0]]
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
    """Our rendering, the server's /tokenize and the request's own usage: one number each."""
    # Long enough to be cut by whoever cuts at all, and new each time.
    text = f"How many tokens are these? {secrets.token_hex(128)} <br> 日本語"
    tools = () if subject.tools is False else (REPORT,)
    told = await subject.prompt((UserMessage(text),), tools)
    reply = await subject.ask(text, tools=tools, max_tokens=1)
    used = reply.response.usage.input_tokens
    if told is None:
        return warned(f"{_NOT_TOLD}; prompts are counted by estimate", _SERVE_DIRECTLY)
    if not used:
        return failed("replies come without usage", "no proxy may drop `usage` from replies")
    counts = {"/tokenize": len(told[1]), "usage": used}
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
    told = await subject.get("/tokenizer_info")
    listed = read_special_tokens(told) if told else []
    literals = {*CONTROL_LITERALS, *listed}
    literals = {text for text in literals if text and not any(map(str.isspace, text))}
    escape = Escape(literals)
    spelled = " ".join(sorted(literals))
    escaped = await subject.tokens(escape.escape(spelled))
    if escaped is None or not await subject.tokens(spelled):
        return warned(
            f"{_NOT_TOLD}, so nobody can see whether forged turns stay text", _SERVE_DIRECTLY
        )
    control = set()
    for literal in sorted(literals):
        ids = await subject.tokens(literal) or []
        control |= {ids[0]} if len(ids) == 1 else set()
    if forged := control & set(escaped):
        return failed(
            f"{len(forged)} control tokens can be forged by text, though it is escaped",
            "serve the checkpoint with its own tokenizer, and report this to agentkit",
        )
    where = "the served tokenizer" if listed else "Gemma 4"
    return passed(f"none of {len(control)} control tokens of {where} can be forged by text")
