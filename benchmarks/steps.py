"""What one step of an agent costs: `python -m benchmarks.steps`.

CPU milliseconds of this process for each model call of a run of 10 and of 50, every reply one tool
call but the last: agentkit and the hand-written floor (`benchmarks/floor.py`) in turn, on the same
server in a process of its own, several rounds. A ratio is the median of the rounds' own ratios, so
what slows the machine for a while slows both. The growth within a run of 50 is the cost of its
last five steps over that of its first five.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2

from agentkit import Agent, Limits, VLLMModel, tool
from agentkit.trace import RunFiles
from benchmarks import floor
from benchmarks.model_server import model_server
from soak.proof import commit_here, write_record

QUESTION = "What will the weather be in all the cities?"
RUNS = {10: 10, 50: 2}
"""Runs of one measurement, by the number of their steps."""

WAYS = (
    "floor",
    "agentkit",
    "floor, streamed",
    "agentkit, streamed",
    "agentkit, streamed, run file",
)
LONGEST = max(RUNS)
STAMPED = (1, 6, LONGEST - 6, LONGEST - 1)
"""Calls of a long run at which the clock is read: around its first five steps and its last five.
No others, for on some machines reading the clock costs as much as a step."""


@dataclass
class _Calls:
    count: int = 0
    stamps: list[float] = field(default_factory=list)


_calls = _Calls()
"""Of the tool in the newest run, with the CPU seconds at the stamped ones."""


@tool(effect="pure")
async def get_weather(city: str, days: int = 1) -> str:
    """Forecast for a city.

    Args:
        city: Name of the city, in English.
        days: How many days ahead, 1 to 7.
    """
    _calls.count += 1
    if _calls.count in STAMPED:
        _calls.stamps.append(time.process_time())
    return f"{city}: sunny for {days} day(s), with a light wind from the west and dry roads"


Runner = Callable[[int], Awaitable[object]]
"""Makes one run of so many steps."""


@dataclass
class Figures:
    """Of one way to run, over all rounds.

    Attributes:
        cost: CPU milliseconds of a step, by the number of steps of the run.
        growth: Last five steps of a run of 50 over its first five.
    """

    cost: dict[int, list[float]] = field(default_factory=dict)
    growth: list[float] = field(default_factory=list)


async def _measured(run: Runner, figures: Figures) -> None:
    for steps, runs in RUNS.items():
        gc.collect()
        growth = []
        started = time.process_time()
        for _ in range(runs):
            _calls.count = 0
            _calls.stamps.clear()
            await run(steps)
            assert _calls.count == steps - 1, "every reply but the last is a call"
            if steps == LONGEST:
                first, sixth, late, last = _calls.stamps
                growth.append((last - late) / (sixth - first))
        spent = (time.process_time() - started) * 1_000
        figures.cost.setdefault(steps, []).append(spent / (runs * steps))
        figures.growth += growth


def _floor(client: httpx2.AsyncClient, root: str, *, stream: bool) -> Runner:
    definition = get_weather.definition
    function = {
        "name": definition.name,
        "description": definition.description,
        "parameters": definition.parameters,
    }
    head: dict[str, Any] = {"tools": [{"type": "function", "function": function}]}
    if stream:
        head |= {"stream": True, "stream_options": {"include_usage": True}}

    async def run(steps: int) -> object:
        messages = [{"role": "user", "content": QUESTION}]
        body = {**head, "model": f"steps-{steps}", "max_tokens": 1_000, "messages": messages}
        return await floor.run(client, root, body, get_weather.function)

    return run


def _agentkit(models: dict[int, VLLMModel], runs: Path | None = None) -> Runner:
    observers = [RunFiles(runs)] if runs else []
    agents = {
        steps: Agent(
            model, tools=[get_weather], limits=Limits(steps=steps), observers=list(observers)
        )
        for steps, model in models.items()
    }

    async def run(steps: int) -> object:
        result = await agents[steps].run(QUESTION)
        assert result.stop_reason == "answer", result.explanation
        return result

    return run


async def measure(
    rounds: int, names: Sequence[str] = WAYS, say: Callable[[str], object] = print
) -> dict[str, Figures]:
    """Ways to run, measured in turn; the first round, which warms up, does not count."""
    async with AsyncExitStack() as stack:
        root = await stack.enter_async_context(model_server())
        client = await stack.enter_async_context(httpx2.AsyncClient(timeout=None, trust_env=False))
        files = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def models(*, stream: bool) -> dict[int, VLLMModel]:
            made = {n: VLLMModel(root, f"steps-{n}", stream=stream) for n in RUNS}
            for model in made.values():
                stack.push_async_callback(model.aclose)
            return made

        streamed = models(stream=True)
        runners = (
            _floor(client, root, stream=False),
            _agentkit(models(stream=False)),
            _floor(client, root, stream=True),
            _agentkit(streamed),
            _agentkit(streamed, files),
        )
        ways = {n: run for n, run in zip(WAYS, runners, strict=True) if n in names}
        for run in ways.values():
            await _measured(run, Figures())
        figures = {name: Figures() for name in ways}
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for name, run in ways.items():
                await _measured(run, figures[name])
        return figures


def compared(figures: dict[str, Figures]) -> dict[str, dict[str, float]]:
    """The medians, and agentkit's ratios to the floor of its kind."""
    told: dict[str, dict[str, float]] = {}
    for name, own in figures.items():
        base = figures["floor, streamed" if "streamed" in name else "floor"]
        row: dict[str, float] = {}
        for steps, costs in own.cost.items():
            row[f"cpu_ms_per_step_at_{steps}"] = statistics.median(costs)
            ratios = [mine / its for mine, its in zip(costs, base.cost[steps], strict=True)]
            row[f"times_the_floor_at_{steps}"] = statistics.median(ratios)
        row["last_five_over_first_five"] = statistics.median(own.growth)
        told[name] = {key: round(value, 3) for key, value in row.items()}
    return told


def main() -> int:
    """Prints a table and keeps it in docs/proof/steps.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-record", action="store_true", help="leave steps.json as it is")
    options = parser.parse_args()
    table = compared(asyncio.run(measure(options.rounds)))
    print(f"\n{'CPU ms a step (times the floor)':34}{'10 steps':>16}{'50 steps':>16}{'growth':>8}")
    for name, row in table.items():
        cells = [
            f"{row[f'cpu_ms_per_step_at_{n}']:.2f} ({row[f'times_the_floor_at_{n}']:.2f})"
            for n in RUNS
        ]
        growth = f"{row['last_five_over_first_five']:.2f}"
        print(f"{name:34}{cells[0]:>16}{cells[1]:>16}{growth:>8}")
    if not options.no_record:
        record = {
            "part": "steps",
            "commit": commit_here(),
            "rounds": options.rounds,
            "versions": {"python": platform.python_version(), "httpx2": version("httpx2")},
            "figures": table,
        }
        write_record("steps", record)
        print("written: docs/proof/steps.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
