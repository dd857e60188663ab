"""50,000 values of 10,000 random signatures, and 500 as people write them, are right.

What no model could fill is refused where it is registered, by the name of the parameter.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from soak.proof import prove
from tests.schema.signature_zoo import DOCUMENTED, REFUSED_TYPES, signatures
from tests.schema.test_properties import check_one, functions
from tests.schema.test_signature_zoo import check_docstring, check_refused, check_signature

_BATCHES = 51
_SIGNATURES = 200
_VALUES = 5


def batch(number: int) -> dict[str, int]:
    """That many signatures, with as many values of each; the first is of those written by hand."""
    counts: Counter[str] = Counter()
    if number == 0:
        return _by_hand()

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


def _by_hand() -> dict[str, int]:
    counts: Counter[str] = Counter()
    for _, function, wire, values in signatures():
        check_signature(function, wire, values)
        counts["signatures by hand that are right"] += 1
    for annotation in REFUSED_TYPES:
        check_refused(annotation)
        counts["signatures by hand that are refused by name"] += 1
    for _, text, mondays in DOCUMENTED:
        check_docstring(text, mondays=mondays)
        counts["docstrings of which no line is lost"] += 1
    return counts


if __name__ == "__main__":
    sys.exit(prove("signatures", _BATCHES, batch))
