"""A worker: takes submitted runs from a shared journal, and brings them to their end.

```
queue ──► take ──► Agent.resume ──► settle: ended, paused, cancelled, failed, or queued again
             ▲           │
             └── places  └── the lease is renewed by the journal's own thread all the while
```
In: a journal, and the agents that are offered. Out: runs at their end. A worker keeps no state of
its own: if it dies, its leases end, and another worker takes its runs. If it is told to stop, it
takes no more runs, hands over each run before its next step, and after a time of grace cancels what
still runs. A run that comes back is resumed under the journal's rule: nothing that is recorded is
asked or run again.

While requests wait on the server of an agent's model, no more runs of that agent are taken, since
the worker's queue is fair between tenants and the server's is not.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio

from agentkit.agent import Agent, Cancellation
from agentkit.errors import AgentKitError, JournalError, ModelError, check_counts
from agentkit.journal import Lease, Ticket
from agentkit.messages import ModelSettings
from agentkit.models.base import TellsLoad
from agentkit.redaction import get_logger

if TYPE_CHECKING:
    from agentkit.journal.postgres import PostgresJournal, Settled, Taken
    from agentkit.trace.metrics import OpenTelemetryMetrics


_POLL: Final = 2.0
"""Seconds between two looks at the queue if there is no news of it."""

_LOAD_AGE: Final = 1.0
"""Seconds after which a model's server is asked again for its load."""

_METRICS: Final = 15.0
"""Seconds between two looks at the queue for metrics."""

_FIRST_WAIT, _LONGEST_WAIT = 5.0, 300.0
"""Seconds until a run is taken again whose model could not be reached; doubled with each try."""


