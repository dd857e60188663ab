"""`make ray` runs these: they start a Ray cluster, which takes some ten seconds."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agentkit_evals.core import EvalError, TrialResult
from agentkit_evals.ray_runner import run_on_ray
from agentkit_evals.report import as_json, report
from agentkit_evals.runner import Progress
from agentkit_evals.store import Store, Writer

from tests.evals.helpers import plan, ran
from tests.evals.test_store import lost

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),  # Ray's own
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray: Any = pytest.importorskip("ray")
    here = Path(__file__).parents[2]
    paths = os.pathsep.join(str(here / name) for name in ("evals", "tools", "."))
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
async def test_a_run_on_ray_is_the_local_run_to_the_byte(tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    await ran(here, trials=3)
    await run_on_ray(await plan(trials=3), there, workers=2, concurrency=3)
    assert there.canonical() == here.canonical()
    assert as_json(replace(report(there), times=None)) == as_json(replace(report(here), times=None))
    assert len({result.worker for result in there.lines()}) == 2


@pytest.mark.usefixtures("cluster")
async def test_an_actor_that_dies_is_replaced_and_nothing_is_played_twice(store: Store) -> None:
    killed: list[str] = []

    def kill(progress: Progress) -> None:
        if progress.done == 10 and not killed:
            killed.append(next(store.lines()).worker)
            os.kill(int(killed[0].rsplit("-", 2)[1]), signal.SIGKILL)

    await run_on_ray(await plan(trials=5), store, workers=1, concurrency=2, watcher=kill)
    results: list[TrialResult] = list(store.lines())
    assert len({result.key for result in results}) == len(results) == 45
    assert all(result.passed for result in results)
    assert len({result.worker for result in results}) == 2
    await run_on_ray(await plan(trials=5), store, workers=1)
    assert list(store.lines()) == results


@pytest.mark.usefixtures("cluster")
async def test_what_was_lost_before_is_played_again_also_where_an_actor_dies(store: Store) -> None:
    manifest = await plan(trials=3)
    store.begin(manifest)
    writer = Writer(store)
    for number in range(manifest.trials):
        for case in manifest.cases:
            writer.append(lost(case, number))
    writer.close()
    killed: list[str] = []

    def kill(progress: Progress) -> None:
        if progress.done == 5 and not killed:
            killed.append(next(line.worker for line in store.lines() if line.worker))
            os.kill(int(killed[0].rsplit("-", 2)[1]), signal.SIGKILL)

    await run_on_ray(manifest, store, workers=1, concurrency=2, which="lost", watcher=kill)
    assert killed
    assert {result.status for result in store.results().values()} == {"graded"}


DEADLY = """
import os
from agentkit_evals import Task, TaskSuite

def die() -> str:
    os._exit(1)

suite = TaskSuite("deadly", [
    Task(
        id=name,
        turns=("Go.",),
        world=dict,
        tools=lambda world, tool=tool: [tool],
        check=lambda world: None,
        gold=(((tool.__name__, {}),),),
    )
    for name, tool in [("kills", die)]
])
"""


@pytest.mark.usefixtures("cluster")
async def test_a_trial_that_kills_every_actor_is_given_up_without_a_verdict(
    tmp_path: Path, store: Store
) -> None:
    path = tmp_path / "deadly.py"
    path.write_text(DEADLY)
    await run_on_ray(await plan(f"{path}:suite"), store, workers=1, concurrency=1)
    (result,) = store.lines()
    assert (result.case, result.status) == ("kills", "infrastructure")
    assert result.failure == "worker:RayActorError: 3 actors died of it"


@pytest.mark.usefixtures("cluster")
async def test_what_no_actor_can_do_ends_the_run_with_its_own_words(store: Store) -> None:
    with pytest.raises(EvalError, match="no model 'gpt'"):
        await run_on_ray(await plan(model="gpt"), store, workers=1, concurrency=2)
