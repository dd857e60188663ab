"""What a journal costs: `python -m benchmarks.journal`.

Runs of one agent whose every reply is one tool call, with and without a journal in turn, without a
model server: what is left is the library and the disk. Printed are the transactions of a step,
those of them that are forced to the disk, and the milliseconds that the journal adds to a step;
the medians of several rounds. They depend on the disk more than on anything else.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

import anyio

from agentkit import Agent, Limits, SQLiteJournal, tool
from agentkit.testing import ScriptedModel, call, say
from soak.proof import write_record

STEPS = 50


@tool
async def add(number: int) -> int:
    """Adds one."""
    return number + 1


def measure(folder: Path, steps: int, number: int) -> dict[str, float]:
    """One run with a journal and one without, each of so many steps with a call."""
    journal = SQLiteJournal(folder / "runs.db")
    modes: Counter[str] = Counter()
    journal.connection.set_trace_callback(
        lambda sql: modes.update([sql.split()[-1]] if "synchronous" in sql else [])
    )

    def seconds(kept: SQLiteJournal | None) -> float:
        script = [*(call("add", number=n) for n in range(steps)), say("Done.")]
        agent = Agent(ScriptedModel(script), tools=[add], observers=())

        async def main() -> float:
            began = time.perf_counter()
            limits = Limits(steps=steps + 1)
            await agent.run("Add.", journal=kept, run_id=f"run-{number}", limits=limits)
            return time.perf_counter() - began

        return anyio.run(main)

    plain, kept = seconds(None), seconds(journal)
    journal.close()
    return {
        "transactions_per_step": sum(modes.values()) / steps,
        "forced_to_the_disk_per_step": modes["FULL"] / steps,
        "ms_per_step": kept / steps * 1_000,
        "ms_per_step_without": plain / steps * 1_000,
        "ms_added_per_step": (kept - plain) / steps * 1_000,
    }


def main() -> int:
    """Measures, prints, and with `--save` keeps the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--save", action="store_true", help="write docs/proof/journal.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rounds = [measure(Path(folder), STEPS, number) for number in range(options.rounds)]
    figures = {name: round(statistics.median(r[name] for r in rounds), 2) for name in rounds[0]}
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):32} {value:8.2f}")
    if options.save:
        record = {"steps": STEPS, "rounds": options.rounds, "machine": platform.platform()}
        write_record("journal", record | figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
