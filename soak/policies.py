"""2,000 random tool sets, policies and sub-agents: what ran, and who was asked, is what the page of
the documentation says.
"""

from __future__ import annotations

import sys
from collections import Counter

import anyio

from soak.proof import prove
from tests.policy.governing import govern

_BATCHES = 40
_WORLDS = 50


def batch(number: int) -> dict[str, int]:
    """So many worlds, half of the batches on trio."""

    async def main() -> Counter[str]:
        counts: Counter[str] = Counter()
        for seed in range(number * _WORLDS, (number + 1) * _WORLDS):
            counts += await govern(seed)
        return counts

    return dict(anyio.run(main, backend="trio" if number % 2 else "asyncio"))


if __name__ == "__main__":
    sys.exit(prove("policies", _BATCHES, batch))
