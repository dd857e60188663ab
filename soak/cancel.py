"""2,000 calls cancelled at random points, then 100 that must succeed, on asyncio and on trio."""

from __future__ import annotations

import sys
from functools import partial

import anyio

from soak.proof import prove
from tests.models.cancelling import cancel_then_call
from tests.servers import says, serving

_BATCHES = 4
_CANCELS = 2_000
_CALLS = 100


def batch(number: int) -> dict[str, int]:
    """One pool of connections, on asyncio or trio."""
    with serving(says("Hi.")) as server:
        work = partial(cancel_then_call, server.url, seed=number, cancels=_CANCELS, calls=_CALLS)
        return anyio.run(work, backend=("asyncio", "trio")[number % 2])


if __name__ == "__main__":
    sys.exit(prove("cancel", _BATCHES, batch))
