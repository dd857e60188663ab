"""A run with a journal: the same stations, each wrapped by the run's record."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from agentkit.agent.run import Wiring, current_budget
from agentkit.errors import JournalError
from agentkit.executors import Executor, JournaledExecutor
from agentkit.journal import Journal, JournaledRun, RunOpened
from agentkit.messages import Content, ToolResult, UserMessage, text_of
from agentkit.models.base import JournaledModel
from agentkit.policy import Approval, Decision
from agentkit.toolset import ToolContext, ValidatedCall


@asynccontextmanager
async def begun(journal: Journal, run_id: str, opening: RunOpened) -> AsyncGenerator[JournaledRun]:
    """A new run's record, for as long as the run is at work.

    Raises:
        JournalError: The name is taken, or nothing can be written.
    """
    lease = await journal.open(run_id, opening)
    record = JournaledRun(journal, lease, [opening])
    try:
        yield record
    finally:
        await record.close()


@asynccontextmanager
async def continued(
    journal: Journal, run_id: str, decisions: Mapping[str, Decision]
) -> AsyncGenerator[JournaledRun]:
    """The record of a run that ended or died before.

    Args:
        journal: Where it is kept.
        run_id: Its name.
        decisions: What people decided since then, by `Approval.id`.

    Raises:
        JournalError: There is no such run, or another process is at work on it.
    """
    lease = await journal.claim(run_id)
    try:
        record = JournaledRun(journal, lease, [each.entry for each in await journal.read(run_id)])
    except BaseException:
        await journal.release(lease)
        raise
    try:
        for approval, decision in decisions.items():
            await record.decided(approval, decision, ahead=True)
        yield record
    finally:
        await record.close()


async def is_recorded(journal: Journal, run_id: str, content: Content) -> bool:
    """Whether the journal has a run of that name, which began with that input.

    Raises:
        JournalError: It began with another one.
    """
    records = await journal.read(run_id)
    opening = records[0].entry if records else None
    if isinstance(opening, RunOpened) and opening.messages[-1:] != (UserMessage(content),):
        raise JournalError(
            f"the journal keeps a run {run_id} that began with another input; give this one "
            "another name"
        )
    return bool(records)


def journaled(wiring: Wiring, record: JournaledRun) -> Wiring:
    """The wiring with the record around its model, its executor and its events.

    Raises:
        JournalError: The record holds a call that these tools do not take. The loop would answer
            it itself, and what had happened, or might have, would be told to nobody.
    """
    for call in record.calls():
        refused = wiring.toolset.validate(call)
        if isinstance(refused, ToolResult):
            raise JournalError(
                f"the run {wiring.context.run_id} called {call.name}, and the agent's tools do not "
                f"take that call ({text_of(refused.content)}); resume it with the agent that began "
                "it"
            )
    return replace(
        wiring,
        model=JournaledModel(wiring.model, record),
        executor=_ReplayedSpending(JournaledExecutor(wiring.executor, record), record),
        emit=record.emitter(wiring.emit),
    )


@dataclass(frozen=True, slots=True)
class _ReplayedSpending:
    """Books what a recorded call cost, since a sub-agent that is not run again does not book it."""

    inner: Executor
    record: JournaledRun

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        spent = self.record.spent(context.step, call.call.id)
        budget = current_budget.get()
        if spent is not None and budget is not None:
            budget.spend(usage=spent.usage, steps=spent.steps, tool_calls=spent.tool_calls)
            budget.runs += spent.runs
        return await self.inner.execute(call, context)


@dataclass(frozen=True, slots=True)
class RecordedDecisions:
    """The decisions that a journal keeps: a run there has one life, so each has one call."""

    record: JournaledRun

    @property
    def pending(self) -> bool:
        """Whether the record holds any decision."""
        return self.record.has_decisions

    def question(self, approval: Approval) -> Approval:
        """The question, with the id that it was recorded with. One that was never recorded keeps
        its own id, which is unique because the run's name is unique within the journal.
        """
        asked = self.record.asked_as(approval.call, approval.target)
        return approval if asked is None else replace(approval, id=asked)

    def take(self, approval: str, /) -> Decision | None:
        """The recorded decision on a question, if there is one."""
        return self.record.recorded_decision(approval)

    async def ask(
        self, approval: Approval, person: Callable[[], Awaitable[Decision | None]], /
    ) -> Decision | None:
        """Has a person asked, and makes durable what they decide before it counts."""
        await self.record.keep()
        decision = await person()
        if decision is not None:
            await self.record.decided(approval.id, decision)
        return decision

    def use(self, approval: str, /) -> bool:  # noqa: ARG002 - no other run can have used it
        """True: the record of the call itself keeps it from running again."""
        return True
