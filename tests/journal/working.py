"""Workers that are killed, stopped and told to stop while they work on submitted runs; then every
run has to have ended, and no call to have begun twice.

`python -m tests.journal.working SEED RUNS KILLS` prints its counts as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from agentkit import Agent, ToolContext
from agentkit.events import ModelEvent
from agentkit.journal import Record
from agentkit.journal.postgres import PostgresJournal, migrate
from agentkit.messages import ModelRequest
from agentkit.runtime.worker import Worker
from agentkit.testing import ScriptedModel, call, say
from agentkit.toolset import Tool, ToolOptions, make_tool
from tests.journal.crashing import Diary
from tests.postgres import Server

WORKERS: Final = 4
STEPS: Final = 5
TENANTS: Final = ("acme", "umbrella", "hooli")
_NAME: Final = "proof:agent"
_LEASE: Final = 1.0  # seconds


class Steps:
    """A model that calls the tool so many times, and then answers."""

    name, constrains = "steps", False

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        done = sum(message.role == "assistant" for message in request.messages)
        await anyio.sleep(0.01)
        said: Any = call("work", step=done) if done < STEPS else say("Done.")
        async for event in ScriptedModel([said]).generate(request):
            yield event

    async def aclose(self) -> None:
        """Holds nothing."""


def agent_of(diary: Diary) -> Agent[Any, Any]:
    """An agent whose one tool must not begin twice."""

    def work(ctx: ToolContext[Any], step: int) -> str:
        """Works."""
        diary.write("begin", ctx.idempotency_key, step)
        time.sleep(0.005)
        diary.write("end", ctx.idempotency_key, step)
        return f"did {step}"

    tools: list[Tool[..., Any]] = [make_tool(work, name="work", options=ToolOptions(effect="once"))]
    return Agent(Steps(), tools=tools, observers=())


def start(url: str, folder: Path) -> int:
    """The number of a process that is a worker until it is told to stop."""
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            anyio.run(_worker, url, folder)
        os._exit(0)
    return pid


async def _worker(url: str, folder: Path) -> None:
    with PostgresJournal(url, lease=_LEASE) as journal:
        worker = Worker(journal, {_NAME: agent_of(Diary(folder / "diary"))}, tries=50)
        async with anyio.create_task_group() as group:

            async def stop_when_told() -> None:
                with anyio.open_signal_receiver(signal.SIGTERM) as told:
                    async for _ in told:
                        worker.stop()
                        return

            group.start_soon(stop_when_told)
            await worker.run()
            group.cancel_scope.cancel()


async def _submit(url: str, runs: int, rng: random.Random) -> None:
    agent = agent_of(Diary(Path(os.devnull)))
    with PostgresJournal(url) as journal:
        for number in range(runs):
            # One tenant has most of them, so that the others would wait if it were not fair.
            tenant = TENANTS[0] if rng.random() < 0.8 else rng.choice(TENANTS[1:])
            await agent.submit(
                "Go.", queue=journal, name=_NAME, tenant=tenant, run_id=f"run-{number}"
            )


async def _left(url: str) -> dict[str, int]:
    with PostgresJournal(url) as journal:
        return await journal.states()


def batch(seed: int, runs: int, kills: int) -> dict[str, int]:
    """Four workers bring so many runs to their end; so many of them are killed, one is told to
    stop, and one stands still for longer than its lease.
    """
    rng = random.Random(seed)
    counts: Counter[str] = Counter(runs=runs, steps=runs * STEPS)
    with tempfile.TemporaryDirectory() as place, Server() as server:
        url, folder = server.url(), Path(place)
        migrate(url)
        anyio.run(_submit, url, runs, rng)
        workers = [start(url, folder) for _ in range(WORKERS)]
        for hurt in rng.sample(["kill"] * kills + ["drain", "stand still"], kills + 2):
            time.sleep(rng.random() * 0.8)
            at = rng.randrange(WORKERS)
            os.kill(workers[at], _SIGNALS[hurt])
            if hurt == "stand still":
                time.sleep(2 * _LEASE)
                os.kill(workers[at], signal.SIGCONT)
            else:
                os.waitpid(workers[at], 0)
                workers[at] = start(url, folder)
            counts[f"workers: {hurt}"] += 1
        deadline = time.monotonic() + 120
        while (states := anyio.run(_left, url)) != {"ended": runs}:
            assert time.monotonic() < deadline, f"seed {seed}: {states}"
            time.sleep(0.2)
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
        return dict(counts + anyio.run(_checked, url, folder, runs))


_SIGNALS: Final = {"kill": signal.SIGKILL, "drain": signal.SIGTERM, "stand still": signal.SIGSTOP}


async def _checked(url: str, folder: Path, runs: int) -> Counter[str]:
    """What diary and journal say of every call, and how long runs waited for their first worker."""
    begun = Diary(folder / "diary").keys("begin")
    twice = [key for key, times in begun.items() if times > 1]
    assert not twice, f"{len(twice)} calls began twice"
    counts: Counter[str] = Counter()
    waits: list[float] = []
    with PostgresJournal(url) as journal:
        for number in range(runs):
            records = await journal.read(f"run-{number}")
            waits.append(_wait(records))
            kinds = Counter(type(record.entry).__name__ for record in records)
            assert kinds["CallDone"] == kinds["CallIntended"] == STEPS, f"run {number}: {kinds}"
            counts["takings"] += len({record.epoch for record in records}) - 1
            counts["unknown, told"] += sum(
                getattr(getattr(record.entry, "result", None), "kind", "") == "unknown"
                for record in records
                if type(record.entry).__name__ == "CallDone"
            )
    counts["longest wait, ms"] = round(max(waits) * 1000)
    counts["median wait, ms"] = round(statistics.median(waits) * 1000)
    return counts


def _wait(records: list[Record]) -> float:
    """Seconds from when a run was submitted to the first thing that a worker wrote."""
    return records[1].at - records[0].at


if __name__ == "__main__":
    play = partial(batch, *map(int, sys.argv[1:]))
    sys.stdout.write(json.dumps(play()))
