"""20,000 edits of files in 16 encodings and normal forms, with mixed line ends, known to the byte.

Every edit that can be meant in one place only is found there and changes nothing else; every other
is refused, and the refusal shows a difference that can be seen (`tests.tools.edited`).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping

from soak.proof import prove
from tests.tools.edited import ENCODINGS, draw, judge

_BATCHES = 100
_CASES = 200
_LEAST_FOUND = 0.4
"""Of all edits: so many have one place at least, or the generator makes too many refusals."""


def batch(number: int, cases: int = _CASES) -> dict[str, int]:
    """So many edits."""
    counts: Counter[str] = Counter()
    for n in range(cases):
        counts["edits"] += 1
        counts.update(judge(draw(number * cases + n)))
    return dict(counts)


def missed(counts: Mapping[str, int]) -> list[str]:
    """The bars that were missed."""
    found = counts.get("found and exact", 0)
    said = [f"no edit in {name}" for name in ENCODINGS if not counts.get(f"found in {name}")]
    if found < _LEAST_FOUND * counts["edits"]:
        said.append(f"only {found} edits had a place")
    return said


if __name__ == "__main__":
    sys.exit(prove("edits", _BATCHES, batch, missed))
