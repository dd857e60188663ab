"""100,000 random values in all their wire forms: certain ones arrive, others are refused."""

from __future__ import annotations

import sys

from soak.proof import prove
from tests.schema.test_wire_forms import judged

_BATCHES = 100
_VALUES = 1_000


def batch(number: int) -> dict[str, int]:
    """That many values, in all their forms."""
    return judged(number, _VALUES)


if __name__ == "__main__":
    sys.exit(prove("values", _BATCHES, batch))
