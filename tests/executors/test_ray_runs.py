"""Whole runs on a Ray cluster of two nodes, of which one is lost (`make ray`)."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import Agent, SQLiteJournal
from agentkit.agent import BatchProgress
from agentkit.events import RunResult
from agentkit.journal import CallDone, CallIntended
from agentkit.runtime.ray import run_many
from tests.journal.crashing import Diary
from tests.journal.working import STEPS, agent_of

REPO = Path(__file__).parents[2]
RUNS, AHEAD = 16, 4
"""Runs, and how many of them end before calls are held up."""

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.ray,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),  # Ray's own
]


def node() -> dict[str, Any]:
    """What a node is: small, and with its ports chosen, since one that chooses them itself gives up
    on a busy machine.
    """
    ports: dict[str, Any] = {}
    for name in ("metrics_agent", "metrics_export", "dashboard_agent_listen", "runtime_env_agent"):
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            ports[f"{name}_port"] = door.getsockname()[1]
    return {"num_cpus": 2, "object_store_memory": 80 * 1024 * 1024, **ports}


class Nodes:
    """A cluster of two nodes on this machine, each with room for two actors."""

    def __init__(self) -> None:
        ray: Any = pytest.importorskip("ray")
        from ray.cluster_utils import Cluster  # noqa: PLC0415 - the extra is optional

        head = {**node(), "include_dashboard": False}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self._other: Any = self._cluster.add_node(**node())
        ray.init(
            address=self._cluster.address,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([str(REPO)])}},
        )
        self._ray = ray

    @property
    def other(self) -> str:
        """The id of the node that is not the driver's."""
        return str(self._other.node_id)

    @property
    def own(self) -> str:
        """The id of the driver's node."""
        return str(self._ray.get_runtime_context().get_node_id())

    def lose_other(self) -> None:
        """Kills it, with all that is at work there."""
        self._cluster.remove_node(self._other, allow_graceful=False)

    def close(self) -> None:
        self._ray.shutdown()
        self._cluster.shutdown()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    yield made
    made.close()


class HeldDiary(Diary):
    """One that holds up every call behind a file, says on which node, and lets those of a node go
    on by a file with its name: what is at work on a lost node shall not end before it dies.
    """

    def write(self, what: str, key: str, number: int) -> None:
        super().write(what, key, number)
        folder = self.file.parent
        if what == "begin" and (folder / "hold").exists():
            import ray  # noqa: PLC0415 - the extra is optional

            node = ray.get_runtime_context().get_node_id()
            (folder / f"held on {node}").touch()
            while not (folder / f"go on, {node}").exists():
                time.sleep(0.02)


def made(folder: Path) -> Agent[Any, Any]:
    """An agent whose every call is to run at most once."""
    return agent_of(HeldDiary(folder / "diary"))


async def test_a_node_that_is_lost_takes_no_result_with_it_and_nothing_runs_twice(
    nodes: Nodes, tmp_path: Path
) -> None:
    place, ended_before, results = str(tmp_path / "runs.db"), list[str](), list[RunResult[Any]]()
    batch = partial(run_many, partial(made, tmp_path), ["Go."] * RUNS, journal=place, batch="b")

    def ended(progress: BatchProgress[Any]) -> None:
        if not (tmp_path / "lost").exists():
            ended_before.append(progress.result.run_id)
        if progress.done == AHEAD:
            (tmp_path / "hold").touch()

    async def run() -> None:
        results.extend(await batch(actors=2, at_once=4, on_progress=ended))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        with anyio.fail_after(120):
            held = tmp_path / f"held on {nodes.other}"
            while not held.exists():  # noqa: ASYNC110 - a process elsewhere writes it
                await anyio.sleep(0.05)
        nodes.lose_other()
        (tmp_path / "lost").touch()
        (tmp_path / f"go on, {nodes.own}").touch()
    assert [(each.output, each.stop_reason) for each in results] == [("Done.", "answer")] * RUNS
    begun = Diary(tmp_path / "diary").keys("begin")
    assert set(begun.values()) == {1}
    takings: Counter[int] = Counter()
    with SQLiteJournal(place) as journal:
        for number in range(RUNS):
            run_id = f"b-{number:06}"
            records = await journal.read(run_id)
            epochs = {record.epoch for record in records}
            takings[len(epochs)] += 1
            assert run_id not in ended_before or epochs == {1}, "one that had ended ran again"
            entries = [record.entry for record in records]
            keys = [entry.key for entry in entries if isinstance(entry, CallIntended)]
            done = [entry for entry in entries if isinstance(entry, CallDone)]
            unknown = {entry.key for entry in done if entry.result.kind == "unknown"}
            assert len(keys) == len(done) == STEPS
            # A node can be lost between the note that a call starts and the call's first line.
            assert set(keys) <= begun.keys() | unknown, "one neither began nor is told as unknown"
    assert takings[2] >= 1, "nothing was at work on the node that was lost"
    before = (tmp_path / "diary").read_bytes()
    with anyio.fail_after(60):
        again = await batch(actors=1, at_once=8)
    assert [each.output for each in again] == ["Done."] * RUNS
    assert (tmp_path / "diary").read_bytes() == before
