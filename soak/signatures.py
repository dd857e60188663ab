"""50,000 values of 10,000 random signatures: each validates and arrives equal."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from soak.proof import prove
from tests.schema.test_properties import check_one, functions

_BATCHES = 50
_SIGNATURES = 200
_VALUES = 5


def batch(number: int) -> dict[str, int]:
    """That many signatures, with as many values of each."""
    counts: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=_SIGNATURES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(functions(), st.data())
    def check(function: Any, data: st.DataObject) -> None:
        for _ in range(_VALUES):
            check_one(function, data)
        counts["signatures"] += 1
        counts["values that arrived equal"] += _VALUES

    check()
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    """Run the proof."""
    return prove("signatures", _BATCHES, batch, argv)


if __name__ == "__main__":
    sys.exit(main())
