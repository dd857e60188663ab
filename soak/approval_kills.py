"""2,000 real kills of runs whose calls need a person, on SQLite: each payment has a yes of its own,
and each yes has led to its payment or was told as unknown.
"""

from __future__ import annotations

import sys

from soak.proof import prove
from tests.journal.deciding import killed_runs

_BATCHES = 80
_KILLS = 25


def batch(number: int) -> dict[str, int]:
    """So many kills."""
    return killed_runs(number, _KILLS)


if __name__ == "__main__":
    sys.exit(prove("approval_kills", _BATCHES, batch))
