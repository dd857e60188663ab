"""Many runs of one agent at a time, a bounded number of them at work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

import anyio

from agentkit.agent.checks import check_input
from agentkit.agent.state import Cancellation, RunOptions
from agentkit.errors import AgentKitError
from agentkit.events import OutputT, RunResult
from agentkit.messages import Content


@dataclass(frozen=True, slots=True)
class BatchProgress(Generic[OutputT]):
    """One run of a batch has ended.

    Attributes:
        position: Of its input, from 0.
        result: What it came to.
        done: Runs that have ended by now.
        total: Inputs of the batch.
    """

    position: int
    result: RunResult[OutputT]
    done: int
    total: int


async def run_all(
    start: Callable[[Content, RunOptions], Awaitable[RunResult[OutputT]]],
    inputs: Iterable[Content],
    options: RunOptions,
    concurrency: int,
    deps_each: Iterable[Any] | None = None,
    on_progress: Callable[[BatchProgress[OutputT]], object] | None = None,
) -> list[RunResult[OutputT]]:
    """Starts a run for each input; results in the order of the inputs.

    A run whose model fails does not end the others: its result says `error` and why.

    Args:
        start: Begins a run, or goes on with it if it is recorded.
        inputs: What the user says, for each run.
        options: Of every run; with a `run_id`, each gets its place behind it.
        concurrency: Most runs at work.
        deps_each: The deps of each run.
        on_progress: Called as each run ends.

    Raises:
        ValueError: `concurrency` is below 1, there are not as many deps as inputs, or a journal
            comes without a `run_id` or the other way round.
    """
    todo = _checked(inputs, options, concurrency)
    each = _options_of_each(options, len(todo), deps_each)
    cancellation = options.cancellation or Cancellation()
    results: list[RunResult[OutputT] | None] = [None] * len(todo)
    done = 0

    async def one(position: int) -> None:
        nonlocal done
        if cancellation.cancelled:
            why = "the batch was cancelled before this run began"
            result = _none(each[position], "cancelled", why)
        else:
            result = await _one(start, todo[position], each[position])
        results[position] = result
        done += 1
        if on_progress is not None:
            on_progress(BatchProgress(position, result, done, len(todo)))

    waiting = iter(range(len(todo)))

    async def worker() -> None:
        for position in waiting:
            await one(position)

    async with anyio.create_task_group() as group:
        for _ in range(min(concurrency, len(todo))):
            group.start_soon(worker)
    return [result for result in results if result is not None]


def _checked(inputs: Iterable[Content], options: RunOptions, concurrency: int) -> Sequence[Content]:
    if concurrency < 1:
        raise ValueError(f"concurrency is {concurrency}; nothing would ever run below 1")
    if (options.journal is None) != (options.run_id is None):
        raise ValueError("give journal= and batch= together: a batch is found by its name")
    if isinstance(inputs, str):
        raise TypeError("inputs is one text; give a list of them, or use run")
    todo = list(inputs)
    for content in todo:
        check_input(content)
    return todo


def _options_of_each(
    options: RunOptions, total: int, deps_each: Iterable[Any] | None
) -> Sequence[RunOptions]:
    deps = [options.deps] * total if deps_each is None else list(deps_each)
    if len(deps) != total:
        raise ValueError(f"deps_each has {len(deps)} values for {total} inputs; give one for each")
    return [
        replace(options, deps=own, run_id=options.run_id and f"{options.run_id}-{position:06}")
        for position, own in enumerate(deps)
    ]


async def _one(
    start: Callable[[Content, RunOptions], Awaitable[RunResult[OutputT]]],
    text: Content,
    options: RunOptions,
) -> RunResult[OutputT]:
    try:
        return await start(text, options)
    except AgentKitError as error:
        # One that came before the run began, from the instructions say, has none.
        return error.result or _none(options, "error", str(error))


def _none(options: RunOptions, stop: Any, why: str) -> RunResult[Any]:
    return RunResult("", stop, (), run_id=options.run_id or "", explanation=why)
