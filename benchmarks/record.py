"""What the record of a run costs: `python -m benchmarks.record`.

Runs of one agent over HTTP, every reply one tool call, kept as `agentkit run` keeps them and not
kept at all, in turn. Printed are, for a step: bytes on the disk, transactions, those of them that
are forced to the disk, and CPU milliseconds of this process; for results of 60 and of 2,000
characters.
What the witness adds is measured apart, by leaving it out.

The same file runs on version 0.1.0, which kept a run twice, as a file and in a journal:
`--twice` measures that. `docs/proof/record.json` holds both.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from agentkit import Agent, Limits, RunFiles, SQLiteJournal, VLLMModel, tool
from benchmarks.model_server import model_server
from soak.proof import FOLDER, write_record

RECORD = FOLDER / "record.json"
STEPS = 50
LENGTHS = (60, 2_000)
"""Characters of a result: a short answer, and a page of a file."""

_length = 60


@tool
async def get_weather(city: str, days: int = 1) -> str:
    """Forecast for a city.

    Args:
        city: Name of the city, in English.
        days: How many days ahead, 1 to 7.
    """
    text = f"{city}: sunny for {days} day(s), with a light wind from the west. "
    return (text * (_length // len(text) + 1))[:_length]


class _Silent:
    """A witness that is told nothing, to measure what the other one costs."""

    def __init__(self, witness: Any) -> None:
        self.of, self.all, self.close, self.forget = (
            witness.of,
            witness.all,
            witness.close,
            witness.forget,
        )

    def say(self, said: Any, *, forced: bool) -> None:
        """Nothing."""


async def measure(
    model: VLLMModel, folder: Path, *, kept: bool = True, twice: bool = False, witness: bool = True
) -> dict[str, float]:
    """One run.

    Args:
        model: Asks for so many calls.
        folder: For the record.
        kept: Whether there is one.
        twice: Whether there is a file beside the journal, as in version 0.1.0.
        witness: Whether the journal has one.
    """
    journal = SQLiteJournal(folder / "runs.db") if kept else None
    modes: Counter[str] = Counter()
    if journal is not None:
        journal.connection.set_trace_callback(
            lambda sql: modes.update([sql.split()[-1]] if "synchronous" in sql else [])
        )
        if not witness:
            store: Any = vars(journal)["_store"]  # a part is left out to see what it costs
            store._witness = _Silent(store._witness)
    observers = [RunFiles(folder)] if twice else []
    agent = Agent(model, tools=[get_weather], limits=Limits(steps=STEPS), observers=observers)
    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    await agent.run("What will the weather be in all the cities?", journal=journal, run_id="r")
    spent, lasted = time.process_time() - cpu, time.perf_counter() - began
    if journal is not None:
        journal.close()
    return {
        "bytes": _size(folder) / STEPS,
        "transactions": sum(modes.values()) / STEPS,
        "forced": modes["FULL"] / STEPS,
        "cpu_ms": spent * 1_000 / STEPS,
        "wall_ms": lasted * 1_000 / STEPS,
    }


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


async def _rounds(rounds: int, *, twice: bool) -> dict[str, dict[str, float]]:
    global _length  # noqa: PLW0603 - of the tool, which is a function at the top of this module
    found: dict[str, dict[str, float]] = {}
    ways: dict[str, dict[str, Any]] = {"not kept": {"kept": False}, "kept": {"twice": twice}}
    if not twice:
        ways["kept, without a witness"] = {"witness": False}
    async with model_server() as root, VLLMModel(f"{root}/v1", f"steps-{STEPS}") as model:
        for length in LENGTHS:
            _length = length
            measured: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, options in ways.items():
                    with tempfile.TemporaryDirectory() as folder:
                        measured[way].append(await measure(model, Path(folder), **options))
            for way, figures in measured.items():
                found[f"{way}, results of {length} characters"] = {
                    name: round(statistics.median(each[name] for each in figures), 3)
                    for name in figures[0]
                }
    return found


def main() -> int:
    """Measures and prints; with `--save` keeps the figures beside those of before."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--twice", action="store_true", help="a file beside the journal")
    parser.add_argument("--save", metavar="NAME", help="write docs/proof/record.json")
    options = parser.parse_args()
    found = asyncio.run(_rounds(options.rounds, twice=options.twice))
    for way, figures in found.items():
        print(way)
        for name, value in figures.items():
            print(f"    {name:16} {value:10.3f}")
    if options.save:
        record = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
        record |= {"steps": STEPS, "rounds": options.rounds, "machine": platform.platform()}
        record[options.save] = found
        write_record("record", record)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