class Worker:
    """Brings submitted runs to their end.

    Args:
        journal: The journal that workers share.
        agents: The agents that are offered, by the names under which runs are submitted.
        at_once: Most runs at work at the same time.
        tries: How often a run is begun or continued before it has failed. Otherwise a run that
            kills its worker would kill all of them.
        grace: Seconds for which a worker that is told to stop waits for model calls and tools.
        most_waiting: No runs are taken while more requests than this wait on their model's server,
            if it says so (vLLM's `/metrics`).
        metrics: The metrics that the worker keeps up to date.

    Raises:
        ValueError: No agent is offered, or `at_once` or `tries` is below 1.
    """

    def __init__(
        self,
        journal: PostgresJournal,
        agents: Mapping[str, Agent[Any, Any]],
        *,
        at_once: int = 8,
        tries: int = 5,
        grace: float = 30.0,
        most_waiting: int = 0,
        metrics: OpenTelemetryMetrics | None = None,
    ) -> None:
        if not agents:
            raise ValueError("a worker needs an agent")
        check_counts(at_once=at_once, tries=tries)
        self._journal = journal
        watching = [] if metrics is None else [metrics]
        self._agents = {
            name: agent.override(more_observers=watching) for name, agent in agents.items()
        }
        self._offers = {name: agent.fingerprint for name, agent in agents.items()}
        self._places = at_once
        self._tries = tries
        self._grace = grace
        self._busy = _Busy(self._agents, most_waiting)
        self._metrics = metrics
        self._at_work: dict[str, tuple[Lease, Cancellation]] = {}
        self._stopping = False
        self._news = anyio.Event()

    def stop(self) -> None:
        """Takes no more runs, and hands over those at work; `run` then returns.

        Call it from the event loop of `run`.
        """
        self._stopping = True
        for _, cancellation in self._at_work.values():
            cancellation.drain()
        self._news.set()

    async def run(self) -> None:
        """Works until `stop` is called. A journal that does not answer is asked again."""
        async with anyio.create_task_group() as listening:
            listening.start_soon(self._listen)
            if self._metrics is not None:
                listening.start_soon(self._measure, self._metrics)
            async with anyio.create_task_group() as group:
                while not self._stopping:
                    self._news = anyio.Event()
                    if not await self._take(group.start_soon):
                        with anyio.move_on_after(_POLL * (0.5 + random.random())):  # noqa: S311 - no secret
                            await self._news.wait()
                group.start_soon(self._end, group.cancel_scope)
            listening.cancel_scope.cancel()

    async def _end(self, scope: anyio.CancelScope) -> None:
        """Waits for the runs at work until the time of grace is over, and then cancels them."""
        with anyio.move_on_after(self._grace):
            while self._at_work:
                self._news = anyio.Event()
                await self._news.wait()
        scope.cancel()

    async def _take(self, start: Any) -> bool:
        """Takes a run, if there is one and room for it. Returns whether it did."""
        if len(self._at_work) >= self._places:
            return False
        busy = await self._busy.agents()
        offers = {name: offer for name, offer in self._offers.items() if name not in busy}
        try:
            taken = await self._journal.take(offers) if offers else None
        except JournalError as error:
            get_logger().warning("no run was taken", error=str(error))
            return False
        if taken is None:
            return False
        cancellation = Cancellation()
        if self._stopping:  # it was told to stop while the queue was asked
            cancellation.drain()
        self._at_work[taken.lease.run_id] = taken.lease, cancellation
        if self._metrics is not None:
            self._metrics.took(taken.ticket.agent)
        start(self._work, taken)
        return True

    async def _listen(self) -> None:
        """Listens for new runs and for runs to cancel; looks for the latter each second anyway."""
        listener = self._journal.listener()
        try:
            while True:
                heard = await anyio.to_thread.run_sync(listener.hear, 1.0)
                await self._end_cancelled()
                if heard:
                    self._news.set()
        finally:
            listener.close()

    async def _measure(self, metrics: OpenTelemetryMetrics) -> None:
        """Keeps the metrics of the queue up to date."""
        while True:
            with suppress(JournalError):
                metrics.queue(await self._journal.stats(), self._offers)
            await anyio.sleep(_METRICS)

    async def _end_cancelled(self) -> None:
        if not self._at_work:
            return
        try:
            wanted = await self._journal.cancelled([lease for lease, _ in self._at_work.values()])
        except JournalError:
            return
        for run_id in wanted:
            if run_id in self._at_work:
                self._at_work[run_id][1].cancel()

    # --- one run ---------------------------------------------------------------------------------

    async def _work(self, taken: Taken) -> None:
        lease = taken.lease
        outcome = _Outcome("queued", handed_over=True)  # if it is cancelled
        try:
            outcome = await self._outcome(taken)
        finally:
            with anyio.CancelScope(shield=True):
                try:
                    await self._journal.settle(
                        lease,
                        outcome.state,
                        problem=outcome.problem,
                        after=outcome.after,
                        handed_over=outcome.handed_over,
                    )
                except JournalError as error:  # its lease ends by itself
                    get_logger().warning(
                        "run not given back", run_id=lease.run_id, error=str(error)
                    )
            self._at_work.pop(lease.run_id, None)
            if self._metrics is not None:
                self._metrics.gave_back(taken.ticket.agent, outcome.state)
            self._news.set()

    async def _outcome(self, taken: Taken) -> _Outcome:
        """Resumes a run that was taken, and says what becomes of it."""
        if taken.tries > self._tries:
            return _Outcome("failed", f"it was begun {self._tries} times and never came to its end")
        lease, cancellation = self._at_work[taken.lease.run_id]
        agent = self._agents[taken.ticket.agent]
        try:
            result = await agent.resume(
                lease.run_id,
                journal=self._journal,
                settings=_settings(taken.ticket),
                cancellation=cancellation,
            )
        except (ModelError, JournalError) as error:  # a server is not there, or not yet
            wait = min(_FIRST_WAIT * 2.0 ** (taken.tries - 1), _LONGEST_WAIT)
            again: Settled = "queued" if taken.tries < self._tries else "failed"
            return _Outcome(again, str(error), wait)
        except AgentKitError as error:
            return _Outcome("failed", str(error))
        except Exception as error:  # noqa: BLE001 - a bug in one agent must not end the other runs
            get_logger().warning("run failed", run_id=lease.run_id, exc_info=error)
            return _Outcome("failed", f"{type(error).__name__}: {error}")
        if result.stop_reason == "cancelled" and not cancellation.cancelled:
            return _Outcome("queued", handed_over=True)  # it was drained
        states: dict[str, Settled] = {"paused": "paused", "cancelled": "cancelled"}
        return _Outcome(states.get(result.stop_reason, "ended"))


class _Busy:
    """The agents whose model's server is overloaded.

    Args:
        agents: The agents, by name.
        most: Requests that may wait on a server.
    """

    def __init__(self, agents: Mapping[str, Agent[Any, Any]], most: int) -> None:
        self._most = most
        self._servers: dict[TellsLoad, list[str]] = {}
        for name, agent in agents.items():
            if isinstance(agent.model, TellsLoad):
                self._servers.setdefault(agent.model, []).append(name)
        self._known: set[str] = set()
        self._asked = -math.inf

    async def agents(self) -> set[str]:
        """Their names, at most `_LOAD_AGE` seconds old."""
        if anyio.current_time() - self._asked > _LOAD_AGE:
            self._known = set()
            for server, names in self._servers.items():
                if (await server.waiting() or 0) > self._most:
                    self._known.update(names)
            self._asked = anyio.current_time()
        return self._known


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What becomes of a run; see `Queue.settle`."""

    state: Settled
    problem: str = ""
    after: float = 0.0
    handed_over: bool = False


def _settings(ticket: Ticket) -> ModelSettings:
    """The settings by which vLLM knows a run's priority and keeps tenants apart in its cache."""
    fields: dict[str, Any] = {}
    if ticket.priority:
        fields["priority"] = ticket.priority
    if ticket.tenant:
        fields["cache_salt"] = hashlib.sha256(ticket.tenant.encode("utf-8", "replace")).hexdigest()
    return ModelSettings(extra_body=fields)
