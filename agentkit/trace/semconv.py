"""A run in the words of OpenTelemetry's semantic conventions for generative AI.

The one place that spells them. Names are those of the conventions' version 1.41 (status:
development), which `opentelemetry-semantic-conventions` 0.66 lists as
`opentelemetry.semconv._incubating.attributes.gen_ai_attributes`; spelled here so that the package
is not needed. What they have no word for is named `agentkit.*`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from agentkit.events import ModelCalled, RunStarted, ToolFinished, as_json
from agentkit.messages import (
    AssistantMessage,
    Content,
    JsonObject,
    Message,
    ModelRequest,
    ModelSettings,
    TextPart,
    ToolCall,
    ToolMessage,
    Usage,
)
from agentkit.redaction import redacted, without_secrets

Value: TypeAlias = str | bool | int | float | Sequence[str]
Attributes: TypeAlias = dict[str, Value]

ERROR_TYPE: Final = "error.type"
PROVIDER: Final = "vllm"
"""The conventions have no name for it; a custom value is allowed where none of theirs applies."""

_SETTINGS: Final[Mapping[str, str]] = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "max_tokens": "gen_ai.request.max_tokens",
    "stop": "gen_ai.request.stop_sequences",
}


def run_attributes(event: RunStarted, agent: str | None) -> Attributes:
    """Of the span `invoke_agent`, when it starts."""
    named: Attributes = {"gen_ai.agent.name": agent} if agent else {}
    return _operation("invoke_agent", event.model, event.run_id) | named


def chat_attributes(run_id: str, model: str, settings: ModelSettings | None) -> Attributes:
    """Of a span `chat`, of what was asked."""
    attributes = _operation("chat", model, run_id)
    for name, attribute in _SETTINGS.items():
        if settings is not None and (value := getattr(settings, name)) is not None:
            attributes[attribute] = float(value) if name == "top_k" else value
    return attributes


def result_attributes(event: ModelCalled) -> Attributes:
    """Of a span `chat`, of what came."""
    attributes: Attributes = {
        "gen_ai.response.model": event.model,
        "gen_ai.response.finish_reasons": [event.response.finish_reason],
        **usage_attributes(event.response.usage),
    }
    if event.first_token is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = event.first_token
    return attributes


def usage_attributes(usage: Usage) -> Attributes:
    """Tokens."""
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }


def call_attributes(call: ToolCall) -> Attributes:
    """Of a span `execute_tool`, when it starts."""
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.name,
        "gen_ai.tool.call.id": call.id,
        "gen_ai.tool.type": "function",
    }


def _operation(name: str, model: str, run_id: str) -> Attributes:
    return {
        "gen_ai.operation.name": name,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": model,
        "gen_ai.conversation.id": run_id,
    }


# --- content: only where somebody asked for it ----------------------------------------------------


def call_content(call: ToolCall) -> Attributes:
    """A call's arguments."""
    return {"gen_ai.tool.call.arguments": _json(call.arguments)}


def result_content(event: ToolFinished) -> Attributes:
    """A call's result."""
    return {"gen_ai.tool.call.result": _json(event.result.content)}


def chat_content(request: ModelRequest, event: ModelCalled) -> Attributes:
    """What was sent and what came back, as the conventions' JSON schemas have it."""
    history = [message for message in request.messages if message.role != "system"]
    system = [message for message in request.messages if message.role == "system"]
    reply = _message(event.response.message) | {"finish_reason": event.response.finish_reason}
    attributes: Attributes = {
        "gen_ai.input.messages": _json([_message(message) for message in history]),
        "gen_ai.output.messages": _json([reply]),
    }
    if system:
        parts = [part for message in system for part in _parts(message.content)]
        attributes["gen_ai.system_instructions"] = _json(parts)
    if request.tools:
        attributes["gen_ai.tool.definitions"] = _json(
            [
                {
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                }
                for tool in request.tools
            ]
        )
    return attributes


def _message(message: Message) -> JsonObject:
    if isinstance(message, ToolMessage):
        answer = {"type": "tool_call_response", "id": message.call_id, "response": message.content}
        return {"role": "tool", "parts": [answer]}
    parts: list[Any] = []
    if isinstance(message, AssistantMessage):
        if message.reasoning:
            parts.append({"type": "reasoning", "content": message.reasoning})
        parts += [
            {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
            for call in message.tool_calls
        ]
    return {"role": message.role, "parts": [*parts, *_parts(message.content)]}


def _parts(content: Content | None) -> list[JsonObject]:
    """Text, and of other parts only what they are."""
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    return [
        {"type": "text", "content": part.text}
        if isinstance(part, TextPart)
        else {"type": "blob", "modality": part.type}
        for part in content
    ]


def _json(value: object) -> str:
    """Text as it is, everything else as JSON; no secret that was registered."""
    return redacted(value) if isinstance(value, str) else without_secrets(as_json(value)).decode()
