"""Random runs and the examples' own, replayed; changes planted into each record, every one to be
found at its step.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from agentkit import Agent
from agentkit.events import Event
from agentkit.testing import ScriptedModel
from agentkit.trace import read_events
from examples.code_fixer.main import agent as code_fixer
from examples.data_analyst.main import agent as data_analyst
from examples.project_assistant.main import agent as project_assistant
from soak.proof import prove
from tests.examples.running import REPO, run_example
from tests.runtime.planting import MakeAgent, plants_of, recorded_run, replays, step_found

_BATCHES = 60
_RUNS = 50

EXAMPLES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "project_assistant": (project_assistant, ("Where is Till defined?",)),
    "code_fixer": (code_fixer, ("--model", "scripted", "--yes")),
    "data_analyst": (data_analyst, ("--model", "scripted", "Which town spent most?")),
}


def batch(number: int) -> dict[str, int]:
    """Fifty random runs, half of the batches on trio; the first batch also takes the examples."""
    counts: Counter[str] = Counter()

    async def random_runs() -> None:
        for seed in range(number * _RUNS, (number + 1) * _RUNS):
            make, events = await recorded_run(seed)
            await _check(make, events, counts, "random runs")

    anyio.run(random_runs, backend="trio" if number % 2 else "asyncio")
    if number == 0:
        for name in EXAMPLES:
            _example(name, counts)
    return counts


def _example(name: str, counts: Counter[str]) -> None:
    make_agent, arguments = EXAMPLES[name]
    sample = REPO / "examples" / name / "sample"
    with tempfile.TemporaryDirectory() as folder:
        done = run_example(name, Path(folder), *arguments)
        assert done.code == 0, done.err
        (file,) = Path(folder).iterdir()
        events = [timed.event for timed in read_events(file)]

    def make() -> Agent[Any, Any]:
        agent: Agent[Any, Any] = make_agent(ScriptedModel([]), sample)
        return agent

    async def main() -> None:
        await _check(make, events, counts, "runs of examples")

    anyio.run(main)


async def _check(make: MakeAgent, events: Sequence[Event], counts: Counter[str], kind: str) -> None:
    assert (difference := await replays(make(), events)) == "", difference
    counts[f"{kind}, replayed identically"] += 1
    for planted in plants_of(events):
        found = await step_found(make(), planted)
        assert found == planted.step, f"{planted.what}: {found} instead of {planted.step}"
        counts[f"planted in {kind}, found at the step: {planted.what}"] += 1


if __name__ == "__main__":
    sys.exit(prove("replay", _BATCHES, batch))
