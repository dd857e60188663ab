"""A batch in a process that is killed, and what its journal and its model say of it afterwards.

`python -m tests.agent.batches JOURNAL ASKED TOTAL` runs the batch until it is killed: the model
appends a line to the file ASKED for each reply that it gives, which is what the world outside saw.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import anyio

from agentkit import Agent, RunResult, SQLiteJournal, tool
from agentkit.agent import BatchProgress
from agentkit.messages import ModelRequest, ToolMessage, UserMessage, text_of
from agentkit.testing import Reply, ScriptedModel, call, say

ROOT = Path(__file__).parents[2]
BATCH = "stock"


def main(journal: Path, asked: Path, total: int, *, endless: bool = False) -> list[RunResult[str]]:
    """Runs the batch to its end, and tells of each run that ends on standard output.

    Args:
        journal: Of the batch.
        asked: Where each reply of the model is noted.
        total: Inputs.
        endless: The last input's tool never returns, so the batch goes on until it is killed.
    """

    @tool(effect="idempotent")
    async def count(item: str) -> str:
        """Counts an item."""
        if endless and item == f"item{total - 1}":
            await anyio.sleep_forever()
        return f"{len(item)} of {item}"

    def step(request: ModelRequest) -> Reply:
        told = next(text_of(m.content) for m in request.messages if isinstance(m, UserMessage))
        last = request.messages[-1]
        first = not isinstance(last, ToolMessage)
        with asked.open("a") as file:
            file.write(f"{told} {'call' if first else 'answer'}\n")
        return call("count", item=told) if first else say(f"There are {text_of(last.content)}.")

    agent = Agent(ScriptedModel([step] * (2 * total)), tools=[count])
    kept = SQLiteJournal(journal)

    def tell(progress: BatchProgress[str]) -> None:
        sys.stdout.write(f"{progress.position}\n")
        sys.stdout.flush()

    async def run() -> list[RunResult[str]]:
        return await agent.run_many(
            [f"item{number}" for number in range(total)],
            journal=kept,
            batch=BATCH,
            on_progress=tell,
        )

    results = anyio.run(run)
    kept.close()
    return results


def kill_and_resume(total: int, seed: int) -> Counter[str]:
    """Kills the batch twice, each time after some more of its runs, and runs it to the end.

    Returns:
        What was counted.
    """
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        journal, asked = Path(folder) / "journal.db", Path(folder) / "asked"
        ended: set[str] = set()
        for part in (0.3, 0.6):
            known = len(ended)
            wanted = max(known + 1, int(total * part * chance.uniform(0.8, 1.2)))
            ended |= _killed(journal, asked, total, wanted)
            assert known < len(ended) < total, "killed in the middle"
            counts["kills"] += 1
        durable = {line for line in asked.read_text().splitlines() if line.endswith(" answer")}
        before = Counter(asked.read_text().splitlines())
        results = main(journal, asked, total)
        after = Counter(asked.read_text().splitlines()) - before
    assert [result.output for result in results] == [
        f"There are {len(f'item{number}')} of item{number}." for number in range(total)
    ]
    again = [name for name in ended if after[f"item{name} answer"] or after[f"item{name} call"]]
    assert again == [], f"finished runs were asked again: {again}"
    counts["inputs answered once"] = total
    counts["runs that had ended before the last start"] = len(ended)
    counts["replies asked for again"] = sum(after[line] for line in durable)
    return counts


def _killed(journal: Path, asked: Path, total: int, wanted: int) -> set[str]:
    """The places of the runs that ended before the process was killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.agent.batches", str(journal), str(asked), str(total)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "AGENTKIT_RUNS": "off"},
    )
    assert process.stdout is not None
    ended: set[str] = set()
    for line in process.stdout:
        ended.add(line.strip())
        if len(ended) >= wanted:
            break
    process.send_signal(signal.SIGKILL)
    ended |= {line.strip() for line in process.stdout if line.endswith("\n")}
    process.wait()
    process.stdout.close()
    return ended


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), endless=True)
