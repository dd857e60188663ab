"""BFCL's single-turn categories proved with no model, through the real loop.

Each batch is a slice of one category's cases. A server that knows the answers plays gold calls over
the wire, an agent that does nothing plays them too, and eight near misses of each of some cases are
judged by upstream's own runner as well. Of every category's gold it is counted how many cases the
checker takes an answer for that is made by rule, and how many of these pass over the wire.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import anyio
from agentkit_evals.bfcl import SINGLE, BfclSingleSuite, install
from agentkit_evals.core import Case, Trial, TrialResult
from agentkit_evals.replay import Book, GoldServer, book_of
from agentkit_evals.subject import Subject
from agentkit_evals.trial import run_trial

from soak.proof import prove
from soak.upstream import equal_verdicts
from tests.evals.bfcl.spoilt import SPOILT, spoilt

_SIZES: Final = (400, 100, 50, 200, 200, 200, 240, 258, 1053, 16, 24, 884, 16)
_SLICE: Final = 100
_JUDGED: Final = 25
"""Cases of a category whose near misses upstream judges: 200 transcripts, where it has so many."""

_BATCHES: Final = [
    (category, start)
    for category, size in zip(SINGLE, _SIZES, strict=True)
    for start in range(0, size, _SLICE)
]


def batch(number: int, cases: int = _SLICE, judged: int = _JUDGED) -> dict[str, int]:
    """One slice.

    Raises:
        AssertionError: Gold fails, nothing passes where it must not, or upstream says otherwise.
    """
    install(lambda _: None)
    category, start = _BATCHES[number]
    return dict(anyio.run(_slice, category, start, cases, judged))


async def _slice(category: str, start: int, most: int, judged: int) -> Counter[str]:
    suite = BfclSingleSuite(category)
    cases = (await suite.cases())[start : start + most]
    counts: Counter[str] = Counter({f"{category}: cases": len(cases)})
    idle = [await _played(suite, case, Subject(model="empty")) for case in cases]
    passed = sum(result.passed for result in idle)
    wanted = len(cases) if "irrelevance" in category else 0
    assert passed == wanted, f"{category}: {passed} pass when nothing is done"
    counts[f"{category}: passed by no calls"] = passed
    known = [case for case in cases if case.gold is not None]
    for some in _apart(book_of(known, idle)):
        with GoldServer(some) as server:
            for case in known:
                if case.id in some:
                    found = await _played(suite, case, Subject(model=server.url))
                    if found.passed:
                        counts[f"{category}: passed by gold over the wire"] += 1
                    else:
                        assert await _contradicts(suite, case), f"{case.id}: {found}"
                        counts[f"{category}: gold that its own schema forbids"] += 1
    if start == 0:
        counts += await _judged(suite, category, cases[:judged])
    await suite.aclose()
    return counts


async def _played(suite: BfclSingleSuite, case: Case, subject: Subject) -> TrialResult:
    async with subject.opened() as make:
        found = await run_trial(suite, Trial(case, 0, 1), make, "soak")
    assert found.status == "graded", found.failure
    return found


async def _contradicts(suite: BfclSingleSuite, case: Case) -> bool:
    """Whether upstream's answer does not fit its own document of the function, as where it is a
    boolean and the document wants a text: over the wire it is read as what the document says.
    """
    found = await _played(suite, case, Subject(model="gold"))
    return found.passed and any(call.invalid for call in found.transcript.calls)


def _apart(books: dict[str, Book]) -> Iterator[dict[str, Book]]:
    """The books so parted that in each part no two cases begin with the same words."""
    left = dict(books)
    while left:
        part: dict[str, Book] = {}
        heard: set[tuple[str, ...]] = set()
        for case, book in left.items():
            if book.said not in heard:
                heard.add(book.said)
                part[case] = book
        left = {case: book for case, book in left.items() if case not in part}
        yield part


async def _judged(suite: BfclSingleSuite, category: str, cases: Sequence[Case]) -> Counter[str]:
    """Near misses, by us and by upstream's own runner."""
    results = [
        await run_trial(suite, Trial(case, 0, 1), spoilt(case, kind, 1), "soak")
        for case in cases
        for kind in range(len(SPOILT))
    ]
    return equal_verdicts(category, results)


if __name__ == "__main__":
    sys.exit(prove("evals_single", len(_BATCHES), batch))
