"""300,000 damaged calls of 68 tools, of which is known what was meant: nothing else runs.

Every reply comes with its token ids. The bars: no call runs with other arguments than those meant,
unless a strict reader of the format reads exactly those; no undamaged call is lost beside a damaged
one; of the damaged calls that can be read in one way only, as an enumeration of all readings says
of every tenth, 95 % run at the first reply.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping

import anyio

from soak.misses import note_miss
from soak.proof import prove
from tests.reading.bench import Bench, count, described

_BATCHES = 500
_CASES = 632  # one in twenty holds no damaged call
_EVERY = 10
_LEAST = 0.95


def batch(number: int, cases: int = _CASES) -> dict[str, int]:
    """So many replies."""
    return anyio.run(_play, number, cases)


async def _play(number: int, cases: int) -> dict[str, int]:
    bench = Bench(number)
    counts: Counter[str] = Counter()
    for n in range(cases):
        chosen, case = bench.draw(number * cases + n)
        verdict = await bench.play(chosen, case)
        examined = bench.source.randrange(_EVERY) == 0
        counts += count(bench, chosen, case, verdict, enumerate_=examined)
        if verdict.lost or verdict.outcome in ("wrong", "lost", "shown"):
            note_miss(described(case, verdict) | {"batch": number, "case": n})
    return dict(counts)


def missed(counts: Mapping[str, int]) -> list[str]:
    """The bars that were missed."""
    found = [
        f"{counts.get(name, 0)} {name}"
        for name in ("wrong", "lost", "shown", "undamaged calls lost", "calls that nobody wrote")
        if counts.get(name, 0)
    ]
    for name in counts:
        if name.endswith(": one reading") and (all_ := counts[name]):
            right = counts.get(f"{name}, right", 0)
            if right < _LEAST * all_:
                found.append(f"{name}: only {right} of {all_} right at the first reply")
    return found


if __name__ == "__main__":
    sys.exit(prove("damage", _BATCHES, batch, missed))
