from __future__ import annotations

import pytest

from benchmarks.tracing import added, measure

pytestmark = pytest.mark.slow


def test_a_run_file_costs_a_step_well_under_a_millisecond() -> None:
    """A coarse bound that only a change of kind breaks, such as writing whole histories."""
    costs = added(measure(rounds=3, runs=1))
    assert set(costs) == {"run file", "OpenTelemetry"}
    assert costs["run file"] < 1_500
