"""BFCL's further multi-turn categories and its memory proved with no model, through the real loop.

Each batch is a slice of one category's cases. A server that knows the answers plays gold over the
wire; nothing, and gold without the last call, are played too, and near misses of each case are
judged by upstream's own runner as well.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from typing import Final

import anyio
from agentkit_evals.bfcl import CATEGORIES, MEMORY, bfcl_suite, install
from agentkit_evals.core import Case, Suite, Trial, TrialResult
from agentkit_evals.replay import GoldServer, book_of
from agentkit_evals.subject import AgentMaker, Reference, Subject
from agentkit_evals.trial import run_trial

from soak.proof import prove
from soak.upstream import equal_verdicts
from tests.evals.bfcl.mutated import MUTATIONS, mutated
from tests.evals.bfcl.recalled import ANSWERS, recalled

_SLICE: Final = 50
_SPOILT: Final = 2
"""Spoilt transcripts of each case, beside the three that are right, empty and one call short."""
_FEW: Final = 30
"""Turns; of cases of the memory that have more, no spoilt ones are played."""

_BATCHES: Final = [
    (category, start)
    for category, size in ((MEMORY, 155), *((f"multi_turn_{c}", 200) for c in CATEGORIES[1:]))
    for start in range(0, size, _SLICE)
]


def batch(number: int, cases: int = _SLICE) -> dict[str, int]:
    """One slice.

    Raises:
        AssertionError: Gold fails, less than gold passes, or upstream says otherwise.
    """
    install(lambda _: None)
    category, start = _BATCHES[number]
    return dict(anyio.run(_slice, category, start, cases))


async def _slice(category: str, start: int, most: int) -> Counter[str]:
    suite = bfcl_suite(category)
    cases = (await suite.cases())[start : start + most]
    counts: Counter[str] = Counter({f"{category}: cases": len(cases)})
    idle = [await _by(suite, case, "empty") for case in cases]
    known = [case for case in cases if case.gold is not None]
    less = [await _by(suite, case, "gold-without-last-call") for case in known]
    wrong = [result.case for result in [*idle, *less] if result.passed]
    assert not wrong, f"{category}: less than gold passes {wrong}"
    counts[f"{category}: failed by no calls"] = len(idle)
    counts[f"{category}: failed by gold without the last call"] = len(less)
    with GoldServer(book_of(known, idle)) as server:
        # The server knows a case by all that was said in it.
        async with Subject(model=server.url, off=("compaction",)).opened() as make:
            gold = [await run_trial(suite, Trial(case, 0, 1), make, "soak") for case in known]
        for case, played in zip(known, gold, strict=True):
            if played.passed:
                counts[f"{category}: passed by gold over the wire"] += 1
            else:
                why = played.grade or played.failure
                assert await _contradicts(suite, case), f"{case.id}: {why}"
                counts[f"{category}: gold that its own schema forbids"] += 1
    spoilt = [
        await run_trial(suite, Trial(case, 0, 1), maker, "soak")
        for number, case in enumerate(known, start)
        for maker in _spoilt(case, number)
        if case.answer is None or len(case.gold or ()) < _FEW
    ]
    await suite.aclose()
    equal = equal_verdicts(category, [*idle, *less, *gold, *spoilt])
    return counts + Counter({f"{category}: {what}": count for what, count in equal.items()})


async def _by(suite: Suite, case: Case, reference: Reference) -> TrialResult:
    async with Subject(model=reference).opened() as make:
        return await run_trial(suite, Trial(case, 0, 1), make, "soak")


async def _contradicts(suite: Suite, case: Case) -> bool:
    """Whether a call of the gold does not fit the function: what it is answered then depends on the
    order of its arguments, which Gemma's syntax does not keep.
    """
    found = await _by(suite, case, "gold")
    return found.passed and any(call.invalid for call in found.transcript.calls)


def _spoilt(case: Case, number: int) -> list[AgentMaker]:
    if case.answer is not None:
        return [recalled(case, kind) for kind in range(len(ANSWERS))]
    chance = random.Random(number)
    return [
        mutated(case, nth % len(MUTATIONS), chance.randrange(1 << 30))
        for nth in range(number * _SPOILT, (number + 1) * _SPOILT)
    ]


if __name__ == "__main__":
    sys.exit(prove("evals_turns", len(_BATCHES), batch))
