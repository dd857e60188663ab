"""The same run on a Ray cluster: warm actors, each with a suite and a model of its own.

An actor writes each result to its own file of the store before it reports, so nothing is lost with
an actor, the driver or the cluster; the folder must be one that all nodes see. The driver hands
out one trial after another and replaces actors that died.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from agentkit.errors import first_error, install
from agentkit.runtime.ray import LIVES, Crew
from agentkit_evals.core import EvalError, Transcript, Trial, TrialResult
from agentkit_evals.manifest import RunManifest
from agentkit_evals.runner import Tally, Watcher, Which, Worker, unfinished
from agentkit_evals.store import Store, Writer
from agentkit_evals.suites import load_suite

_OBJECTS: Final = 80 * 1024 * 1024
"""Bytes of Ray's object store, near the least it takes: results are small."""


async def run_on_ray(
    manifest: RunManifest,
    store: Store,
    *,
    workers: int = 2,
    concurrency: int = 4,
    address: str | None = None,
    which: Which = "unfinished",
    watcher: Watcher | None = None,
) -> None:
    """Plays what is left of a run on Ray. Needs asyncio, as Ray does.

    Args:
        manifest: The run; the store must hold the same run or none.
        store: A folder that all nodes see.
        workers: The number of actors; each takes one processor.
        concurrency: Trials at a time in each actor.
        address: The address of a running cluster; default: one is started, and ended afterwards.
        which: The trials to play.
        watcher: Called after each result.

    Raises:
        EvalError: As `run_local`; or Ray is not installed.
    """
    store = Store(store.folder.absolute())
    store.begin(manifest)
    with store.locked():
        async with aclosing(load_suite(manifest.suite)) as suite:
            todo, done = await unfinished(manifest, store, suite, which)
        if not todo:
            return
        async with _cluster(workers, address) as ray:
            driver = _Driver(ray, manifest, store, concurrency)
            tally = Tally(len(todo) + len(done), done, watcher)
            await driver.play(todo, min(workers, len(todo)), tally)


@asynccontextmanager
async def _cluster(workers: int, address: str | None) -> AsyncGenerator[Any]:
    try:
        import ray  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        raise EvalError(f"the Ray runner needs the extra `ray`: {install('ray')}") from None
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, paths))}}
    mine = not ray.is_initialized()
    if mine:
        # A cluster that Ray starts by itself reports how it is used, unless this is set (its page
        # "Usage stats collection").
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        small: dict[str, Any] = {
            "num_cpus": workers,
            "include_dashboard": False,
            "object_store_memory": _OBJECTS,
            "_node_ip_address": "127.0.0.1",  # reachable from here only
        }
        options: dict[str, Any] = {"address": address} if address else small
        options |= {"log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(runtime_env=environment, **options)
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


class RayWorker:
    """What runs in an actor."""

    def __init__(self, target: str, manifest: bytes, folder: str) -> None:
        self._target = target
        self._manifest = RunManifest.load(manifest)
        self._store = Store(Path(folder))
        self._stack = AsyncExitStack()
        self._worker: Worker | None = None
        self._opening = asyncio.Lock()

    async def play(self, trial: Trial) -> TrialResult:
        """Plays and stores a trial. The result comes without the transcript, which the driver does
        not need.
        """
        async with self._opening:
            if self._worker is None:
                opened = Worker.opened(self._manifest, self._store, target=self._target)
                self._worker = await self._stack.enter_async_context(opened)
        return replace(await self._worker.play(trial), transcript=Transcript())

    async def aclose(self) -> None:
        """Ends what the worker holds."""
        await self._stack.aclose()


class _Driver:
    """The driver's side."""

    def __init__(self, ray: Any, manifest: RunManifest, store: Store, concurrency: int) -> None:
        self._ray = ray
        self._manifest = manifest
        self._store = store
        self._concurrency = concurrency

    async def play(self, todo: list[Trial], workers: int, tally: Tally) -> None:
        todo.reverse()
        crew = Crew(self._hired, workers)

        async def work() -> None:
            while todo:
                tally.add(await self._one(crew, todo.pop()))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers * self._concurrency):
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None  # so that callers catch it by its own type
        for actor in crew.actors:
            with suppress(self._ray.exceptions.RayActorError):
                await actor.aclose.remote()

    async def _one(self, crew: Crew, trial: Trial) -> TrialResult:
        async def play(actor: Any, died: int) -> TrialResult:
            # An actor may have stored the verdict before it died. Without a verdict, what the store
            # holds may be of an earlier session, which this one plays again.
            known = self._store.results().get(trial.key) if died else None
            if known is not None and known.status == "graded":
                return known
            played: TrialResult = await actor.play.remote(trial)
            return played

        try:
            return await crew.do(play)
        except self._ray.exceptions.RayTaskError as error:
            raise EvalError(str(error.cause)) from error  # what no other actor does better
        except self._ray.exceptions.RayActorError:
            return self._given_up(trial)

    def _hired(self) -> Any:
        remote = self._ray.remote(num_cpus=1, max_concurrency=self._concurrency)(RayWorker)
        suite = self._manifest.suite
        name, _, rest = suite.partition(":")
        if name.endswith(".py"):  # an actor works in a folder of its own
            suite = f"{Path(name).absolute()}:{rest}"
        return remote.remote(suite, self._manifest.dump(), str(self._store.folder))

    def _given_up(self, trial: Trial) -> TrialResult:
        result = TrialResult(
            case=trial.case.id,
            trial=trial.number,
            status="infrastructure",
            failure=f"worker:RayActorError: {LIVES} actors died of it",
        )
        with closing(Writer(self._store)) as writer:
            writer.append(result)
        return result
