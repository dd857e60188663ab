"""Calls cancelled at random points of connecting, sending and reading, and what comes after them.

A small number is a unit test, thousands are `make soak PART=cancel`.
"""

from __future__ import annotations

from contextlib import aclosing
from random import Random

import anyio
from anyio.lowlevel import checkpoint

from agentkit.events import ModelFinished
from agentkit.messages import ModelRequest, UserMessage
from agentkit.models import Timeouts, VLLMModel

_REQUEST = ModelRequest([UserMessage("hi")])
_AT_ONCE = 16


async def cancel_then_call(url: str, *, seed: int, cancels: int, calls: int) -> dict[str, int]:
    """Cancels so many calls, and then makes others, which must all succeed at once.

    Args:
        url: A server that answers `Hi.`.
        seed: Of the points at which calls are cancelled.
        cancels: Calls to cancel; one that ends before its point comes is made again.
        calls: Calls to make afterwards.

    Returns:
        What was counted.
    """
    random = Random(seed)
    model = VLLMModel(url, timeouts=Timeouts(retry=0, total=20))
    counts = {"calls cancelled": 0, "calls that were too quick to cancel": 0, "later calls": 0}
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def cancel_one() -> None:
        async with limiter:
            while not await _cancelled(model, random.randrange(16)):
                counts["calls that were too quick to cancel"] += 1
            counts["calls cancelled"] += 1

    async with anyio.create_task_group() as group:
        for _ in range(cancels):
            group.start_soon(cancel_one)
    for _ in range(calls):
        assert await _answer(model) == "Hi."
        counts["later calls"] += 1
    await model.aclose()
    return counts


async def _cancelled(model: VLLMModel, after: int) -> bool:
    """Whether a call was cancelled; `after` so many turns of the event loop."""

    async def cancel() -> None:
        for _ in range(after):
            await checkpoint()
        scope.cancel()

    answered = False
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            await _answer(model)
            answered = True
    return not answered


async def _answer(model: VLLMModel) -> str | None:
    async with aclosing(model.generate(_REQUEST)) as events:
        async for event in events:
            if isinstance(event, ModelFinished):
                return event.response.message.content
    raise AssertionError("a call ends with ModelFinished or raises")
