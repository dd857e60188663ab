"""The doctor before servers that fail at random: every examination comes to its end.

python -m soak.doctor_deaths
"""

from __future__ import annotations

import sys
from collections import Counter

from soak.proof import prove
from tests.serving.doctor.failing import examined_at_random

_BATCHES, _RUNS = 50, 10


def batch(number: int) -> Counter[str]:
    """Ten examinations."""
    counts: Counter[str] = Counter()
    for seed in range(number * _RUNS, (number + 1) * _RUNS):
        counts[f"ended with {examined_at_random(seed)}"] += 1
        counts["examinations"] += 1
    return counts


if __name__ == "__main__":
    sys.exit(prove("doctor_deaths", _BATCHES, batch))
