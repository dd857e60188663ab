from __future__ import annotations

from contextvars import ContextVar

import anyio
import pytest

from agentkit.agent.detached import Detached

pytestmark = pytest.mark.anyio
colour = ContextVar("colour", default="none")


async def test_it_runs_beside_its_starter_and_keeps_its_value() -> None:
    ended = anyio.Event()

    async def call() -> int:
        return 7

    running = Detached(call, ended.set)
    await ended.wait()
    assert running.result() == 7
    await running.end()


async def test_what_it_raised_is_raised_by_result_and_by_nothing_else() -> None:
    ended = anyio.Event()

    async def call() -> int:
        raise KeyError("x")

    running = Detached(call, ended.set)
    await ended.wait()
    await running.end()
    with pytest.raises(KeyError):
        running.result()


async def test_ending_it_cancels_it_and_waits_for_its_clean_up() -> None:
    steps: list[str] = []
    began = anyio.Event()

    async def call() -> None:
        try:
            began.set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                steps.append("cleaned up")

    running = Detached(call, lambda: steps.append("finished"))
    await began.wait()
    await running.end()
    assert steps == ["cleaned up", "finished"]


async def test_ending_it_before_it_began_is_fine() -> None:
    running = Detached(anyio.sleep_forever, lambda: None)
    await running.end()


async def test_ending_waits_even_when_the_one_who_ends_is_cancelled() -> None:
    cleaned = anyio.Event()

    async def call() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()
                cleaned.set()

    began = Detached(call, lambda: None)
    await anyio.lowlevel.checkpoint()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await began.end()
    assert cleaned.is_set()


async def test_it_sees_the_starters_context_and_leaves_it_alone() -> None:
    ended = anyio.Event()

    async def call() -> str:
        seen = colour.get()
        colour.set("changed inside")
        return seen

    colour.set("blue")
    running = Detached(call, ended.set)
    await ended.wait()
    assert running.result() == "blue"
    assert colour.get() == "blue"
