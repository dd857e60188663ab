from __future__ import annotations

import threading

import anyio
import pytest

from agentkit.errors import ModelStatusError
from agentkit.models.once import Once


class Finder:
    """Finds a number out, when it is let.

    Attributes:
        asked: How often it was asked.
    """

    def __init__(self, *failures: Exception) -> None:
        self.asked = 0
        self._failures = list(failures)
        self.asking = threading.Event()
        self.let = threading.Event()

    async def __call__(self) -> int:
        self.asked += 1
        self.asking.set()
        while not self.let.is_set():
            await anyio.lowlevel.checkpoint()
        if self._failures:
            raise self._failures.pop()
        return 7


async def settled() -> None:
    """Lets every task go as far as it can."""
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


@pytest.mark.anyio
async def test_who_asks_meanwhile_waits_for_the_first() -> None:
    finder = Finder()
    once = Once(finder)
    got: list[int] = []

    async def ask() -> None:
        got.append(await once.get())

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(ask)
        await settled()
        finder.let.set()
    assert (got, finder.asked, once.known) == ([7] * 8, 1, 7)


def test_event_loops_in_other_threads_wait_too() -> None:
    finder = Finder()
    once = Once(finder)
    got: list[int] = []
    ready = threading.Barrier(8)

    def run() -> None:
        async def ask() -> None:
            ready.wait()
            got.append(await once.get())

        anyio.run(ask)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert finder.asking.wait(10)
    finder.let.set()
    for thread in threads:
        thread.join()
    assert (got, finder.asked) == ([7] * 8, 1)


@pytest.mark.anyio
async def test_a_failure_is_shared_by_all_who_waited_and_not_kept() -> None:
    finder = Finder(ModelStatusError("down", status_code=503, retry_after=2.0))
    once = Once(finder)
    got: list[ModelStatusError] = []

    async def ask() -> None:
        with pytest.raises(ModelStatusError, match="down") as raised:
            await once.get()
        got.append(raised.value)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(ask)
        await settled()
        finder.let.set()
    assert finder.asked == 1
    assert {(error.status_code, error.retry_after) for error in got} == {(503, 2.0)}
    assert len(set(map(id, got))) == 8, "each run writes its result into its own"
    assert await once.get() == 7
    assert finder.asked == 2


@pytest.mark.anyio
async def test_a_cancelled_finder_hands_on() -> None:
    finder = Finder()
    once = Once(finder)
    got: list[int] = []

    async def ask() -> None:
        got.append(await once.get())

    first = anyio.CancelScope()

    async def impatient() -> None:
        with first:
            await once.get()

    async with anyio.create_task_group() as group:
        group.start_soon(impatient)
        await settled()
        group.start_soon(ask)
        await settled()
        first.cancel()
        await settled()
        finder.let.set()
    assert (got, finder.asked) == ([7], 2)
