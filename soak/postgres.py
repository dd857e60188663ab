"""500 runs of twenty calls on Postgres: clients killed at random and at named points, the server
killed and restarted in mid-run, owners stopped and raced; nothing twice, nothing lost.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from soak.proof import prove
from tests.journal.crashing_servers import batch

_BATCHES = 50
_RUNS = 10
_BARS = {"kills": 1_000, "kills of the server": 50, "calls": 10_000}
"""What a whole proof has to count; the calls of races stand beside these."""


def part(number: int) -> dict[str, int]:
    """Ten runs and a race, on a server of their own."""
    return batch(number, _RUNS)


def missed(counts: Mapping[str, int]) -> list[str]:
    """Which bars the figures miss; those of a part, its share of them."""
    share = counts["runs"] / (_BATCHES * _RUNS)
    bars = {name: round(share * bar) for name, bar in _BARS.items()}
    return [
        f"{name}: {counts.get(name, 0)} of {bar}"
        for name, bar in bars.items()
        if counts.get(name, 0) < bar
    ]


if __name__ == "__main__":
    sys.exit(prove("postgres", _BATCHES, part, missed))
