"""OpenTelemetry spans of runs, by the semantic conventions for generative AI.

```
 invoke_agent ──┬── chat            one for each model call, second tries included
                ├── execute_tool ── (spans that the tool itself makes, a sub-agent's invoke_agent)
                └── chat
```
Needs the extra `otel`. Where spans go is your own business: give a tracer provider, or set the
global one as ever. Exporting happens in the SDK's own threads, so that a slow collector does not
slow a run.
"""

from __future__ import annotations

import time
from contextvars import Token
from dataclasses import dataclass, field

from agentkit.events import (
    Event,
    ModelCalled,
    RunFinished,
    RunStarted,
    StepRestarted,
    StepStarted,
    ToolFinished,
    ToolStarted,
)
from agentkit.messages import Message, ModelRequest, ToolDefinition
from agentkit.mistakes import install
from agentkit.redaction import redacted
from agentkit.trace import semconv

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
        """Takes one event."""
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

    # --- the run ---

    def _begin(self, event: RunStarted) -> _Run:
        name = f"invoke_agent {self._agent}" if self._agent else "invoke_agent"
        span = self._tracer.start_span(
            name, kind=SpanKind.INTERNAL, attributes=semconv.run_attributes(event, self._agent)
        )
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
            attributes = semconv.chat_attributes(run_id, run.model, None)
            span = self._chat(run, attributes, run.asked_at)
            _failed(span, "error")
            span.end()
        run.span.set_attributes(semconv.usage_attributes(result.usage))
        run.span.set_attribute("agentkit.stop_reason", result.stop_reason)
        run.span.set_attribute("agentkit.steps", result.steps)
        if failed:
            _failed(run.span, "error", redacted(result.explanation) if self._content else None)
        run.span.end()
        otel_context.detach(run.token)

    # --- model calls ---

    def _called(self, run_id: str, run: _Run, event: ModelCalled) -> None:
        run.asked_at, run.model = None, event.model
        end = time.time_ns()
        attributes = semconv.chat_attributes(run_id, event.model, event.settings)
        attributes |= semconv.result_attributes(event)
        if self._content:
            run.messages[event.same :] = event.messages
            run.tools = run.tools if event.tools is None else event.tools
            request = ModelRequest(tuple(run.messages), run.tools)
            attributes |= semconv.chat_content(request, event)
        span = self._chat(run, attributes, end - int(event.seconds * 1e9))
        span.end(end)

    def _chat(self, run: _Run, attributes: semconv.Attributes, start: int) -> Span:
        return self._tracer.start_span(
            f"chat {run.model}",
            context=run.context,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=start,
        )

    # --- tool calls ---

    def _call_started(self, run: _Run, event: ToolStarted) -> None:
        attributes = semconv.call_attributes(event.call)
        if self._content:
            attributes |= semconv.call_content(event.call)
        span = self._tracer.start_span(
            f"execute_tool {event.call.name}", context=run.context, attributes=attributes
        )
        # Each call is a task with a context of its own, and so is told of here.
        token = otel_context.attach(set_span_in_context(span))
        run.calls[event.call.id] = _Call(span, token)

    def _call_finished(self, run: _Run, event: ToolFinished) -> None:
        call = run.calls.pop(event.call.id, None)
        if call is None:  # refused, or known already: nothing ran
            return
        if self._content:
            call.span.set_attributes(semconv.result_content(event))
        if event.result.is_error:
            _failed(call.span, event.result.kind)
        call.span.end()
        otel_context.detach(call.token)


def _failed(span: Span, kind: str, why: str | None = None) -> None:
    span.set_attribute(semconv.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, why))
