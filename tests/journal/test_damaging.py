"""The small form of `soak/losses.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journal.mutating import entries, lines

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_every_loss_is_told_and_no_recorded_call_runs_again() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.journal.damaging", "1", "1"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout)
    assert counts["losses_told, in the log"] > 0
    assert counts["losses_told, at the tail"] > 0


def test_a_mutated_entry_is_read_or_refused() -> None:
    assert entries(1, 300).total() == 300


def test_a_run_file_with_a_mutated_line_is_shown_or_refused(tmp_path: Path) -> None:
    assert lines(tmp_path, 2, 40).total() == 40
