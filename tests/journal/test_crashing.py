"""The small form of `soak/kills.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journal.crashing import POINTS

REPO = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes"),
]


def counted(kind: str, seed: int, runs: int) -> dict[str, int]:
    """What a process of its own counts: forking one that runs tests would take them along."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.journal.crashing", kind, str(seed), str(runs)],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def test_runs_killed_at_random_repeat_and_lose_nothing() -> None:
    assert counted("random", 1, 3)["runs"] == 3


def test_runs_killed_at_every_named_point_repeat_and_lose_nothing() -> None:
    counts = counted("named", 2, 1)
    assert counts["runs"] == len(POINTS)
    assert counts["kills"] >= len(POINTS)
    assert counts["unknown_reported"] > 0


def test_no_tool_begins_without_its_intent_when_the_disk_is_full() -> None:
    counts = counted("refusals", 4, 4)
    assert counts["tries"] == 4
    assert counts["runs_that_met_a_full_disk"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="owners are told apart by /proc")
def test_an_owner_that_was_stopped_writes_nothing_when_it_wakes_up() -> None:
    counts = counted("races", 3, 2)
    assert counts.get("races", 0) + counts.get("stopped_in_a_transaction", 0) == 2
    assert counts.get("stale_owners_refused", 0) <= counts.get("races", 0)
