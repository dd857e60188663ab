from __future__ import annotations

import pytest

from agentkit.testing import FAULTS
from agentkit.testing.faults import Damaged
from agentkit.testing.scenarios import SCENARIOS, play_all


def test_every_scenario_has_a_name_of_its_own() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert [name for name in names if names.count(name) > 1] == []


def test_three_quarters_of_the_endings_are_the_right_answer() -> None:
    for stream in (True, False):
        right = sum(s.ends(stream=stream).stop == "answer" for s in SCENARIOS)
        assert right / len(SCENARIOS) >= 45 / 60


def test_every_ending_says_why_it_is_right() -> None:
    assert all(s.what and s.ending.why for s in SCENARIOS)


def test_every_fault_by_name_is_played_in_some_scenario() -> None:
    steps = [step for s in SCENARIOS for step in (*s.script, s.then)]
    played = {f.name for step in steps if isinstance(step, Damaged) for f in step.faults}
    assert played == set(FAULTS)


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_every_scenario_ends_as_the_table_says(
    stream: bool, subtests: pytest.Subtests
) -> None:
    for outcome in await play_all(SCENARIOS, stream=stream):
        with subtests.test(outcome.scenario.name):
            assert outcome.problems == []
