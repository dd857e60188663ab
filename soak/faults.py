"""The scenario table, over and over: streamed and not, on asyncio and on trio."""

from __future__ import annotations

import sys
from collections import Counter

import anyio

from agentkit.testing.scenarios import SCENARIOS, play_all
from soak.proof import prove

_ROUNDS = 10
_MODES = [(stream, backend) for stream in (True, False) for backend in ("asyncio", "trio")]


def batch(number: int) -> dict[str, int]:
    """The whole table in one mode."""
    stream, backend = _MODES[number % len(_MODES)]
    counts: Counter[str] = Counter()

    async def table() -> None:
        for outcome in await play_all(SCENARIOS, stream=stream):
            scenario = outcome.scenario
            assert outcome.problems == [], f"{scenario.name}: {outcome.problems}"
            kind = "right answer" if scenario.ends(stream=stream).stop == "answer" else "typed stop"
            counts[kind] += 1

    anyio.run(table, backend=backend)
    return counts


if __name__ == "__main__":
    sys.exit(prove("faults", _ROUNDS * len(_MODES), batch))
