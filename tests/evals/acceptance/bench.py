"""A model that does what a good server's would do, for scenarios without a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agentkit_evals.acceptance.bench import Bench

from agentkit import ContextWindowError, ServerNotReadyError
from agentkit.messages import ImagePart, ModelRequest, ToolMessage, Usage, UserMessage, text_of
from agentkit.testing import Reply, ScriptedModel, call, cut, say

WINDOW = 8192
_VALUES: dict[str, Any] = {"integer": 3, "string": "Agent"}

Answer = Callable[[ModelRequest], Reply]


def good(request: ModelRequest) -> Reply:
    """Calls what must be called, or what is on offer, once; and answers otherwise."""
    tokens = sum(len(text_of(message.content or "")) for message in request.messages) // 3
    if tokens > WINDOW:
        raise ContextWindowError("the prompt is too long")
    reply = replace(_reply(request), usage=Usage(input_tokens=tokens + 8, output_tokens=4))
    return cut(reply) if request.settings.max_tokens == 4 else reply


def _reply(request: ModelRequest) -> Reply:
    last = request.messages[-1]
    if isinstance(last, UserMessage) and any(isinstance(p, ImagePart) for p in last.content):
        raise ServerNotReadyError("this model takes no image")
    if isinstance(last, ToolMessage) or not request.tools or request.tool_choice.mode == "none":
        return say("Hello.")
    named = [t for t in request.tools if t.name == request.tool_choice.name]
    answers = [t for t in request.tools if t.name == "final_answer"]
    wanted = (named or answers or list(request.tools))[0]
    return call(wanted.name, **value_of(wanted.parameters))


def value_of(schema: dict[str, Any]) -> Any:
    """A value that fits a schema of the scenarios."""
    if schema["type"] == "object":
        return {name: value_of(inner) for name, inner in schema["properties"].items()}
    return schema["enum"][0] if "enum" in schema else _VALUES[schema["type"]]


def bench_of(answer: Answer = good) -> Bench:
    """A bench whose models all answer like this, and which serves one name."""

    def make(name: str) -> ScriptedModel:
        if name == "no-such-model":
            return ScriptedModel([ServerNotReadyError("there is no model 'no-such-model'")])
        return ScriptedModel([answer] * 100)

    return Bench(make, "scripted", WINDOW)
