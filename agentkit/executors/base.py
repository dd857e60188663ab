"""What an executor is, the one that runs tools in this process, and wrappers around any of them.

In: one call that passed validation and policy, and the context of its run. Out: one `ToolResult`.
`LocalExecutor` runs async tools in the event loop and sync ones in threads. A wrapper decides where
a call runs (`RoutingExecutor`), how often (`RetryingExecutor`) and whether at all
(`JournaledExecutor`), and never looks at what the tool does. A call without a value has the same
result from every executor: `failed`, `timed_out` and `lost` make it.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

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

from agentkit.errors import ToolError, check_counts, refuse_async
from agentkit.journal import CallState, JournaledRun
from agentkit.messages import ToolResult
from agentkit.redaction import get_logger
from agentkit.toolset import Effect, ToolContext, ValidatedCall, result_content
from agentkit.toolset.results import is_small
from agentkit.wording import pluralize

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


# --- in this process -----------------------------------------------------------------------------

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
        check_counts(threads=threads)
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
        """The tool's result, as the model reads it. At the end `ToolContext.cancelled` is set for
        threads that still work on the call. A large value is read in a thread, because the event
        loop has other tasks to serve.
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
    """The result of a value that was read in the thread in which the tool ran."""

    result: ToolResult


@dataclass(frozen=True, slots=True)
class _Raised:
    """What a tool raised in its thread. It is returned, because a future takes no StopIteration and
    turns a CancelledError into a cancellation.
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


# --- which executor ------------------------------------------------------------------------------


class RoutingExecutor:
    """Hands each call to the executor that a rule chooses.

    Args:
        rule: A function of the call, such as
            `lambda call: process if "exec" in call.tool.options.labels else local`.
    """

    def __init__(self, rule: Callable[[ValidatedCall], Executor]) -> None:
        refuse_async("rule", rule)
        self._rule = rule

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """Runs the call; see `Executor.execute`."""
        return await self._rule(call).execute(call, context)


class RecordedResults:
    """The base of an executor that runs nothing and returns recorded results. It is given the calls
    of the agent's own tools too, which otherwise run in this process.
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
            again = context if attempts == context.attempt else replace(context, attempt=attempts)
            return await self._inner.execute(call, again)

        # Most tools declare no retries, and tenacity's setting up costs more than a small tool.
        result = await (_retrying(retries)(attempt) if retries else attempt())
        return replace(result, seconds=round(time.monotonic() - started, 6), attempts=attempts)


def _retrying(retries: int) -> AsyncRetrying:
    def last_result(state: RetryCallState) -> Any:
        """Gives the last failure back as the result when all attempts are used."""
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

    A call that a crash interrupted is settled by the effect of its tool, as it is now or as it was
    recorded, whichever is graver: `pure` and `idempotent` run again with the same
    `ToolContext.idempotency_key`, `probed` asks the tool's probe, and the result of `once` is
    `unknown`.

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
    except Exception as error:  # noqa: BLE001 - the user's own code can raise anything
        log_failure(unknown, context, error)
        return replace(unknown, content=f"{unknown.content} {_words(error)}", retry=False)


# --- when a call brings no value -----------------------------------------------------------------

_MOST_ERROR_TEXT = 4_000
"""Characters of an error that the model reads: room for a traceback. The middle of a longer one is
left out."""


def failed(call: ValidatedCall, error: BaseException) -> ToolResult:
    """The result of a call that raised: the text of a `ToolError`; of any other exception its type
    and its text; of a group, such as a task group raises, those of each exception in it.
    """
    errors = list(_single(error))
    words = "; ".join(dict.fromkeys(map(_words, errors)))
    text = result_content(f"Error: {words}", cap=_MOST_ERROR_TEXT)
    retry = all(
        each.retry if isinstance(each, ToolError) else isinstance(each, Exception)
        for each in errors
    )
    return ToolResult(
        call.call.id,
        text,
        is_error=True,
        kind="error",
        retry=retry,
        traceback=_traceback(error),
    )


