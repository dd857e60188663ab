"""Whether a call may run: by policy, by a decision that came before, or by asking a person.

In: a checked call and its place in the step. Out: the call, a result that says why it may not run,
or the question that waits for a person. A decision is found by the id of its question, which names
one call of one step of one run, and it is used up when the call starts or is refused. Decisions are
given to `Agent.resume` (`GivenDecisions`) or kept in the run's journal (`RecordedDecisions`).
"""

from __future__ import annotations

import inspect
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

from agentkit.errors import wrong_value
from agentkit.events import ApprovalDecided, ApprovalNeeded
from agentkit.journal import JournaledRun
from agentkit.messages import Message, ToolCall, ToolMessage, ToolResult
from agentkit.policy import (
    READS,
    Approval,
    Approve,
    Decision,
    Deny,
    Edit,
    Ruling,
    approval_id,
)
from agentkit.redaction import get_logger
from agentkit.toolset import LABELS, Label, Toolset, ValidatedCall

if TYPE_CHECKING:
    from agentkit.agent.run import Run

Approver: TypeAlias = Callable[[Approval], Any]
"""Decides on a call: returns a `Decision`, or an awaitable of one; None lets the run pause."""


@dataclass(frozen=True, slots=True)
class Approved:
    """A call that a person said yes to, perhaps with other arguments.

    Attributes:
        call: The call as it is to run.
        id: The id of the question that was answered.
    """

    call: ValidatedCall
    id: str


async def decide(
    run: Run, position: int, item: ValidatedCall | ToolResult
) -> ValidatedCall | ToolResult | Approved | Approval:
    """The call if it may run, a result if it may not, or an `Approval` if it has to wait."""
    answer = run.wiring.answer
    if isinstance(item, ToolResult) or (answer is not None and item.tool is answer.tool):
        return item  # an answer ends the run, and affects nothing else
    try:
        ruling = run.wiring.authority.ruling(item, run.taint)
        if ruling.verdict == "deny":
            return denied(item.call, "the policy of this run does not allow it")
        if ruling.verdict == "allow" and not run.decisions.pending:
            return item
        target = run.wiring.authority.target(item)
        asked = approval_id(run.id, run.step, position, item.call, target)
        labels = tuple(sorted(item.tool.labels))
        question = Approval(asked, item.call, target, ruling.why, labels)
    except Exception as error:  # noqa: BLE001 - the boundary around user code
        return _undecided(run, item.call, error)
    approval = run.decisions.question(question)
    decision = run.decisions.take(approval.id)
    if decision is None:
        if ruling.verdict == "allow":
            return item  # a decision on this very call would come before the rule
        run.emit(ApprovalNeeded(item.call, approval.id, approval.target, run.step, approval.why))
        decision = await run.decisions.ask(approval, partial(_ask, run, item, ruling, approval))
    elif isinstance(decision, Approve) and decision.grant is not None:
        run.wiring.authority.grants.append(decision.grant)
    if decision is None:
        return approval
    run.emit(_decided(run, approval, decision))
    return _apply(run, item, approval, decision)


def _undecided(run: Run, call: ToolCall, error: Exception) -> ToolResult:
    """The result of a call that is not allowed, because a function that decides on it raised: the
    policy's or the tool's own.
    """
    get_logger().warning(
        "approval_failed", tool=call.name, run_id=run.id, step=run.step, exc_info=error
    )
    return denied(call, _raised(error))


def _raised(error: Exception) -> str:
    return f"what decides on it raised {type(error).__name__}: {error}".removesuffix(": ")


