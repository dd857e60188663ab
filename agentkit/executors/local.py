"""Tools in this process: async ones as tasks, sync ones in threads."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar
from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from agentkit.errors import ToolError
from agentkit.executors.base import Executor
from agentkit.messages import ResultKind, ToolResult
from agentkit.toolset import ToolContext, ValidatedCall, result_content

__all__ = ["LocalExecutor"]

_THREADS = 40
"""Sync tools at work at once in one event loop; anyio's own default for its threads."""


class LocalExecutor:
    """Runs tools where the agent runs.

    A timeout ends an async tool at its next await. A thread cannot be ended: after a timeout its
    result is discarded and the model is told that the work may still complete. Use the process
    executor where a timeout must end the work.

    Args:
        threads: Most sync tools that run at once in one event loop.
    """

    def __init__(self, threads: int = _THREADS) -> None:
        self._threads = threads
        self._limiter: RunVar[anyio.CapacityLimiter] = RunVar(f"agentkit-threads-{id(self)}")

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """Runs the call; see `Executor.execute`."""
        started = time.monotonic()
        attempts = 0

        def timed(result: ToolResult) -> ToolResult:
            seconds = round(time.monotonic() - started, 6)
            return replace(result, seconds=seconds, attempts=attempts)

        def failed(text: str, kind: ResultKind) -> ToolResult:
            return timed(ToolResult(call.call.id, text, is_error=True, kind=kind))

        retrying = AsyncRetrying(
            stop=stop_after_attempt(1 + call.tool.retries),
            wait=wait_random_exponential(multiplier=0.1, max=5.0),
            retry=retry_if_exception(_may_pass),
            sleep=anyio.sleep,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    attempts = attempt.retry_state.attempt_number
                    value = await self._once(call, replace(context, attempt=attempts))
                    return timed(call.result(value))
        except _TimedOutError:
            return failed(_timeout_text(call), "timeout")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary around user code
            return failed(_error_text(error), "error")
        raise AssertionError("tenacity always returns or raises")  # pragma: no cover

    async def _once(self, call: ValidatedCall, context: ToolContext[Any]) -> Any:
        """One attempt's value. However it ends, whoever still works for it can see that it did."""
        cancelled = threading.Event()
        handles = replace(context.handles, cancelled=cancelled)
        function = call.bind(replace(context, handles=handles))
        try:
            with anyio.move_on_after(call.tool.timeout):
                value = function() if call.tool.is_async else await self._in_thread(function)
                return await value if inspect.isawaitable(value) else value
        finally:
            cancelled.set()
        raise _TimedOutError

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        return await anyio.to_thread.run_sync(
            function, abandon_on_cancel=True, limiter=self._thread_limiter()
        )

    def _thread_limiter(self) -> anyio.CapacityLimiter:
        try:
            return self._limiter.get()
        except LookupError:
            limiter = anyio.CapacityLimiter(self._threads)
            self._limiter.set(limiter)
            return limiter


class _TimedOutError(Exception):
    """The tool's own clock ran out: unlike a `TimeoutError` that the tool itself raised."""


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, Exception) and (not isinstance(error, ToolError) or error.retry)


def _error_text(error: BaseException) -> str:
    """What the model reads of an exception: a tool's own words, or the kind of the bug too."""
    try:
        words = str(error)
    except Exception:  # noqa: BLE001 - an exception's own text may raise
        words = "(it has no text)"
    if not isinstance(error, ToolError):
        words = f"{type(error).__name__}: {words}".removesuffix(": ")
    return str(result_content(f"Error: {words}", cap=_MOST_ERROR_TEXT))


_MOST_ERROR_TEXT = 4_000
"""Characters: a traceback's worth. What matters stands at the beginning and the end."""


def _timeout_text(call: ValidatedCall) -> str:
    text = f"Error: {call.tool.name} did not finish within {call.tool.timeout:g} seconds."
    if not call.tool.is_async:
        text += " It may still complete: check before you call it again."
    return text


if TYPE_CHECKING:
    _: Executor = LocalExecutor()
