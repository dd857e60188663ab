"""Whole runs on a Ray cluster (extra `ray`): a batch that outlives the machines that work on it.

```
driver ── run_many ──► Crew ──► an actor on each of some nodes ──► Agent.run or Agent.resume
             ▲                     └── has its own agent, and many runs at work
             └── results, in the order of the inputs             journal: what each run has done
```
Ray knows where a run is at work, and the journal knows what it has done. So an actor holds no state
of its own: if it dies, alone or with its node, it is replaced, and its runs go on in the next one
under the journal's rule: nothing that is recorded is asked or run again. A driver that died is
started again with the same batch, and gets the results of the runs that had ended.

All nodes must reach the journal: a Postgres server, or a file if all of them are one machine. Tools
may run on Ray too (`agentkit.executors.ray`), with resources of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import anyio

from agentkit.agent import Agent, BatchProgress
from agentkit.agent.delegation import run_all
from agentkit.agent.options import RunOptions
from agentkit.agent.run import is_recorded
from agentkit.errors import AgentKitError, RunAtWorkError, check_counts, install
from agentkit.events import RunResult
from agentkit.executors.ray import options_of
from agentkit.journal import StoredJournal, journal_at
from agentkit.journal.store import LEASE
from agentkit.messages import Content, ModelSettings
from agentkit.policy import Limits

T = TypeVar("T")

LIVES: Final = 3
"""Actors that one piece of work may cost; else work that kills its actor would kill all of them."""

_AGAIN: Final = 1.0
"""Seconds until a run is claimed again whose last owner may still be alive."""


async def run_many(
    make: Callable[[], Agent[Any, Any]],
    inputs: Iterable[Content],
    *,
    journal: str,
    batch: str,
    actors: int = 2,
    at_once: int = 16,
    resources: Mapping[str, float] | None = None,
    settings: ModelSettings | None = None,
    limits: Limits | None = None,
    lease: float = LEASE,
    on_progress: Callable[[BatchProgress[Any]], object] | None = None,
) -> list[RunResult[Any]]:
    """`Agent.run_many` over a cluster; needs asyncio, as Ray does. `ray.init` chooses the cluster.

    Args:
        make: A function that the cluster can import. It makes the agent, once in each actor.
        inputs: What the user says, for each run.
        journal: The address of the journal, or the path of its file.
        batch: Names the batch: its runs are `BATCH-000000` and so on.
        actors: Processes that work on runs, spread over the nodes.
        at_once: Most runs at work in each.
        resources: What each actor needs, in Ray's names: `num_cpus` (default 1), `num_gpus`,
            `memory` in bytes, or one of the cluster's own.
        settings: Settings that override the agent's.
        limits: The limits of each run, instead of the agent's.
        lease: Seconds after which an owner that does not renew its lease loses its run.
        on_progress: Called as each run ends; must be quick.

    Returns:
        Results in the order of the inputs. A run whose model fails, or that kills its actors,
        does not end the others: its result says `error` and why.

    Raises:
        JournalError: The journal cannot be reached.
        ModuleNotFoundError: The extra is not installed.
        ValueError: `actors` or `at_once` is below 1.
    """
    check_counts(actors=actors, at_once=at_once)
    ray = _imported()
    shape = {"num_cpus": 1, "scheduling_strategy": "SPREAD", **options_of(resources)}
    hired = ray.remote(_Actor).options(max_concurrency=at_once, **shape)
    given = {"settings": settings, "limits": limits}

    async def start(content: Content, options: RunOptions[Any]) -> RunResult[Any]:
        run_id = options.get("run_id") or ""
        try:
            return await crew.do(lambda actor, _: actor.run.remote(run_id, content, given))
        except ray.exceptions.RayActorError as error:
            why = f"{LIVES} Ray actors ended while it was at work ({type(error).__name__})"
            return RunResult("", "error", (), run_id=run_id, explanation=why)

    with journal_at(journal) as kept:  # a wrong address is found before anything begins
        crew = Crew(lambda: hired.remote(make, journal, lease), actors)
        try:
            every: RunOptions[Any] = {"journal": kept, "run_id": batch}
            return await run_all(start, inputs, every, actors * at_once, None, on_progress)
        finally:
            crew.dismiss()


class Crew:
    """Actors that are replaced when they die.

    Args:
        hire: A function that makes an actor.
        size: How many actors there are.
    """

    def __init__(self, hire: Callable[[], Any], size: int) -> None:
        self._ray = _imported()
        self._hire = hire
        self._places = [_Place(hire()) for _ in range(size)]

    async def do(self, work: Callable[[Any, int], Awaitable[T]]) -> T:
        """Has the least busy actor work on something, or another one if that dies.

        Args:
            work: A function of the actor and of how many actors have died of this work before.

        Raises:
            RayActorError: Too many actors have died of this work.
        """
        place = min(self._places, key=lambda each: each.at_work)
        place.at_work += 1
        try:
            for life in range(LIVES):
                actor = place.actor
                try:
                    return await work(actor, life)
                except self._ray.exceptions.RayActorError:
                    if place.actor is actor:  # nobody else with work there has replaced it
                        place.actor = self._hire()
                    if life == LIVES - 1:
                        raise
            raise AssertionError("the last life returns or raises")
        finally:
            place.at_work -= 1

    @property
    def actors(self) -> list[Any]:
        """The actors at present."""
        return [place.actor for place in self._places]

    def dismiss(self) -> None:
        """Ends the actors; runs that are still at work there can be resumed."""
        for actor in self.actors:
            self._ray.kill(actor)


class _Place:
    """A place for an actor, and how much is at work there."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.at_work = 0


class _Actor:
    """What runs in an actor: an agent, and the journal of its runs."""

    def __init__(self, make: Callable[[], Agent[Any, Any]], place: str, lease: float) -> None:
        self._agent = make()
        self._journal: StoredJournal = journal_at(place, lease=lease)

    async def run(self, run_id: str, content: Content, given: dict[str, Any]) -> RunResult[Any]:
        """Brings a run to its end, wherever it was."""
        options: dict[str, Any] = {**given, "journal": self._journal}
        try:
            while True:
                try:
                    if await is_recorded(self._journal, run_id, content):
                        return await self._agent.resume(run_id, **options)
                    return await self._agent.run(content, run_id=run_id, **options)
                except RunAtWorkError:
                    await anyio.sleep(_AGAIN)
        except AgentKitError as error:
            none: RunResult[Any] = RunResult("", "error", (), run_id=run_id, explanation=str(error))
            return error.result or none


def _imported() -> Any:
    try:
        import ray  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"runs on Ray need the extra `ray`: {install('ray')}", name=error.name
        ) from None
    return ray