async def _ask(
    run: Run, item: ValidatedCall, ruling: Ruling, approval: Approval
) -> Decision | None:
    """Asks a person for each level that wants one: by its own approver, or else by the next one
    above.

    All must say yes, and each is shown the call as the person before left it. After a change, a
    further level may want to be asked.
    """
    decision: Decision = Approve()
    asked: list[object] = []
    waiting = list(ruling.asked_by)
    for level in waiting:  # it grows by the levels that want a person after a change
        owner = next((each for each in level.levels() if each.approver is not None), None)
        if owner is None or owner.approver is None:
            return None
        if any(owner is each for each in asked):
            continue
        asked.append(owner)
        answer = owner.approver(approval)
        answer = _checked_decision(await answer if inspect.isawaitable(answer) else answer)
        if answer is None or isinstance(answer, Deny):
            return answer
        if isinstance(answer, Edit):
            decision = answer
            edited = run.wiring.toolset.validate(replace(item.call, arguments=answer.arguments))
            if isinstance(edited, ToolResult):
                return decision  # it is refused when it is applied
            try:
                ruling = run.wiring.authority.ruling(edited, run.taint)
                target = run.wiring.authority.target(edited)
            except Exception as error:  # noqa: BLE001 - the boundary around user code
                return Deny(f"of what it was changed to, {_raised(error)}")
            call = replace(approval.call, arguments=answer.arguments)
            approval = replace(approval, call=call, target=target, why=ruling.why)
            waiting += ruling.asked_by
        elif answer.grant is not None:
            owner.grants.append(answer.grant)
            if isinstance(decision, Approve):
                decision = answer
    return decision


def _checked_decision(answer: object) -> Decision | None:
    if answer is None or isinstance(answer, Approve | Deny | Edit):
        return answer
    raise TypeError(
        f"approve= returned {answer!r}; return Approve(), Deny(reason) or Edit(arguments) "
        "of agentkit.policy, or None to let the run pause"
    )


def checked_decisions(decisions: Mapping[str, Decision] | None) -> dict[str, Decision]:
    """The decisions that `Agent.resume` was given.

    Raises:
        TypeError: They, or one of them, are something else.
    """
    if not isinstance(cast("object", decisions), Mapping | None):
        raise wrong_value("decisions", decisions, "give a dict of decisions by Approval.id")
    given = dict(decisions or {})
    for name, decision in given.items():
        if not isinstance(cast("object", decision), Approve | Deny | Edit):
            raise TypeError(
                f"the decision on {name} is {decision!r}; give Approve(), Deny(reason) or "
                "Edit(arguments) of agentkit.policy"
            )
    return given


def _decided(run: Run, approval: Approval, decision: Decision) -> ApprovalDecided:
    reason = decision.reason if isinstance(decision, Deny) else ""
    arguments = decision.arguments if isinstance(decision, Edit) else None
    grant = decision.grant if isinstance(decision, Approve) else None
    given = None if grant is None else asdict(grant)
    return ApprovalDecided(approval.id, decision.type, run.step, reason, arguments, given)


def _apply(
    run: Run, item: ValidatedCall, approval: Approval, decision: Decision
) -> ToolResult | Approved:
    if isinstance(decision, Approve):
        return Approved(item, approval.id)
    if isinstance(decision, Edit):
        edited = run.wiring.toolset.validate(replace(item.call, arguments=decision.arguments))
        if isinstance(edited, ValidatedCall):
            try:
                allowed = run.wiring.authority.ruling(edited, run.taint).verdict != "deny"
            except Exception as error:  # noqa: BLE001 - the boundary around user code
                return _undecided(run, item.call, error)
            if allowed:
                return Approved(edited, approval.id)
            edited = denied(item.call, "the policy does not allow what a person made of it")
        run.decisions.use(approval.id)
        return edited
    run.decisions.use(approval.id)
    reason = decision.reason
    return denied(item.call, f"a person said no{': ' if reason else ''}{reason}")


def denied(call: ToolCall, why: str) -> ToolResult:
    """The result of a call that may not run."""
    text = f"Error: {call.name} was not run: {why}. Go on without it."
    return ToolResult(call.id, text, is_error=True, kind="denied")


def taint_of(messages: Iterable[Message], toolset: Toolset) -> frozenset[Label]:
    """The kinds of sensitive text that a conversation holds, by the tools of its results."""
    return _read_by(toolset, (m.name for m in messages if isinstance(m, ToolMessage)))


def taint_of_calls(
    toolset: Toolset, calls: Iterable[ToolCall], results: Iterable[ToolResult]
) -> frozenset[Label]:
    """The kinds of sensitive text that calls have read; one that was refused has read none."""
    ran = {result.call_id for result in results if result.kind not in _NOT_RUN}
    return _read_by(toolset, (call.name for call in calls if call.id in ran))


_NOT_RUN: Final = ("denied", "invalid_arguments", "unknown_tool")


