"""How long an event loop was kept from its turns, seen by a task that ticks."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.lowlevel

_TICK = 0.005


@dataclass
class Delays:
    """The longest time, in seconds, that a turn came later than it was due.

    Attributes:
        longest: By the clock on the wall: on a busy machine others' work is in it.
        longest_cpu: By this process's own CPU time, all threads: what it did meanwhile itself.
        longest_own: By the CPU time of the loop's own thread, which others' work is never in.
    """

    longest: float = 0.0
    longest_cpu: float = 0.0
    longest_own: float = 0.0


def _clocks() -> tuple[float, float, float]:
    return time.monotonic(), time.process_time(), time.thread_time()


@asynccontextmanager
async def ticking() -> AsyncGenerator[Delays]:
    """Ticks while the block runs."""
    delays = Delays()

    async def tick() -> None:
        before, before_cpu, before_own = _clocks()
        while True:
            await anyio.sleep(_TICK)
            now, now_cpu, now_own = _clocks()
            delays.longest = max(delays.longest, now - before - _TICK)
            delays.longest_cpu = max(delays.longest_cpu, now_cpu - before_cpu)
            delays.longest_own = max(delays.longest_own, now_own - before_own)
            before, before_cpu, before_own = now, now_cpu, now_own

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        await anyio.lowlevel.checkpoint()
        yield delays
        await anyio.sleep(2 * _TICK)
        group.cancel_scope.cancel()
