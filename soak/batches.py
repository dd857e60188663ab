"""A batch of 500 runs, killed twice in the middle and resumed: each input is answered once."""

from __future__ import annotations

import sys
from collections import Counter

from soak.proof import prove
from tests.agent.batches import kill_and_resume

_INPUTS = 500


def batch(number: int) -> dict[str, int]:
    """One batch, killed at two moments of its own."""
    counts: Counter[str] = Counter(batches=1)
    counts.update(kill_and_resume(_INPUTS, seed=number))
    return counts


if __name__ == "__main__":
    sys.exit(prove("batches", 4, batch))
