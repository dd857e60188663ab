"""What the server makes of messages: its template, its counts, its control tokens."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from agentkit.gemma4.escape import Escape
from agentkit.gemma4.profiles import PROBE, fingerprint
from agentkit.gemma4.render import Generation, TemplateVariant, render
from agentkit.gemma4.tokens import CONTROL_LITERALS
from agentkit.messages import ToolDefinition, UserMessage
from agentkit.serving.doctor.finding import Finding, failed, passed, warned
from agentkit.serving.doctor.subject import REPORT, Subject
from agentkit.wire import read_special_tokens

_NOT_TOLD = "the server does not show its prompts (/tokenize, /detokenize)"
_SERVE_DIRECTLY = "reach vLLM itself: a proxy before it hides these paths"
_TEMPLATE = (
    "--chat-template FILE with the chat_template.jinja of the newest google/gemma-4-*-it release"
)


async def template(subject: Subject) -> Finding:
    """The generation of the chat template, told by the prompt of a fixed conversation."""
    if subject.is_gemma is False:
        return passed("not asked: the model is no Gemma 4")
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
    text = f"How many tokens are these? {secrets.token_hex(4)} <br> 日本語"
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
        ours = await subject.tokens(_rendered(text, tools, subject.template))
        counts["agentkit's own rendering"] = len(ours or ())
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        return failed(
            f"one prompt is counted differently: {said}",
            "something between here and vLLM changes requests; let it pass them as they are",
        )
    return passed(f"{', '.join(counts)} agree")


def _rendered(text: str, tools: Sequence[ToolDefinition], generation: str) -> str:
    variant: TemplateVariant = "small" if generation == "canonical-small" else "large"
    functions = [t.declaration for t in tools]
    return render((UserMessage(text),), functions, Generation(variant=variant))


async def control_tokens(subject: Subject) -> Finding:
    """Whether text from outside that spells control tokens stays text."""
    told = await subject.get("/tokenizer_info")
    listed = read_special_tokens(told) if told else []
    literals = {*CONTROL_LITERALS, *listed}
    literals = {text for text in literals if text and not any(map(str.isspace, text))}
    escape = Escape(literals)
    spelled = " ".join(sorted(literals))
    escaped = await subject.tokens(escape.escape(spelled))
    bare = await subject.tokens(spelled)
    if escaped is None or bare is None:
        return warned(
            f"{_NOT_TOLD}, so nobody can see whether forged turns stay text", _SERVE_DIRECTLY
        )
    control = set()
    if not bare:
        return warned(f"{_NOT_TOLD}, so nobody can see whether forged turns stay text")
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