def _read_by(toolset: Toolset, names: Iterable[str]) -> frozenset[Label]:
    """The labels of what these tools read. One that is no longer there may have read anything."""
    taint: frozenset[Label] = frozenset()
    for name in names:
        tool = toolset.get(name)
        taint |= READS & (LABELS if tool is None else tool.labels)
    return taint


# --- where decisions come from -------------------------------------------------------------------


class Decisions(Protocol):
    """What people have decided on a run's calls, and where it is kept."""

    @property
    def pending(self) -> bool:
        """Whether a decision may be there that was made before its question was asked here."""
        ...

    def question(self, approval: Approval) -> Approval:
        """The question, with a unique id."""
        ...

    def take(self, approval: str, /) -> Decision | None:
        """The decision that was made before the question was asked here, or None."""
        ...

    async def ask(
        self, approval: Approval, person: Callable[[], Awaitable[Decision | None]], /
    ) -> Decision | None:
        """Has a person asked, and keeps what they decide."""
        ...

    def use(self, approval: str, /) -> bool:
        """Uses a decision up, once its call starts or is refused; False if it was used already."""
        ...


@dataclass(slots=True)
class UsedDecisions:
    """The questions that were asked in this process, and those whose decision is used up.

    It makes sure that a decision counts once if no journal keeps the run. Another process that
    holds a copy of the paused run cannot know of it.
    """

    _asked: dict[str, None] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def asked_first(self, approval: str) -> bool:
        """Whether no question with this id was asked before. It counts as asked from now on."""
        with self._lock:
            first = approval not in self._asked
            self._asked[approval] = None
            if len(self._asked) > _MOST_ASKED:
                del self._asked[next(iter(self._asked))]
            return first

    def is_used(self, approval: str) -> bool:
        """Whether the decision on a question is used up."""
        return approval in self._used

    def use(self, approval: str) -> bool:
        """Uses the decision up; False if it was used up already."""
        with self._lock:
            first = approval not in self._used
            self._used.add(approval)
            return first


_MOST_ASKED = 65_536
"""Questions that are remembered, some 100 bytes each. They distinguish the calls of runs that have
the same name. After so many more questions such a run has gone on, or nobody waits for it."""


@dataclass(slots=True)
class GivenDecisions:
    """Decisions of a run that no journal keeps.

    Attributes:
        used: The decisions that are used up in this process.
        given: The decisions, by the ids of the questions in `waiting`.
        waiting: The questions that the run paused with. If the decision on one is used up, another
            run has continued from the same pause, and the call is a new question here.
    """

    used: UsedDecisions
    given: dict[str, Decision] = field(default_factory=dict)
    waiting: Iterable[Approval] = ()

    @property
    def pending(self) -> bool:
        """Whether a given decision is left."""
        return bool(self.given)

    def question(self, approval: Approval) -> Approval:
        """The question, with its id from before the pause unless that decision is used up."""
        for before in self.waiting:
            if (before.call, before.target) == (approval.call, approval.target):
                is_used = self.used.is_used(before.id)
                return replace(approval, id=secrets.token_hex(16) if is_used else before.id)
        if self.used.asked_first(approval.id):
            return approval
        return replace(approval, id=secrets.token_hex(16))

    def take(self, approval: str, /) -> Decision | None:
        """The decision that was given. Each is taken once."""
        return self.given.pop(approval, None)

    async def ask(
        self,
        approval: Approval,  # noqa: ARG002 - nothing is kept of it
        person: Callable[[], Awaitable[Decision | None]],
        /,
    ) -> Decision | None:
        return await person()

    def use(self, approval: str, /) -> bool:
        """Uses the decision up for the whole process, if a pause holds its question.

        Otherwise nobody can give the decision again.
        """
        if all(before.id != approval for before in self.waiting):
            return True
        return self.used.use(approval)


@dataclass(frozen=True, slots=True)
class RecordedDecisions:
    """The decisions that a journal keeps; it has each run once, so each decision has one call."""

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
        """Has a person asked, and makes the decision durable before it counts."""
        await self.record.keep()
        decision = await person()
        if decision is not None:
            await self.record.decided(approval.id, decision)
        return decision

    def use(self, approval: str, /) -> bool:  # noqa: ARG002 - no other run can have used it
        """True: the record of the call itself keeps it from running again."""
        return True
