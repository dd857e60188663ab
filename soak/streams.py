"""Streams cut at every byte: no silent ending, no tool run from a part of a call, no late end."""

from __future__ import annotations

import sys
from collections import Counter

import anyio

from soak.proof import prove
from tests.testing.recorded import ENDS, Bench, inject_on_socket, recorded
from tests.virtual import run_virtual

_BATCHES = 200
_ON_SOCKETS = 10
"""Injections of each batch that go over real HTTP, in real time."""


def batch(number: int) -> dict[str, int]:
    """Every 200th byte of each stream ends cleanly, every 400th in another way as well."""
    counts: Counter[str] = Counter()

    async def in_virtual_time() -> None:
        bench = Bench()
        for stream in recorded():
            for at in range(number, len(stream.body) + 1, _BATCHES):
                ends = (ENDS[0], ENDS[1 + at // 2 % 4]) if at % 2 else ENDS[:1]
                for end in ends:
                    problems = await bench.inject(stream, at, end)
                    assert not problems, problems
                    counts["injections in virtual time"] += 1

    async def on_sockets() -> None:
        for n in range(_ON_SOCKETS):
            place = number * _ON_SOCKETS + n
            stream = recorded()[place % len(recorded())]
            at = 1 + place * 7919 % (len(stream.body) - 1)
            problems = await inject_on_socket(stream, at, ENDS[place // 20 % len(ENDS)])
            assert not problems, problems
            counts["injections on sockets"] += 1

    run_virtual(in_virtual_time)
    anyio.run(on_sockets, backend="trio" if number % 2 else "asyncio")
    return counts


if __name__ == "__main__":
    sys.exit(prove("streams", _BATCHES, batch))
