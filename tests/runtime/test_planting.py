from __future__ import annotations

from collections import Counter

import pytest

from tests.runtime.planting import plants_of, recorded_run, replays, step_found

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


async def test_random_runs_replay_and_what_is_planted_is_found_at_its_step() -> None:
    planted: Counter[str] = Counter()
    for seed in range(12):
        make, events = await recorded_run(seed)
        assert await replays(make(), events) == "", seed
        for plant in plants_of(events):
            assert await step_found(make(), plant) == plant.step, (seed, plant.what)
            planted[plant.what] += 1
    assert len(planted) == 10
