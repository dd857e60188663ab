"""`make ray` runs these: they start a Ray cluster, which takes some ten seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit.executors.ray import RayExecutor
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