def _single(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, and in the groups within it."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _single(each)
    else:
        yield error


def _words(error: BaseException) -> str:
    try:
        words = str(error)
    except Exception:  # noqa: BLE001 - an exception's own text may raise
        words = "(it has no text)"
    if isinstance(error, ToolError):
        return words
    return f"{type(error).__name__}: {words}".removesuffix(": ")


def ends_this_task(error: BaseException) -> bool:
    """Whether an exception that came out of a tool is meant for the task that runs it.

    That is a cancellation, Ctrl-C, or the end of an event loop that closes its coroutines. A tool
    can raise the same types by itself, for instance by awaiting a task of its own that was
    cancelled. Then nothing has asked this task to end, and it is a failure like any other.
    """
    if isinstance(error, Exception | SystemExit):
        return False
    if isinstance(error, KeyboardInterrupt):
        return True
    if isinstance(error, BaseExceptionGroup):
        return any(map(ends_this_task, error.exceptions))
    try:
        cancelled = anyio.get_cancelled_exc_class()
        task = asyncio.current_task() if cancelled is asyncio.CancelledError else None
    except (RuntimeError, anyio.NoEventLoopError):
        return True  # no event loop runs any more
    if isinstance(error, cancelled):
        return task is None or task.cancelling() > 0
    return False


def log_failure(
    result: ToolResult, context: ToolContext[Any], error: BaseException | None = None
) -> None:
    """Logs where a tool raised. A `ToolError`, which is meant for the model, has the level info.

    Args:
        result: The result that `failed` made, perhaps in another process.
        context: The context of the call.
        error: What was raised, if it was raised in this process.
    """
    call = {"tool": context.call.name, "run_id": context.run_id, "step": context.step}
    last = result.traceback.rstrip().rpartition("\n")[2]
    meant = isinstance(error, ToolError) or f"{ToolError.__name__}: " in last
    log = get_logger().info if meant else get_logger().warning
    if error is not None:
        log("tool failed", **call, exc_info=(type(error), error, _frames(error)))
    elif result.traceback:
        log("tool failed", **call, exception=result.traceback)


_LONGEST: Final = 20_000
"""Characters of a traceback; of a longer one the middle is left out."""

_OURS: Final = (
    str(Path(__file__).parents[1]),
    "/anyio/",
    "/asyncio/",
    "/trio/",
    "/outcome/",
    "/concurrent/",
)
"""Folders whose frames are left out of a traceback: they are between the loop and the tool, and
say nothing about its failure."""


def _traceback(error: BaseException) -> str:
    """Where it was raised, from the tool's own first frame on."""
    try:
        lines = traceback.format_exception(type(error), error, _frames(error))
    except Exception as broken:  # noqa: BLE001 - an exception's own text may raise
        return f"(a traceback that cannot be written: {type(broken).__name__})"
    text = "".join(lines)
    if len(text) <= _LONGEST:
        return text
    head = _LONGEST // 4
    return f"{text[:head]}\n[…]\n{text[head - _LONGEST :]}"


def _frames(error: BaseException) -> TracebackType | None:
    frames: TracebackType | None = error.__traceback__
    while frames is not None and any(part in frames.tb_frame.f_code.co_filename for part in _OURS):
        frames = frames.tb_next
    return frames or error.__traceback__


def timed_out(call: ValidatedCall, *, ended: bool) -> ToolResult:
    """The result of a call that did not finish in time.

    Args:
        call: The call.
        ended: Whether its work has certainly ended.
    """
    within = pluralize(call.tool.timeout or 0, "second")
    text = f"Error: {call.tool.name} did not finish within {within}."
    if not ended:
        text += " It may still complete: check before you call it again."
    return ToolResult(call.call.id, text, is_error=True, kind="timeout", retry=ended)


def lost(call: ValidatedCall, what: str) -> ToolResult:
    """The result of a call whose outcome nobody knows.

    Args:
        call: The call.
        what: What happened, as the beginning of a sentence: "the process died".
    """
    text = (
        f"Error: {what} while {call.tool.name} was running. "
        "It may or may not have taken effect: check before you call it again."
    )
    return ToolResult(call.call.id, text, is_error=True, kind="unknown", retry=True)


# --- what executors share ------------------------------------------------------------------------


class Capacity:
    """Bounds how many calls are at work at once in each event loop.

    A limiter of anyio belongs to one event loop, and an agent may run in several, so each loop gets
    its own limiter at the first use.

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
    """Runs a function in a thread that no limit counts. A cancellation does not wait for it."""
    limiter = anyio.CapacityLimiter(1)
    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)


if TYPE_CHECKING:
    _: tuple[type[Executor], ...] = (
        LocalExecutor,
        RoutingExecutor,
        RetryingExecutor,
        JournaledExecutor,
    )
