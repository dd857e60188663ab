"""All hostile servers, streamed and not: typed errors, little memory, nothing past its clock."""

from __future__ import annotations

import sys
from collections import Counter

from soak.proof import prove
from tests.models.hostile import NAMES, client, faults_of


def batch(number: int) -> dict[str, int]:
    """One server, by a client of its own."""
    counts: Counter[str] = Counter(servers=1)
    for seen in client([NAMES[number]]):
        wrong = faults_of(seen)
        assert not wrong, "; ".join(wrong)
        counts["requests"] += 1
        counts[f"ended as {seen['ended'].removeprefix('ended: ')}"] += 1
        counts["growth above 16 MiB"] += seen["growth"] > 16 * 1024 * 1024
        counts["loop delayed above 100 ms"] += seen["delay"] > 0.1
    return counts


if __name__ == "__main__":
    sys.exit(prove("hostile", len(NAMES), batch))
