"""`make ray` runs these: they start a Ray cluster, which takes some ten seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import Agent, tool
from agentkit.executors.ray import RayExecutor
from agentkit.runtime.ray import Crew, run_many
from agentkit.testing import ScriptedModel, call, say
from tests.executors.conformance import CASES, Promises

REPO = Path(__file__).parents[2]
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray: Any = pytest.importorskip("ray")
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=80 * 1024 * 1024,
        _node_ip_address="127.0.0.1",
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([str(REPO)])}},
    )
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("name", CASES)
def test_ray(name: str, tmp_path: Path) -> None:
    anyio.run(CASES[name], RayExecutor({"num_cpus": 1}), Promises(shows_progress=False), tmp_path)


# --- whole runs; two nodes, one of them lost, are in test_ray_runs.py -----------------------------


@tool(effect="pure")
def which_process() -> int:
    """The number of this process."""
    return os.getpid()


def asks_which() -> Agent[Any, Any]:
    """Its run is in an actor, its tool in a task beside it."""
    model = ScriptedModel([call("which_process"), say(f"I am {os.getpid()}.")])
    return Agent(model, tools=[which_process], executor=RayExecutor(), observers=())


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("cluster")
def test_a_run_is_in_an_actor_and_its_tools_in_tasks_beside_it(tmp_path: Path) -> None:
    place = str(tmp_path / "runs.db")
    batch = partial(run_many, asks_which, ["Go."], journal=place, batch="b", actors=1)
    (result,) = anyio.run(batch)
    of_tool, of_run = str(result.messages[-2].content), str(result.output)
    assert of_tool.isdecimal()
    assert of_run == f"I am {int(of_run[5:-1])}."
    assert len({of_tool, of_run[5:-1], str(os.getpid())}) == 3


def test_what_kills_its_actors_is_given_up_and_each_place_is_filled_again() -> None:
    ray: Any = pytest.importorskip("ray")
    names = count()
    crew = Crew(lambda: next(names), 2)
    died: list[int] = []

    async def kills(actor: int, before: int) -> None:
        died.append(actor)
        assert before == len(died) - 1
        raise ray.exceptions.RayActorError

    with pytest.raises(ray.exceptions.RayActorError):
        anyio.run(crew.do, kills)
    assert (died, crew.actors) == ([0, 2, 3], [4, 1])
