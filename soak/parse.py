"""The parser: 100,000 calls back from their text under every cut, 2,000,000 damaged replies.

A batch also checks that the time taken grows in line with the reply.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

from soak.proof import prove
from tests.gemma4.replies import check_any_input, random_reply
from tests.gemma4.test_parse import UNITS, check_identity, seconds_for

_BATCHES = 500
_CALLS = 200
_REPLIES = 4_000
_SMALL, _BIG, _LIMIT = 2_000, 8_000, 8
"""Four times as many pieces may take eight times as long: in line is 4, squared 16, and in between
lies what a busy machine adds."""


def batch(number: int) -> dict[str, int]:
    """One share of the calls, the replies and the time tests."""
    source = random.Random(number)
    counts: Counter[str] = Counter()
    for _ in range(_CALLS):
        counts["feedings of calls"] += check_identity(source)
        counts["calls"] += 1
    for _ in range(_REPLIES):
        check_any_input(random_reply(source), source)
        counts["damaged replies"] += 1
    unit = UNITS[number % len(UNITS)]
    tries = [(seconds_for([unit] * _SMALL), seconds_for([unit] * _BIG)) for _ in range(3)]
    # A machine that slows down between the two measurements does so in one try, not in all.
    assert any(big < _LIMIT * small + 0.002 for small, big in tries), (unit, tries)
    counts["time tests"] += 1
    return counts


if __name__ == "__main__":
    sys.exit(prove("parse", _BATCHES, batch))
