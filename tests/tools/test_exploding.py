"""Patterns, names and texts that explode, through every tool that takes one: answered at once.

What is measured is CPU time, of this process and of its event loop's thread, since the machine's
other work is nobody's fault here. `make soak PART=exploding` tries all of them, on a quiet machine.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.exploding import ENTRIES, PATTERNS, tried

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

MOST_SECONDS, MOST_DELAY = 2.0, 0.1  # a busy machine's CPU seconds count for less

FEW = PATTERNS[::20]


@pytest.mark.parametrize("entry", ENTRIES)
async def test_an_entry_answers_within_a_second_whatever_the_pattern(
    entry: str, tmp_path: Path
) -> None:
    await tried(entry, "a", tmp_path / "first")  # what is imported at the first use is not measured
    for number, pattern in enumerate(FEW):
        report = await tried(entry, pattern, tmp_path / str(number))
        assert report.seconds <= MOST_SECONDS, report
        assert report.delay <= MOST_DELAY, report
