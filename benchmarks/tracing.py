"""What watching a run costs: `python -m benchmarks.tracing`.

CPU microseconds that each observer adds to a step of a run of 50, every reply one tool call but the
last, with a model that costs nothing; rounds in turn, the median of their differences to a run that
nobody watches. Beside it stands the CPU of a whole step over HTTP (`benchmarks/steps.py`), of which
tracing is to be a small part.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from agentkit import Agent, Limits, RunFiles, Tool, tool
from agentkit.agent import Observer
from agentkit.testing import ScriptedModel, call, say
from agentkit.trace.otel import OpenTelemetryObserver
from benchmarks.steps import compared
from benchmarks.steps import measure as measure_steps
from soak.proof import commit_here, write_record

STEPS = 50


class _Nowhere(SpanExporter):
    """The SDK's own work, without a network."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - all alike
        return SpanExportResult.SUCCESS


def _look() -> Tool[..., Any]:
    @tool(effect="pure")
    async def look(number: int) -> str:
        """Looks something up."""
        return f"line {number}: the quick brown fox jumps over the lazy dog\n" * 10

    return look


async def _cpu(observers: Sequence[Observer], runs: int) -> float:
    """CPU microseconds of a step."""
    script = [*(call("look", number=n) for n in range(STEPS - 1)), say("Done.")]
    look = _look()
    gc.collect()
    spent = 0.0
    for _ in range(runs):
        agent = Agent(
            ScriptedModel(script), tools=[look], limits=Limits(steps=STEPS), observers=observers
        )
        began = time.process_time()
        await agent.run("Look.")
        spent += time.process_time() - began
    return spent / (runs * STEPS) * 1e6


def measure(rounds: int, runs: int = 10) -> dict[str, list[float]]:
    """CPU microseconds of a step with each observer, round by round; the first does not count.

    Args:
        rounds: How often each way is measured.
        runs: How many runs each measurement makes.
    """
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Sequence[Observer]] = {
            "nobody": (),
            "run file": (RunFiles(Path(folder)),),
            "OpenTelemetry": (OpenTelemetryObserver(provider),),
        }
        figures: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, observers in ways.items():
                cost = asyncio.run(_cpu(observers, runs))
                if number:
                    figures[name].append(cost)
    provider.shutdown()
    return figures


def added(figures: dict[str, list[float]]) -> dict[str, float]:
    """What each observer adds, the median over the rounds."""
    nobody = figures["nobody"]
    return {
        name: statistics.median(c - n for c, n in zip(costs, nobody, strict=True))
        for name, costs in figures.items()
        if name != "nobody"
    }


def main() -> int:
    """Measures, prints, and with `--save` keeps the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--save", action="store_true", help="write docs/proof/tracing.json")
    options = parser.parse_args()
    extra = added(measure(options.rounds))
    names = ("floor, streamed", "agentkit, streamed")
    steps = compared(asyncio.run(measure_steps(3, names)))
    step = steps["agentkit, streamed"]["cpu_ms_per_step_at_50"] * 1_000
    print(f"\n{'a step over HTTP, streamed':28} {step:8.0f} µs CPU")
    shares = {name: cost / step for name, cost in extra.items()}
    for name, cost in extra.items():
        print(f"{'with ' + name:28} {cost:+8.0f} µs CPU, {shares[name]:.1%}")
    if options.save:
        record = {
            "part": "tracing",
            "commit": commit_here(),
            "rounds": options.rounds,
            "python": platform.python_version(),
            "step_over_http_us": round(step),
            "added_us": {name: round(cost, 1) for name, cost in extra.items()},
            "share_of_a_step": {name: round(share, 4) for name, share in shares.items()},
        }
        write_record("tracing", record)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
