"""Where runs are at work: as a task of their own, in an event loop of their own, many at once.

In: what begins a run. Out: its result, or what it raised. Nothing here looks at what a run does.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio
from anyio.from_thread import start_blocking_portal

from agentkit.agent.options import Cancellation, RunOptions, check_input
from agentkit.errors import AgentKitError
from agentkit.events import OutputT, RunResult
from agentkit.messages import Content

T = TypeVar("T")

# --- a task of its own ---------------------------------------------------------------------------


class Detached(Generic[T]):
    """A running call and its outcome, on asyncio or trio.

    A task group must not be open across a `yield`: who iterates a stream may leave it at any point
    and from any task. So a streamed run is a task of its own, held by this handle, which ends it.

    Args:
        call: What to run, in a copy of the starter's context.
        finished: Called when it has ended, however it did.
    """

    def __init__(self, call: Callable[[], Awaitable[T]], finished: Callable[[], object]) -> None:
        self._call = call
        self._finished = finished
        self._scope = anyio.CancelScope()
        self._done = anyio.Event()
        self._value: list[T] = []
        self._error: BaseException | None = None
        trio = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_run():
            copy = contextvars.copy_context()
            trio.lowlevel.spawn_system_task(self._run, context=copy)
        else:  # asyncio keeps no strong reference to its tasks
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            with self._scope:
                self._value.append(await self._call())
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception):
                raise
        finally:
            self._finished()
            self._done.set()

    def result(self) -> T:
        """What it returned, or raises what it raised; to be asked when it has ended."""
        if self._error is not None:
            raise self._error
        return self._value[0]

    async def end(self) -> None:
        """Cancels it if it still runs, and waits until it has ended."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._done.wait()


# --- an event loop of its own --------------------------------------------------------------------


def in_own_loop(main: Callable[[], Awaitable[T]]) -> T:
    """Runs it in an event loop of its own: here, or in a thread if a loop already runs here."""
    try:
        anyio.get_current_task()
    except (RuntimeError, anyio.NoEventLoopError):
        return anyio.run(main)
    # Ctrl-C leaves the block, which cancels the run and waits until it has ended.
    with start_blocking_portal(name="agentkit-run-sync") as portal:
        return portal.call(main)


# --- many at once --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BatchProgress(Generic[OutputT]):
    """One run of a batch has ended.

    Attributes:
        position: The place of its input, from 0.
        result: What it came to.
        done: Runs that have ended by now.
        total: Inputs of the batch.
    """

    position: int
    result: RunResult[OutputT]
    done: int
    total: int


async def run_all(
    start: Callable[[Content, RunOptions[Any]], Awaitable[RunResult[OutputT]]],
    inputs: Iterable[Content],
    options: RunOptions[Any],
    concurrency: int,
    deps_each: Iterable[Any] | None = None,
    on_progress: Callable[[BatchProgress[OutputT]], object] | None = None,
) -> list[RunResult[OutputT]]:
    """Starts a run for each input; results in the order of the inputs.

    A run whose model fails does not end the others: its result says `error` and why.

    Args:
        start: Begins a run, or goes on with it if it is recorded.
        inputs: What the user says, for each run.
        options: What every run is given; a `run_id` names the batch, and each run has its place
            behind it.
        concurrency: Most runs at work.
        deps_each: The deps of each run.
        on_progress: Called as each run ends.

    Raises:
        ValueError: `concurrency` is below 1, there are not as many deps as inputs, or a journal
            comes without a `run_id` or the other way round.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency is {concurrency}; nothing would ever run below 1")
    todo = _tasks(inputs, options, deps_each)
    cancellation = options.get("cancellation") or Cancellation()
    results: dict[int, RunResult[OutputT]] = {}

    async def one(content: Content, own: RunOptions[Any]) -> RunResult[OutputT]:
        run_id = own.get("run_id") or ""
        if cancellation.cancelled:
            why = "the batch was cancelled before this run began"
            return RunResult("", "cancelled", (), run_id=run_id, explanation=why)
        try:
            return await start(content, own)
        except AgentKitError as error:
            # One that came before the run began, from the instructions for instance, has none.
            return error.result or RunResult("", "error", (), run_id=run_id, explanation=str(error))

    waiting = iter(enumerate(todo))

    async def worker() -> None:
        for position, task in waiting:
            result = results[position] = await one(*task)
            if on_progress is not None:
                on_progress(BatchProgress(position, result, len(results), len(todo)))

    async with anyio.create_task_group() as group:
        for _ in range(min(concurrency, len(todo))):
            group.start_soon(worker)
    return [results[position] for position in sorted(results)]


def _tasks(
    inputs: Iterable[Content], options: RunOptions[Any], deps_each: Iterable[Any] | None
) -> list[tuple[Content, RunOptions[Any]]]:
    """Each input with the options of its run."""
    batch = options.get("run_id")
    if (options.get("journal") is None) != (batch is None):
        raise ValueError("give journal= and batch= together: a batch is found by its name")
    if isinstance(inputs, str):
        raise TypeError("inputs is one text; give a list of them, or use run")
    todo = list(inputs)
    for content in todo:
        check_input(content)
    deps = [options.get("deps")] * len(todo) if deps_each is None else list(deps_each)
    if len(deps) != len(todo):
        raise ValueError(
            f"deps_each has {len(deps)} values for {len(todo)} inputs; give one for each"
        )
    return [
        (content, {**options, "deps": own, "run_id": batch and f"{batch}-{position:06}"})
        for position, (content, own) in enumerate(zip(todo, deps, strict=True))
    ]
