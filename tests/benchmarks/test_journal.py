from __future__ import annotations

from pathlib import Path

from benchmarks.journal import measure


def test_a_step_with_one_call_forces_the_disk_twice(tmp_path: Path) -> None:
    """Before the tool starts and after it ends; the rest is only handed to the system."""
    figures = measure(tmp_path, steps=20, number=0)
    assert 2.0 <= figures["forced_to_the_disk_per_step"] <= 2.2
    assert 2.0 < figures["transactions_per_step"] <= 4.3
