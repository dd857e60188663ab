"""The loop: steps until an answer, a limit or an end.

```
            ┌────────────────────────────────────────────────┐
            ▼                                                │
 started ─ step ── calls ── validate, run in parallel ── results, in call order
            │
            ├── text ────────────► answer
            ├── cut text ────────► truncated
            ├── nothing ─────────► empty
            └── a limit ─────────► steps | tokens
```

One loop serves streaming and not: it says what happens through `emit`, and a stream is somebody
listening. It knows no JSON, no HTTP and no prompt text. Only the loop appends to the history, and
whatever ends it, each call in the history has its result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio
import anyio.from_thread

from agentkit.errors import AgentKitError
from agentkit.events import (
    Event,
    ModelFinished,
    RunFinished,
    RunResult,
    RunStarted,
    StepFinished,
    StepStarted,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.executors import Executor
from agentkit.messages import (
    Message,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    StopReason,
    ToolCall,
    ToolMessage,
    ToolResult,
    Usage,
)
from agentkit.models import Model
from agentkit.policy import Limits
from agentkit.toolset import RunContext, RunHandles, ToolContext, Toolset, ValidatedCall

__all__ = ["Run", "drive"]


@dataclass(slots=True)
class Run:
    """One run: what it works with, and what has come of it so far."""

    model: Model
    toolset: Toolset
    executor: Executor
    settings: ModelSettings
    limits: Limits
    context: RunContext[Any]
    messages: list[Message]
    emit: Callable[[Event], None]
    usage: Usage = field(default_factory=Usage)
    steps: int = 0

    def end(self, stop: StopReason, output: object = "", explanation: str = "") -> RunResult:
        """The result, if the run ended now."""
        return RunResult(
            output=output,
            stop_reason=stop,
            messages=tuple(self.messages),
            usage=self.usage,
            steps=self.steps,
            run_id=self.context.run_id,
            explanation=explanation,
        )


async def drive(run: Run) -> RunResult:
    """Runs to the end. The last event is `RunFinished`, whatever that end is.

    Raises:
        AgentKitError: The model cannot be had. What was done so far is in the run file, and in
            the exception's `result`.
    """
    names = tuple(tool.name for tool in run.toolset)
    run.emit(RunStarted(run.context.run_id, run.model.name, tuple(run.messages), names))
    try:
        result = await _loop(run)
    except AgentKitError as error:
        error.result = run.end("error", explanation=str(error))
        run.emit(RunFinished(error.result))
        raise
    except BaseException as error:
        run.emit(RunFinished(run.end("cancelled", explanation=type(error).__name__)))
        raise
    run.emit(RunFinished(result))
    return result


async def _loop(run: Run) -> RunResult:
    while True:
        if (over := _over_limit(run)) is not None:
            return over
        response = await _step(run)
        message = response.message
        if not message.tool_calls:
            return _conclude(run, response)
        results = await _run_tools(run, message.tool_calls, cut=response.finish_reason == "length")
        for call, result in zip(message.tool_calls, results, strict=True):
            run.messages.append(ToolMessage(call.id, call.name, result.content, result.is_error))


def _over_limit(run: Run) -> RunResult | None:
    limits = run.limits
    if run.steps >= limits.steps:
        return run.end("steps", explanation=f"stopped after {run.steps} steps, the limit")
    spent = run.usage.output_tokens
    if limits.output_tokens is not None and spent >= limits.output_tokens:
        return run.end("tokens", explanation=f"stopped after {spent} output tokens, the limit")
    return None


async def _step(run: Run) -> ModelResponse:
    """One model call; its message joins the history when it is whole."""
    run.steps += 1
    run.emit(StepStarted(run.steps))
    started = time.monotonic()
    request = ModelRequest(tuple(run.messages), run.toolset.definitions, run.settings)
    response: ModelResponse | None = None
    events = run.model.generate(request)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ModelFinished):
                response = event.response
            else:
                run.emit(replace(event, step=run.steps))
    assert response is not None, "a model ends with ModelFinished or raises"
    run.usage += response.usage
    run.messages.append(response.message)
    seconds = round(time.monotonic() - started, 6)
    run.emit(
        StepFinished(
            response.message, response.finish_reason, response.usage, seconds, step=run.steps
        )
    )
    return response


def _conclude(run: Run, response: ModelResponse) -> RunResult:
    text = response.message.content or ""
    if response.finish_reason == "length":
        return run.end("truncated", text, "the answer was cut by max_tokens")
    if not text.strip():
        return run.end("empty", text, "the model said nothing")
    return run.end("answer", text)


# --- tools -------------------------------------------------------------------------------------


async def _run_tools(run: Run, calls: Sequence[ToolCall], *, cut: bool) -> list[ToolResult]:
    """One result for each call, in call order; those that may run do so at the same time."""
    results: list[ToolResult | None] = [None] * len(calls)

    async def one(position: int, call: ToolCall) -> None:
        results[position] = await _run_tool(run, call, position, cut=cut)

    try:
        async with anyio.create_task_group() as group:
            for position, call in enumerate(calls):
                group.start_soon(one, position, call)
    except BaseException:
        # The history must stay valid however the run ends: no call without its result.
        for call, result in zip(calls, results, strict=True):
            done = result or _failed(call, "cancelled", "the run ended before this call did")
            run.messages.append(ToolMessage(call.id, call.name, done.content, done.is_error))
        raise
    return [result for result in results if result is not None]


async def _run_tool(run: Run, call: ToolCall, index: int, *, cut: bool) -> ToolResult:
    if cut:
        checked: ValidatedCall | ToolResult = _failed(
            call, "truncated", "the reply was cut, so this call was not run; write less at once"
        )
    else:
        checked = run.toolset.validate(call)
    if isinstance(checked, ValidatedCall):
        run.emit(ToolStarted(call, run.steps))
        result = await run.executor.execute(checked, _tool_context(run, call, index))
    else:
        result = checked
    run.emit(ToolFinished(call, result, run.steps))
    return result


def _failed(call: ToolCall, kind: str, why: str) -> ToolResult:
    return ToolResult(call.id, f"Error: {why}.", is_error=True, kind=kind)  # type: ignore[arg-type]


def _tool_context(run: Run, call: ToolCall, index: int) -> ToolContext[Any]:
    return ToolContext(
        deps=run.context.deps,
        run_id=run.context.run_id,
        step=run.steps,
        call=call,
        index=index,
        handles=RunHandles(report=partial(_report, run, call.id, run.steps)),
    )


def _report(run: Run, call_id: str, step: int, text: str) -> None:
    """Emits progress from the event loop's thread or from a tool's."""
    event = ToolProgress(call_id, text, step)
    try:
        anyio.get_current_task()
    except (RuntimeError, anyio.NoEventLoopError):
        anyio.from_thread.run_sync(run.emit, event)
    else:
        run.emit(event)
