"""Forty patterns that explode, through every entry: an answer within a second, the loop at work.

Run it on a quiet machine: what is measured is CPU time, but a busy one stretches that too.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import anyio

from soak.proof import prove
from tests.tools.exploding import ENTRIES, PATTERNS, tried

_SECONDS = 1.0
_DELAY = 0.1


def batch(number: int) -> dict[str, int]:
    """One pattern through every entry."""
    counts: Counter[str] = Counter(patterns=1)
    for entry in ENTRIES:
        with tempfile.TemporaryDirectory() as folder:
            report = anyio.run(partial(tried, entry, PATTERNS[number], Path(folder) / "project"))
        assert report.seconds <= _SECONDS, report
        assert report.delay <= _DELAY, report
        counts["answers"] += 1
        counts["answers within 100 ms"] += report.seconds <= _DELAY
        counts["loop free of all threads' work for 100 ms"] += report.held <= _DELAY
    return counts


if __name__ == "__main__":
    sys.exit(prove("exploding", len(PATTERNS), batch))
