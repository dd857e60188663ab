"""Runs killed at random and at every named point, and owners stopped: nothing twice, nothing lost.

10,000 calls of runs that are killed up to twice at random times; then each named point; then races
between an owner that was stopped and the one that took its run over.
"""

from __future__ import annotations

import sys

from soak.proof import prove
from tests.journal.crashing import POINTS, batch, named, races

_RANDOM = 100
_NAMED = 5 * len(POINTS)
_RACES = 60
_RUNS = 10


def part(number: int) -> dict[str, int]:
    """Ten runs of ten calls, or ten races."""
    if number < _RANDOM:
        return _called("at random", batch(number, _RUNS))
    if number < _RANDOM + _NAMED:
        point = POINTS[number % len(POINTS)]
        return _called("at named points", named(number, _RUNS, [point]))
    return _called("in races", races(number, _RUNS))


def _called(where: str, counts: dict[str, int]) -> dict[str, int]:
    return {f"{name.replace('_', ' ')} {where}": count for name, count in counts.items()}


if __name__ == "__main__":
    sys.exit(prove("kills", _RANDOM + _NAMED + _RACES, part))
