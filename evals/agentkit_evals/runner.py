"""Plays the unfinished trials of a run in this process, several at a time."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import anyio

from agentkit.errors import first_error
from agentkit_evals.apart import run_apart
from agentkit_evals.core import Suite, Trial, TrialResult
from agentkit_evals.manifest import RunManifest, trials_of
from agentkit_evals.store import Store, Writer
from agentkit_evals.suites import load_suite
from agentkit_evals.trial import run_alone


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        total: Trials of the whole run.
        before: Trials that were done when it was started or resumed.
        done: Trials that are done, with those before.
        passed: Trials that passed.
        infrastructure: Trials since the start that have no verdict.
        seconds: Seconds since the start.
    """

    total: int
    before: int
    done: int
    passed: int
    infrastructure: int
    seconds: float

    @property
    def rate(self) -> float:
        """Trials a second."""
        return (self.done - self.before) / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """The seconds left at this rate; None if there is no rate yet."""
        return (self.total - self.done) / self.rate if self.rate else None


Watcher = Callable[[Progress], None]

Play: TypeAlias = Callable[[Trial, str], Awaitable[TrialResult]]
"""Plays a trial; the text is the name of the worker."""

Which: TypeAlias = Literal["unfinished", "lost"]
"""The trials to play: all without a verdict, or only those that were played and have none."""


class Tally:
    """Counts results as they come, and reports them to a watcher.

    Args:
        total: Trials of the whole run.
        before: Results that exist already.
        watcher: Called with the progress after each result.
    """

    def __init__(self, total: int, before: Sequence[TrialResult], watcher: Watcher | None) -> None:
        self._total = total
        self._before = self._done = len(before)
        self._passed = sum(result.passed for result in before)
        self._infrastructure = 0
        self._watcher = watcher
        self._started = time.monotonic()
        self._tell()

    def add(self, result: TrialResult) -> None:
        """Counts one more result."""
        self._done += 1
        self._passed += result.passed
        self._infrastructure += result.status != "graded"
        self._tell()

    def _tell(self) -> None:
        if self._watcher is None:
            return
        self._watcher(
            Progress(
                total=self._total,
                before=self._before,
                done=self._done,
                passed=self._passed,
                infrastructure=self._infrastructure,
                seconds=time.monotonic() - self._started,
            )
        )


class Worker:
    """Plays trials and stores the results, on this machine or on a Ray node.

    Args:
        suite: The suite of the cases.
        play: Plays a trial.
        writer: Stores results.

    Attributes:
        suite: The suite of the cases.
    """

    def __init__(self, suite: Suite, play: Play, writer: Writer) -> None:
        self.suite = suite
        self._play = play
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, manifest: RunManifest, store: Store, *, target: str | None = None
    ) -> AsyncGenerator[Worker]:
        """Opens a worker with its own suite, model and file of results.

        Args:
            manifest: The run.
            store: Where results go.
            target: Where the suite is found here, if not where the manifest says.
        """
        async with aclosing(load_suite(target or manifest.suite)) as suite:
            with closing(Writer(store)) as writer:
                async with _player(manifest, store, suite, target) as play:
                    yield cls(suite, play, writer)

    async def play(self, trial: Trial) -> TrialResult:
        """Plays a trial; its result is on the disk when this returns."""
        result = await self._play(trial, self._writer.name)
        await self._writer.keep(result)
        return result


@asynccontextmanager
async def _player(
    manifest: RunManifest, store: Store, suite: Suite, target: str | None
) -> AsyncGenerator[Play]:
    """Opens a function that plays trials here, or in their own processes if memory is limited."""

    def record(trial: Trial) -> Path | None:
        """The run file of a trial; an agent that does nothing needs none."""
        return None if manifest.subject.model == "empty" else store.record(*trial.key)

    async def apart(trial: Trial, worker: str) -> TrialResult:
        return await run_apart(manifest, trial, worker, target=target, record=record(trial))

    if manifest.limits.memory is not None:
        yield apart
        return
    async with manifest.subject.opened() as make_agent:

        async def play(trial: Trial, worker: str) -> TrialResult:
            limits = manifest.limits
            return await run_alone(
                suite, trial, make_agent, worker, limits=limits, record=record(trial)
            )

        yield play


async def unfinished(
    manifest: RunManifest, store: Store, suite: Suite, which: Which = "unfinished"
) -> tuple[list[Trial], list[TrialResult]]:
    """The trials to play, and the results of those that have a verdict."""
    trials = trials_of(manifest, await suite.cases())
    results = store.results()
    graded = {key: result for key, result in results.items() if result.status == "graded"}
    todo = [
        trial
        for trial in trials
        if trial.key not in graded and (which == "unfinished" or trial.key in results)
    ]
    return todo, list(graded.values())


async def run_local(
    manifest: RunManifest,
    store: Store,
    *,
    concurrency: int = 8,
    which: Which = "unfinished",
    watcher: Watcher | None = None,
) -> None:
    """Plays what is left of a run, in this process.

    Args:
        manifest: The run; the store must hold the same run or none.
        store: Holds the results.
        concurrency: Trials at a time.
        which: The trials to play.
        watcher: Called after each result.

    Raises:
        EvalError: The store holds another run, another process plays it, or the suite is not
            installed.
        ServerNotReadyError: The server cannot be used.
    """
    store.begin(manifest)
    with store.locked():
        async with Worker.opened(manifest, store) as worker:
            todo, done = await unfinished(manifest, store, worker.suite, which)
            tally = Tally(len(todo) + len(done), done, watcher)
            todo.reverse()

            async def work() -> None:
                while todo:
                    tally.add(await worker.play(todo.pop()))

            try:
                async with anyio.create_task_group() as group:
                    for _ in range(min(concurrency, len(todo))):
                        group.start_soon(work)
            except BaseExceptionGroup as errors:
                raise first_error(errors) from None  # so that callers catch it by its own type
