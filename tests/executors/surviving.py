"""Ends calls that have planted trees of processes, in three ways, and counts who is left."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from agentkit.executors import ProcessExecutor
from agentkit.toolset import Tool
from tests.executors.conformance import execute
from tests.executors.trees import SHAPES, living, plants_and_waits

_GONE_WITHIN = 10.0
"""Seconds after its agent's death in which a tree must be gone; the machine may be busy."""


def try_all(seed: int, tries: int) -> dict[str, int]:
    """So many tries, each by a timeout, a cancellation or the death of the agent.

    Raises:
        AssertionError: A process is left.
    """
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    with ProcessExecutor(workers=1) as executor:
        for number in range(tries):
            how = ("timeouts", "cancellations", "deaths of the agent")[number % 3]
            shape, marker = rng.choice(SHAPES), uuid.uuid4().hex
            with tempfile.TemporaryDirectory() as folder:
                arguments = {"marker": marker, "shape": shape, "ready": f"{folder}/ready"}
                grown = _end(how, executor, arguments, rng)
            assert living(marker) == [], f"seed {seed}, try {number}: {how} of a {shape} left some"
            counts += Counter({how: 1, f"trees that stood, {shape}": grown})
    return dict(counts)


def _end(
    how: str, executor: ProcessExecutor, arguments: dict[str, Any], rng: random.Random
) -> bool:
    """Runs a call and ends it, half the time soon after its tree stands; whether it did by then."""
    ready = Path(arguments["ready"])
    wait, delay = rng.random() < 0.5, rng.random()
    if how == "timeouts":
        timeout = 0.3 + delay * 0.2 if wait else delay * 0.1
        options = replace(plants_and_waits.options, timeout=timeout)
        hasty: Tool[..., Any] = replace(plants_and_waits, options=options)
        result = anyio.run(lambda: execute(executor, hasty, **arguments))
        assert result.kind == "timeout", result
    elif how == "cancellations":
        anyio.run(_cancelled, executor, ready if wait else None, delay, arguments)
    else:
        _killed(ready if wait else None, delay, arguments)
    return ready.exists()


async def _cancelled(
    executor: ProcessExecutor, ready: Path | None, delay: float, arguments: dict[str, Any]
) -> None:
    async with anyio.create_task_group() as group:

        async def call() -> None:
            await execute(executor, plants_and_waits, **arguments)

        group.start_soon(call)
        while ready and not ready.exists():  # noqa: ASYNC110, ASYNC240 - another process writes it
            await anyio.sleep(0.005)
        await anyio.sleep(delay * (0.02 if ready else 1.0))
        group.cancel_scope.cancel()


def _killed(ready: Path | None, delay: float, arguments: dict[str, Any]) -> None:
    agent = os.fork()
    if agent == 0:
        with suppress(BaseException):
            anyio.run(lambda: execute(ProcessExecutor(), plants_and_waits, **arguments))
        os._exit(1)
    while ready is not None and not ready.exists():
        time.sleep(0.005)
    time.sleep(delay * (0.02 if ready else 1.2))
    os.kill(agent, signal.SIGKILL)
    os.waitpid(agent, 0)
    deadline = time.monotonic() + _GONE_WITHIN
    while living(arguments["marker"]) and time.monotonic() < deadline:
        time.sleep(0.01)


if __name__ == "__main__":
    sys.stdout.write(str(try_all(int(sys.argv[1]), int(sys.argv[2]))))
