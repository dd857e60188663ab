"""Many runs at once: one for each input, at most so many at work.

In: the inputs, and what begins a run. Out: the results, in the order of the inputs. Nothing here
looks at what a run does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio

from agentkit.agent.options import Cancellation, RunOptions, check_input
from agentkit.errors import AgentKitError
from agentkit.events import OutputT, RunResult
from agentkit.messages import Content

T = TypeVar("T")


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
        start: A function that begins a run, or goes on with it if it is recorded.
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

    async def work(position: int, task: tuple[Content, RunOptions[Any]]) -> None:
        result = results[position] = await one(*task)
        if on_progress is not None:
            on_progress(BatchProgress(position, result, len(results), len(todo)))

    await at_once(concurrency, todo, work)
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


async def at_once(
    most: int, items: Sequence[T], work: Callable[[int, T], Awaitable[object]]
) -> None:
    """Works on all items, each with its position, at most so many at the same time."""
    waiting = iter(enumerate(items))

    async def worker() -> None:
        for position, item in waiting:
            await work(position, item)

    async with anyio.create_task_group() as group:
        for _ in range(min(most, len(items))):
            group.start_soon(worker)
