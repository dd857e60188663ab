"""Retries, as a wrapper around any executor."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_result,
    stop_after_attempt,
    wait_random_exponential,
)

from agentkit.executors.base import Executor
from agentkit.executors.local import LocalExecutor
from agentkit.messages import ToolResult
from agentkit.toolset import ToolContext, ValidatedCall


class RetryingExecutor:
    """Tries a failed call again, as often as its tool declares, with growing random pauses.

    A tool whose effect is `once` is never tried again, whatever it declares: it may have started.

    Args:
        inner: Runs each attempt.
    """

    def __init__(self, inner: Executor) -> None:
        self._inner = inner

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """Runs the call; see `Executor.execute`. The result's seconds are those of all attempts."""
        started = time.monotonic()
        attempts = 0

        async def attempt() -> ToolResult:
            nonlocal attempts
            attempts += 1
            return await self._inner.execute(call, replace(context, attempt=attempts))

        # Most tools declare no retries, and tenacity's setting up costs more than a small tool.
        result = await (_retrying(call)(attempt) if _retries(call) else attempt())
        return replace(result, seconds=round(time.monotonic() - started, 6), attempts=attempts)


def _retrying(call: ValidatedCall) -> AsyncRetrying:
    return AsyncRetrying(
        stop=stop_after_attempt(1 + _retries(call)),
        wait=wait_random_exponential(multiplier=0.1, max=5.0),
        retry=retry_if_result(lambda made: made.retry),
        sleep=anyio.sleep,
        retry_error_callback=_last_result,
    )


def _retries(call: ValidatedCall) -> int:
    return 0 if call.tool.effect == "once" else call.tool.retries


def _last_result(state: RetryCallState) -> Any:
    """A failure that stays is an answer too."""
    assert state.outcome is not None, "there was an attempt"
    return state.outcome.result()


if TYPE_CHECKING:
    _: Executor = RetryingExecutor(LocalExecutor())
