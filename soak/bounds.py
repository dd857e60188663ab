"""Values at the edge of what can be kept: killed just inside the bounds, refused just outside.

1,000 kills and more of runs whose calls carry values just inside each bound: nothing twice, nothing
lost, the tool gets the very value. 1,000 values just outside: no intent, a refusal in words.
"""

from __future__ import annotations

import sys

from soak.proof import prove
from tests.journal.crashing import batch as killed
from tests.journal.edges import refused

_KILLED = 70
_REFUSED = 20
_RUNS = 10
_VALUES = 50
_FIRST_SEED = 5_000


def batch(number: int) -> dict[str, int]:
    """Ten runs of ten calls, each killed twice, or fifty values that are refused."""
    if number >= _KILLED:
        return dict(refused(number, _VALUES))
    counts = killed(_FIRST_SEED + number, _RUNS, edges=True)
    return {f"{name.replace('_', ' ')} inside": count for name, count in counts.items()}


if __name__ == "__main__":
    sys.exit(prove("bounds", _KILLED + _REFUSED, batch))
