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

from agentkit.executors.base import Executor
from agentkit.executors.outcome import failed, log_failure, timed_out
from agentkit.messages import ToolResult
from agentkit.toolset import ToolContext, ValidatedCall

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
        try:
            result = call.result(await self._value(call, context))
        except _TimedOutError:
            result = timed_out(call, ended=call.tool.is_async)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary around user code
            result = failed(call, error)
            log_failure(result, context, error)
        return replace(result, seconds=round(time.monotonic() - started, 6))

    async def _value(self, call: ValidatedCall, context: ToolContext[Any]) -> Any:
        """What the tool returns. However it ends, whoever still works for it can see it."""
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


if TYPE_CHECKING:
    _: Executor = LocalExecutor()
