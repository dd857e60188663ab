"""OpenTelemetry spans of runs, by the semantic conventions for generative AI.

```
 invoke_agent ──┬── chat            one for each model call, second tries included
                ├── execute_tool ── (spans that the tool itself makes, a sub-agent's invoke_agent)
                └── chat
```
Needs the extra `otel`. Give a tracer provider, or set the global one, to choose where spans go.
Exporting happens in the SDK's own threads, so that a slow collector does not slow a run.

The names are those of the conventions' version 1.41 (status: development), which
`opentelemetry-semantic-conventions` 0.66 lists as
`opentelemetry.semconv._incubating.attributes.gen_ai_attributes`; they are spelled here so that the
package is not needed. What the conventions have no name for is named `agentkit.*`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextvars import Token
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from agentkit.errors import install
from agentkit.events import (
    Event,
    ModelCalled,
    RunFinished,
    RunStarted,
    StepRestarted,
    StepStarted,
    ToolFinished,
    ToolStarted,
    as_json,
)
from agentkit.messages import (
    AssistantMessage,
    Content,
    JsonObject,
    Message,
    ModelRequest,
    ModelSettings,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    Usage,
)
from agentkit.redaction import redacted, without_secrets

try:
    from opentelemetry import context as otel_context
    from opentelemetry.context import Context
    from opentelemetry.trace import (
        Span,
        SpanKind,
        Status,
        StatusCode,
        TracerProvider,
        get_tracer,
        set_span_in_context,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"agentkit.trace.otel needs the extra `otel`: {install('otel')}", name=error.name
    ) from None


@dataclass(slots=True)
class _Call:
    span: Span
    token: Token[Context]


@dataclass(slots=True)
class _Run:
    """The open spans of a run."""

    span: Span
    context: Context
    token: Token[Context]
    model: str
    messages: list[Message]
    tools: tuple[ToolDefinition, ...] = ()
    asked_at: int | None = None  # nanoseconds since 1970, while the model is being asked
    calls: dict[str, _Call] = field(default_factory=dict)


class OpenTelemetryObserver:
    """Makes spans of every run it observes: `Agent(..., observers=[OpenTelemetryObserver()])`.

    Args:
        tracer_provider: Makes the spans; default: the global one.
        agent: The agent's name, for `gen_ai.agent.name` and the span's name.
        content: Also puts messages, arguments and results into the spans. Off by default: they
            are whatever users, files and tools say. Each `chat` span then holds the whole request.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        *,
        agent: str | None = None,
        content: bool = False,
    ) -> None:
        self._tracer = get_tracer("agentkit", tracer_provider=tracer_provider)
        self._agent = agent
        self._content = content
        self._runs: dict[str, _Run] = {}

    def __call__(self, run_id: str, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._runs[run_id] = self._begin(event)
            return
        run = self._runs.get(run_id)
        if run is None:
            return
        match event:
            case StepStarted() | StepRestarted():
                run.asked_at = time.time_ns()
            case ModelCalled():
                self._called(run_id, run, event)
            case ToolStarted():
                self._call_started(run, event)
            case ToolFinished():
                self._call_finished(run, event)
            case RunFinished():
                del self._runs[run_id]
                self._finish(run_id, run, event)
            case _:
                pass

    # --- the run ---------------------------------------------------------------------------------

    def _begin(self, event: RunStarted) -> _Run:
        name = f"invoke_agent {self._agent}" if self._agent else "invoke_agent"
        attributes = _operation("invoke_agent", event.model, event.run_id)
        if self._agent:
            attributes["gen_ai.agent.name"] = self._agent
        span = self._tracer.start_span(name, kind=SpanKind.INTERNAL, attributes=attributes)
        context = set_span_in_context(span)
        # What runs inside, a tool's own spans or a sub-agent's, finds its parent here.
        token = otel_context.attach(context)
        return _Run(span, context, token, event.model, list(event.messages))

    def _finish(self, run_id: str, run: _Run, event: RunFinished) -> None:
        result = event.result
        for call in run.calls.values():  # tasks that were cancelled: their contexts are gone
            _failed(call.span, "cancelled")
            call.span.end()
        failed = result.stop_reason == "error"
        if failed and run.asked_at is not None:
            attributes = chat_attributes(run_id, run.model, None)
            span = self._chat(run, attributes, run.asked_at)
            _failed(span, "error")
            span.end()
        run.span.set_attributes(usage_attributes(result.usage))
        run.span.set_attribute("agentkit.stop_reason", result.stop_reason)
        run.span.set_attribute("agentkit.steps", result.steps)
        if failed:
            _failed(run.span, "error", redacted(result.explanation) if self._content else None)
        run.span.end()
        otel_context.detach(run.token)

    # --- model calls -----------------------------------------------------------------------------

    def _called(self, run_id: str, run: _Run, event: ModelCalled) -> None:
        run.asked_at, run.model = None, event.model
        end = time.time_ns()
        attributes = chat_attributes(run_id, event.model, event.settings)
        attributes |= result_attributes(event)
        if self._content:
            run.messages[event.same :] = event.messages
            run.tools = run.tools if event.tools is None else event.tools
            request = ModelRequest(tuple(run.messages), run.tools)
            attributes |= chat_content(request, event)
        span = self._chat(run, attributes, end - int(event.seconds * 1e9))
        span.end(end)

    def _chat(self, run: _Run, attributes: Attributes, start: int) -> Span:
        return self._tracer.start_span(
            f"chat {run.model}",
            context=run.context,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=start,
        )

    # --- tool calls ------------------------------------------------------------------------------

    def _call_started(self, run: _Run, event: ToolStarted) -> None:
        attributes = call_attributes(event.call)
        if self._content:
            attributes["gen_ai.tool.call.arguments"] = _json(event.call.arguments)
        span = self._tracer.start_span(
            f"execute_tool {event.call.name}", context=run.context, attributes=attributes
        )
        # Each call runs in a task of its own, whose context this observer is called in.
        token = otel_context.attach(set_span_in_context(span))
        run.calls[event.call.id] = _Call(span, token)

    def _call_finished(self, run: _Run, event: ToolFinished) -> None:
        call = run.calls.pop(event.call.id, None)
        if call is None:  # refused, or known already: nothing ran
            return
        if self._content:
            call.span.set_attribute("gen_ai.tool.call.result", _json(event.result.content))
        if event.result.is_error:
            _failed(call.span, event.result.kind)
        call.span.end()
        otel_context.detach(call.token)


def _failed(span: Span, kind: str, why: str | None = None) -> None:
    span.set_attribute(ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, why))


# --- the conventions' words ----------------------------------------------------------------------


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


def chat_attributes(run_id: str, model: str, settings: ModelSettings | None) -> Attributes:
    """What a span `chat` says of the request."""
    attributes = _operation("chat", model, run_id)
    for name, attribute in _SETTINGS.items():
        if settings is not None and (value := getattr(settings, name)) is not None:
            attributes[attribute] = float(value) if name == "top_k" else value
    return attributes


def result_attributes(event: ModelCalled) -> Attributes:
    """What a span `chat` says of the reply."""
    attributes: Attributes = {
        "gen_ai.response.model": event.model,
        "gen_ai.response.finish_reasons": [event.response.finish_reason],
        **usage_attributes(event.response.usage),
    }
    if event.first_token is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = event.first_token
    return attributes


def usage_attributes(usage: Usage) -> Attributes:
    """What a span says of the tokens that were spent."""
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }


def call_attributes(call: ToolCall) -> Attributes:
    """What a span `execute_tool` says when it starts."""
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


# --- content: only where somebody asked for it ---------------------------------------------------


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
