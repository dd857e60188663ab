"""Four workers and 2,000 submitted runs of five steps; 100 kills, 20 drains and 20 workers that
stand still for longer than their lease: all runs end, and no call begins twice.
"""

from __future__ import annotations

import sys

from soak.proof import prove
from tests.journal.working import batch

_BATCHES = 20
_RUNS, _KILLS = 100, 5


def part(number: int) -> dict[str, int]:
    """A hundred runs, on a server of their own. Waits are added up over all batches."""
    return batch(number, _RUNS, _KILLS)


if __name__ == "__main__":
    sys.exit(prove("workers", _BATCHES, part))
