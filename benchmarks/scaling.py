"""From one machine to a million runs a day, on paper: `python -m benchmarks.scaling`.

The measured costs of a run and a step (`docs/proof/shared_journal.json`) are added up for a load,
and a simulation says how long runs wait for a place. What is not measured here is an assumption
that is kept with the result: how long a model takes, how many replies a GPU server makes at the
same time, how often a disk can be forced. `--check` runs a real worker on a server of the
benchmark's own: what a run takes there beside its model is measured at the first size, and what the
simulation then says of the others stands beside what they took.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import statistics
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio

from agentkit import Agent, tool
from agentkit.events import ModelEvent
from agentkit.journal.postgres import PostgresJournal, migrate
from agentkit.messages import ModelRequest
from agentkit.runtime.worker import Worker
from agentkit.testing import ScriptedModel, call, say
from soak.proof import FOLDER, write_record
from tests.postgres import Server

_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured of a run: what each step adds, and what it takes besides.

    Attributes:
        step: By name: writes, wal_bytes, table_bytes, client_cpu_seconds, server_cpu_seconds.
        run: The same, besides the steps.
    """

    step: dict[str, float]
    run: dict[str, float]

    @staticmethod
    def measured() -> Costs:
        """Those of `python -m benchmarks.shared_journal --save`."""
        kept = json.loads((FOLDER / "shared_journal.json").read_text())
        ends = ("_per_step", "_per_run_besides")
        step, run = ({n.removesuffix(e): v for n, v in kept.items() if n.endswith(e)} for e in ends)
        return Costs(step, run)

    def of(self, name: str, steps: float) -> float:
        """What a run of so many steps costs."""
        return self.run[name] + steps * self.step[name]


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a deployment, and what of its parts is assumed.

    Attributes:
        runs_a_day: Runs that are submitted.
        steps: Steps of a run.
        model_seconds: Seconds of a model call.
        tool_seconds: Seconds of a step's tools.
        peak: How many times the busiest hour is above the mean.
        at_once: Runs that a worker has at work.
        replies_at_once: Replies that a model server makes at the same time, each at that speed.
        flushes: How often a second the database's disk can be forced; commits that come together
            share one.
        connections: Connections of a worker: its journal's, and one that listens.
    """

    runs_a_day: float
    steps: float = 5.0
    model_seconds: float = 4.0
    tool_seconds: float = 1.0
    peak: float = 3.0
    at_once: int = 16
    replies_at_once: int = 32
    flushes: float = 500.0
    connections: int = 9

    @property
    def arrivals(self) -> float:
        """Runs a second in the busiest hour."""
        return self.runs_a_day / _DAY * self.peak

    @property
    def seconds(self) -> float:
        """Seconds of a run that does not wait."""
        return self.steps * (self.model_seconds + self.tool_seconds)


def needs(load: Load, costs: Costs) -> dict[str, float]:
    """What the busiest hour takes of each part."""
    rate = load.arrivals
    at_work = rate * load.seconds  # Little's law
    workers = math.ceil(at_work * 1.2 / load.at_once)
    replies = rate * load.steps * load.model_seconds
    commits = rate * costs.of("writes", load.steps)
    return {
        "runs at work": at_work,
        "workers": workers,
        "model servers": math.ceil(replies * 1.2 / load.replies_at_once),
        "cores for workers": rate * costs.of("client_cpu_seconds", load.steps),
        "cores of the database": rate * costs.of("server_cpu_seconds", load.steps),
        "commits a second": commits,
        "commits for each flush": commits / load.flushes,
        "log, MB a second": rate * costs.of("wal_bytes", load.steps) / 1e6,
        "tables, GB a day": load.runs_a_day * costs.of("table_bytes", load.steps) / 1e9,
        "connections": workers * load.connections,
    }


def waits(
    load: Load, places: int, runs: int, seed: int = 1, *, at_once: bool = False
) -> tuple[list[float], float]:
    """A simulation of runs that come at random and wait for a place; seconds.

    Args:
        load: How often they come, and how long they take.
        places: Places of all workers together.
        runs: How many to play.
        seed: Of the random numbers.
        at_once: All are there at the beginning, and each takes as long as the next.

    Returns:
        How long each waited, and when the last one ended.
    """
    rng, now, last = random.Random(seed), 0.0, 0.0
    free = [0.0] * places  # when each place is free
    waited: list[float] = []
    for _ in range(runs):
        now += 0.0 if at_once else rng.expovariate(load.arrivals)
        begins = max(now, heapq.heappop(free))
        varied = 1.0 if at_once else rng.gammavariate(load.steps, 1 / load.steps)
        last = max(last, begins + load.seconds * varied)
        heapq.heappush(free, begins + load.seconds * varied)
        waited.append(begins - now)
    return waited, last


# --- checked against workers ---------------------------------------------------------------------


class Timed:
    """A model that takes its time over every reply."""

    name, constrains = "timed", False

    def __init__(self, load: Load) -> None:
        self._load = load

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        done = sum(message.role == "assistant" for message in request.messages)
        await anyio.sleep(self._load.model_seconds)
        said: Any = call("nothing", step=done) if done < self._load.steps - 1 else say("Done.")
        async for event in ScriptedModel([said]).generate(request):
            yield event

    async def aclose(self) -> None:
        """Holds nothing."""


@tool
async def nothing(step: int) -> str:
    """Does nothing."""
    return str(step)


async def real(url: str, load: Load, runs: int) -> float:
    """Seconds that one worker takes for so many runs."""
    agent = Agent(Timed(load), tools=[nothing], observers=())
    seconds = 0.0
    with PostgresJournal(url) as journal:
        for number in range(runs):
            await agent.submit("Go.", queue=journal, name="a:a", run_id=f"{runs}-{number}")
        ended = (await journal.states()).get("ended", 0) + runs
        worker = Worker(journal, {"a:a": agent}, at_once=load.at_once)
        began = time.perf_counter()
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            while (await journal.states()).get("ended", 0) < ended:  # noqa: ASYNC110 - in rows
                await anyio.sleep(0.1)
            seconds = time.perf_counter() - began
            worker.stop()
    return seconds


def check(sizes: Sequence[int]) -> dict[str, dict[str, float]]:
    """Real and simulated seconds for so many runs at a time, by their number; the first size fills
    the worker's places once, and tells what a run takes beside its model.
    """
    load = Load(1, steps=5, model_seconds=0.2, tool_seconds=0.0, at_once=8)
    found: dict[str, dict[str, float]] = {}
    with Server() as server:
        migrate(server.url())
        first = anyio.run(real, server.url(), load, load.at_once)
        known = replace(load, tool_seconds=(first - load.seconds) / load.steps)
        found[f"{load.at_once} runs, measured"] = {"seconds": round(first, 2)}
        for size in sizes:
            seconds = anyio.run(real, server.url(), load, size)
            _, simulated = waits(known, load.at_once, size, at_once=True)
            both = {"seconds": round(seconds, 2), "simulated": round(simulated, 2)}
            found[f"{size} runs"] = both
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what each load takes, and how long runs wait."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--runs-a-day", type=float, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--steps", type=float, default=5)
    parser.add_argument("--model-seconds", type=float, default=4)
    parser.add_argument("--check", type=int, nargs="*", metavar="RUNS", help="such as 80 800")
    parser.add_argument("--save", action="store_true", help="write docs/proof/scaling.json")
    options = parser.parse_args(argv)
    costs, record = Costs.measured(), dict[str, Any]()
    base = Load(0, steps=options.steps, model_seconds=options.model_seconds)
    for runs in options.runs_a_day:
        load = replace(base, runs_a_day=runs)
        found = needs(load, costs)
        places = round(found["workers"]) * load.at_once
        waited, _ = waits(load, places, 20_000)
        found["median wait, s"] = statistics.median(waited)
        found["wait of one in a hundred, s"] = statistics.quantiles(waited, n=100)[98]
        print(f"\n{runs:,.0f} runs a day")
        for name, value in found.items():
            print(f"  {name:30} {value:12,.2f}")
        record[f"{runs:.0f} runs a day"] = {n: round(v, 3) for n, v in found.items()}
    if options.check:
        record["real workers"] = check(options.check)
        print(f"\nreal workers: {record['real workers']}")
    if options.save:
        assumed = {n: getattr(base, n) for n in Load.__slots__ if n != "runs_a_day"}
        write_record("scaling", {"assumed": assumed, **record})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
