"""20,000 answers that mention calls of offered tools: none of them runs, all are given out.

Half come with token ids and half without, streamed and whole, with and without the grammar, as
plain answers, typed answers and answers of sub-agents. With ids the server reads calls as vLLM
does, so it takes many a mention for a call: only the ids tell.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping

import anyio

from soak.misses import note_miss
from soak.proof import prove
from tests.reading.mentions import MentionBench, Shape, random_mention

_BATCHES = 200
_ANSWERS = 100
_SHAPES: tuple[Shape, ...] = ("text", "text", "text", "typed", "sub-agent")


def batch(number: int, answers: int = _ANSWERS) -> dict[str, int]:
    """So many answers from one kind of server; the kinds go round."""
    return anyio.run(_play, number, answers)


async def _play(number: int, answers: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    kind = {"ids": not number % 2, "grammar": not number // 2 % 2, "stream": not number // 4 % 2}
    bench = MentionBench(**kind, seed=number)
    for n in range(answers):
        mention = random_mention(number * answers + n, bench.source)
        shape = bench.source.choice(_SHAPES)
        told = await bench.play(mention, shape)
        counts["answers"] += 1
        counts[f"answers {'with' if kind['ids'] else 'without'} ids"] += 1
        counts[f"answers: {shape}"] += 1
        counts["calls run"] += len(told.ran)
        counts["other text given out"] += len(told.problems) - len(told.ran)
        if told.problems:
            where = {**kind, "shape": shape, "batch": number, "case": n}
            note_miss(
                {"problems": told.problems, "text": mention.text, "way": mention.way, **where}
            )
    return dict(counts)


def missed(counts: Mapping[str, int]) -> list[str]:
    """The bars that were missed."""
    return [f"{n} {name}" for name in ("calls run", "other text given out") if (n := counts[name])]


if __name__ == "__main__":
    sys.exit(prove("mentions", _BATCHES, batch, missed))
