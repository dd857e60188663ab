"""Whole replies in 25 wrong notations, and 7 that hold no answer: each is asked again once.

None is given out as the answer and none runs from its text. Asked again, the model makes a real
call, which runs; or writes prose, which is the answer; or writes the same, which ends the run with
a reason that is no answer and carries the text.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping

import anyio

from soak.misses import note_miss
from soak.proof import prove
from tests.reading.notations import NOTHING, NotationBench, Second
from tests.reading.tokens import spelled

_BATCHES = 80
_EACH = 4
"""Replies of each notation in a batch: at least 240 in all."""
_SECONDS: tuple[Second, ...] = ("call", "prose", "same")


def batch(number: int, each: int = _EACH) -> dict[str, int]:
    """So many replies of each notation from one kind of server; the kinds go round."""
    return anyio.run(_play, number, each)


async def _play(number: int, each: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    kind = {"ids": number % 4 > 0, "grammar": not number // 4 % 2, "stream": not number // 8 % 2}
    bench = NotationBench(**kind, seed=number)
    for notation in [*bench.notations, *NOTHING]:
        for n in range(each):
            asked = await bench.play(notation, _SECONDS[(number + n) % len(_SECONDS)])
            counts[f"replies: {notation}"] += 1
            counts["replies"] += 1
            counts["as it should be"] += not asked.problems
            counts["wrong"] += bool(asked.problems)
            if asked.problems:
                counts[f"wrong: {notation}"] += 1
                where = {**kind, "second": asked.second, "batch": number}
                text = spelled(asked.text)
                note_miss({"notation": notation, "problems": asked.problems, "text": text, **where})
    return dict(counts)


def missed(counts: Mapping[str, int]) -> list[str]:
    """The bars that were missed."""
    return [
        f"{count} {name}" for name, count in counts.items() if name.startswith("wrong") and count
    ]


if __name__ == "__main__":
    sys.exit(prove("notations", _BATCHES, batch, missed))
