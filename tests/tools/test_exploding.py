"""Patterns, names and texts that explode, through every tool that takes one: answered at once.

What is measured is this process's own CPU time and the longest that an event loop was kept waiting
by it, since the machine's other work is nobody's fault here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.exploding import ENTRIES, PATTERNS, Report, tried

pytestmark = pytest.mark.anyio

MOST_SECONDS, MOST_DELAY = 1.0, 0.1

FEW = PATTERNS[::13]


@pytest.mark.parametrize("entry", ENTRIES)
async def test_an_entry_answers_within_a_second_whatever_the_pattern(
    entry: str, tmp_path: Path
) -> None:
    for number, pattern in enumerate(FEW):
        report = await tried(entry, pattern, tmp_path / str(number))
        assert faults_of(report) == []


def faults_of(report: Report) -> list[str]:
    wrong: list[str] = []
    if report.seconds > MOST_SECONDS:
        wrong.append(f"{report}: too slow")
    if report.delay > MOST_DELAY:
        wrong.append(f"{report}: the loop waited")
    return wrong
