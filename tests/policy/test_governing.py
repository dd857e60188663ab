"""Random tool sets, policies and sub-agents by the library and by the page of the documentation."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

from tests.policy.governing import LABELS, Made, govern, strictest, table

pytestmark = pytest.mark.slow

WORLDS = 40


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_what_runs_and_who_is_asked_is_what_the_page_says(backend: str) -> None:
    async def main() -> Counter[str]:
        return sum([await govern(seed) for seed in range(WORLDS)], Counter[str]())

    counts = anyio.run(main, backend=backend)
    assert counts["worlds"] == WORLDS
    assert min(counts["ran"], counts["asked"], counts["refused when built"]) > 0


def test_the_reference_reads_the_page() -> None:
    assert table()["has no labels"]["read-only"] == "refused"
    assert strictest("runs", "a person", "runs") == "a person"
    assert Made("it", None, "policy").reach == set(LABELS)
