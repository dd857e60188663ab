"""100,000 random lives of runs whose calls need a person, on a journal in memory or on none; a
ledger that is written apart books the questions, the decisions and the payments.
"""

from __future__ import annotations

import sys
from collections import Counter

import anyio

from soak.proof import prove
from tests.agent.approving import interleaving

_BATCHES = 200
_LIVES = 500


def batch(number: int) -> dict[str, int]:
    """So many lives, a quarter of the batches on trio."""

    async def main() -> Counter[str]:
        counts: Counter[str] = Counter(interleavings=_LIVES)
        for seed in range(number * _LIVES, (number + 1) * _LIVES):
            counts += await interleaving(seed)
        return counts

    return dict(anyio.run(main, backend="trio" if number % 4 == 3 else "asyncio"))


if __name__ == "__main__":
    sys.exit(prove("approvals", _BATCHES, batch))
