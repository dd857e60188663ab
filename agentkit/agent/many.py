"""Many runs of one agent at a time, a bounded number of them at work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio

from agentkit.agent.checks import check_input
from agentkit.agent.state import RunOptions
from agentkit.errors import AgentKitError
from agentkit.events import OutputT, RunResult
from agentkit.messages import Content

__all__ = ["run_all"]


async def run_all(
    start: Callable[[Content, RunOptions], Awaitable[RunResult[OutputT]]],
    inputs: Iterable[Content],
    options: RunOptions,
    concurrency: int,
) -> list[RunResult[OutputT]]:
    """Starts a run for each input; results in the order of the inputs.

    A run whose model fails does not end the others: its result says `error` and why.

    Raises:
        ValueError: `concurrency` is below 1.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency is {concurrency}; nothing would ever run below 1")
    if isinstance(inputs, str):
        raise TypeError("inputs is one text; give a list of them, or use run")
    todo = list(inputs)
    for content in todo:
        check_input(content)
    results: list[RunResult[OutputT] | None] = [None] * len(todo)
    limiter = anyio.CapacityLimiter(concurrency)

    async def one(position: int, text: Content) -> None:
        async with limiter:
            try:
                results[position] = await start(text, options)
            except AgentKitError as error:
                # One that came before the run began, from the instructions say, has none.
                none: RunResult[Any] = RunResult("", "error", (), explanation=str(error))
                results[position] = error.result or none

    async with anyio.create_task_group() as group:
        for position, text in enumerate(todo):
            group.start_soon(one, position, text)
    return [result for result in results if result is not None]
