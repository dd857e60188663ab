"""What an executor is, and the wrappers around any of them.

In: one call that passed validation and policy, and the context of its run. Out: one `ToolResult`.
A wrapper decides where a call runs (`RoutingExecutor`), how often (`RetryingExecutor`) and whether
at all (`JournaledExecutor`); it never looks at what the tool does.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_result,
    stop_after_attempt,
    wait_random_exponential,
)

from agentkit.errors import ToolError
from agentkit.executors.outcome import lost
from agentkit.journal import CallState, JournaledRun
from agentkit.messages import ToolResult
from agentkit.toolset import Effect, ToolContext, ValidatedCall

T = TypeVar("T")


class Executor(Protocol):
    """Runs one call that passed validation and policy."""

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """Runs the call and returns what the model will read.

        A tool's failure, whatever it is, comes back as a result with a kind. The only exceptions
        that leave are those of cancellation, and then nothing of the call is left running that
        could have been stopped; and an `AgentKitError` where the call could not even be tried:
        the tool cannot run there, or its intent could not be made durable.
        """
        ...


# --- which executor ------------------------------------------------------------------------------


class RoutingExecutor:
    """Hands each call to the executor that a rule chooses.

    Args:
        rule: A function of the call, such as
            `lambda call: process if "exec" in call.tool.options.labels else local`.
    """

    def __init__(self, rule: Callable[[ValidatedCall], Executor]) -> None:
        self._rule = rule

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """Runs the call; see `Executor.execute`."""
        return await self._rule(call).execute(call, context)


class RecordedResults:
    """What an executor derives from that runs nothing and gives what a record holds: it is handed
    the calls of the agent's own tools too, which otherwise run in this process.
    """


# --- how often -----------------------------------------------------------------------------------


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
        retries = 0 if call.tool.effect == "once" else call.tool.retries

        async def attempt() -> ToolResult:
            nonlocal attempts
            attempts += 1
            return await self._inner.execute(call, replace(context, attempt=attempts))

        # Most tools declare no retries, and tenacity's setting up costs more than a small tool.
        result = await (_retrying(retries)(attempt) if retries else attempt())
        return replace(result, seconds=round(time.monotonic() - started, 6), attempts=attempts)


def _retrying(retries: int) -> AsyncRetrying:
    def last_result(state: RetryCallState) -> Any:
        """A failure that stays is an answer too."""
        assert state.outcome is not None, "there was an attempt"
        return state.outcome.result()

    return AsyncRetrying(
        stop=stop_after_attempt(1 + retries),
        wait=wait_random_exponential(multiplier=0.1, max=5.0),
        retry=retry_if_result(lambda made: made.retry),
        sleep=anyio.sleep,
        retry_error_callback=last_result,
    )


# --- whether at all ------------------------------------------------------------------------------


class JournaledExecutor:
    """Runs a call only after its intent is on the disk, and never again once it has a result.

    What a crash left half done is settled by the effect of the tool, as it is now or as it was
    recorded, whichever is the graver: `pure` and `idempotent` run again with the same
    `ToolContext.idempotency_key`, `probed` asks the tool's probe, and `once` is told to the model
    as `unknown`.

    Args:
        inner: Runs what has to run.
        run: The run's record.
    """

    def __init__(self, inner: Executor, run: JournaledRun) -> None:
        self._inner = inner
        self._run = run

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """Runs the call; see `Executor.execute`.

        Raises:
            JournalError: The intent could not be made durable, so the tool was not started; or
                the result could not be, so that its outcome counts as unknown.
        """
        key = context.idempotency_key
        state = self._run.call(key)
        if state is None:
            await self._run.intend(key, call.call, call.tool.effect)
        elif state.result is not None:
            return replace(state.result, call_id=call.call.id)
        result = await _settled(call, context, state)
        if result is None:
            await self._run.start(key)
            result = await self._inner.execute(call, context)
        with anyio.CancelScope(shield=True):  # a result that is there is never lost
            await self._run.done(key, result)
        return result


async def _settled(
    call: ValidatedCall, context: ToolContext[Any], state: CallState | None
) -> ToolResult | None:
    """The result of a call that a crash interrupted; None if it is to run."""
    if state is None or not state.may_have_started:
        return None
    effects: set[Effect] = {state.intent.effect, call.tool.effect}
    if effects <= {"pure", "idempotent"}:
        return None
    unknown = lost(call, "the process that ran this died")
    probe = call.tool.options.probe
    if "once" in effects or probe is None:
        return replace(unknown, retry=False)
    try:
        found = probe(call.arguments, context)
        happened = await found if inspect.isawaitable(found) else found
        return None if happened is None else call.result(happened.value)
    except ToolError as error:
        return replace(unknown, content=f"{unknown.content} {error}", retry=False)


# --- what executors share ------------------------------------------------------------------------


class Capacity:
    """Bounds how many calls are at work at once in each event loop.

    A limiter of anyio belongs to one event loop, and an agent may run in several, so each loop gets
    a limiter of its own when it first asks for it.

    Args:
        most: Calls at work at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limiter: RunVar[anyio.CapacityLimiter] = RunVar("agentkit-capacity")

    @property
    def limiter(self) -> anyio.CapacityLimiter:
        """The limiter of the event loop that runs here."""
        try:
            return self._limiter.get()
        except LookupError:
            limiter = anyio.CapacityLimiter(self._most)
            self._limiter.set(limiter)
            return limiter


async def in_own_thread(work: Callable[[], T]) -> T:
    """Runs it in a thread beside all limits; a cancellation leaves the thread to itself."""
    limiter = anyio.CapacityLimiter(1)
    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)


if TYPE_CHECKING:
    _: tuple[type[Executor], ...] = (RoutingExecutor, RetryingExecutor, JournaledExecutor)
