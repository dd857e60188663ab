"""Tools in this process: async ones as tasks, sync ones in threads."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread

from agentkit.executors.base import Capacity, Executor
from agentkit.executors.outcome import ends_this_task, failed, log_failure, timed_out
from agentkit.messages import ToolResult
from agentkit.toolset import ToolContext, ValidatedCall
from agentkit.toolset.results import is_small

T = TypeVar("T")

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
        self._capacity = Capacity(threads)

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """Runs the call; see `Executor.execute`."""
        started = time.monotonic()
        try:
            result = await self._result(call, context)
        except _TimedOutError:
            result = timed_out(call, ended=call.tool.is_async)
        except BaseException as error:
            if ends_this_task(error):
                raise
            result = _failure(call, context, error)
        return replace(result, seconds=round(time.monotonic() - started, 6))

    async def _result(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """What the tool returns, as the model reads it. However it ends, whoever still works for it
        can see it. A large value becomes text in a thread: the event loop has others to serve.
        """
        cancelled = threading.Event()
        handles = replace(context.handles, cancelled=cancelled)
        function = call.bind(replace(context, handles=handles))
        try:
            with anyio.move_on_after(call.tool.timeout):
                if call.tool.is_async:
                    value = function()
                else:
                    value = await self._in_thread(partial(_run_and_read, call, function))
                if inspect.isawaitable(value):
                    value = await value
                if isinstance(value, _Raised):
                    return _failure(call, context, value.error)
                if isinstance(value, _Read):
                    return value.result
                if is_small(value):
                    return call.result(value)
                return await self._in_thread(partial(call.result, value))
        finally:
            cancelled.set()
        raise _TimedOutError

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(
            function, abandon_on_cancel=True, limiter=self._capacity.limiter
        )


@dataclass(frozen=True, slots=True)
class _Read:
    """A value that has been read already, where the tool ran."""

    result: ToolResult


@dataclass(frozen=True, slots=True)
class _Raised:
    """What a tool raised in its thread. It is returned, because a future takes no StopIteration and
    makes a cancellation of a CancelledError.
    """

    error: BaseException


def _run_and_read(call: ValidatedCall, function: Callable[[], Any]) -> Any:
    try:
        value = function()
        return value if inspect.isawaitable(value) else _Read(call.result(value))
    except BaseException as error:  # noqa: BLE001 - Ctrl-C comes to the main thread, never here
        return _Raised(error)


def _failure(call: ValidatedCall, context: ToolContext[Any], error: BaseException) -> ToolResult:
    result = failed(call, error)
    log_failure(result, context, error)
    return result


class _TimedOutError(Exception):
    """The tool's own clock ran out: unlike a `TimeoutError` that the tool itself raised."""


if TYPE_CHECKING:
    _: Executor = LocalExecutor()
