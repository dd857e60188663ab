"""One run and its record: what is recorded is given back, what is new is recorded.

A run is resumed by running it again from its beginning. Model replies, results and decisions come
from the record until it ends, and after that from the world. So the loop needs no second path, and
no state of a run has to be rebuilt by other means.

```
recorded        found again by                        given back to
a reply         its step and tool choice, in order    the model (`recorded_reply`)
a summary       its step, as long as that has         the window (`compacted`)
                no reply
a call          its idempotency key                   the executor (`call`)
a decision      the id of its question                the approver (`recorded_decision`)
an event        kind, step and call, so many times    nobody: it is not shown again (`emitter`)
```
In: the entries of a run, in order, and what the run does now. Out: what is recorded, and new
entries behind it. A call is never started before its intent is durable, and one whose outcome a
crash hid is never started again by itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import anyio

from agentkit.errors import JournalError
from agentkit.events import (
    ApprovalDecided,
    ApprovalNeeded,
    ContextCompacted,
    Event,
    ModelCalled,
    ReasoningDelta,
    ReplyInterrupted,
    ReplyReceived,
    RequestSent,
    RunFinished,
    RunStarted,
    Spent,
    StepFinished,
    StepStarted,
    SubRunEvent,
    TextDelta,
    ToolCallDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.journal.entries import (
    CallDone,
    CallIntended,
    CallStarted,
    Decided,
    Entry,
    Journal,
    Lease,
    RunOpened,
    Shown,
    kind_of,
)
from agentkit.messages import ToolCall, ToolChoice, ToolResult
from agentkit.policy import Decision
from agentkit.toolset import Effect

Emit: TypeAlias = Callable[[Event], None]

_FLEETING = (TextDelta, ReasoningDelta, ToolCallDelta, ToolProgress, SubRunEvent)
"""Events that are shown as they happen and never recorded; what they add up to is recorded."""

_ALWAYS_NEW = (RequestSent, ReplyReceived, ReplyInterrupted)
"""Events of a model call that is really made; a call that is in the record is not made again."""

_HELD_ELSEWHERE = (StepStarted, StepFinished, ToolStarted, ToolFinished)
"""Events whose content stands in `ModelCalled`, `CallIntended` and `CallDone`."""


@dataclass(slots=True)
class CallState:
    """What is recorded of a call; at least its intent.

    Attributes:
        intent: The intent.
        boot: The `Lease.boot` of the run's owner now.
        started: Whether it is recorded that it started.
        result: Its result, if it has one.
    """

    intent: CallIntended
    boot: str
    started: bool = False
    result: ToolResult | None = None

    @property
    def may_have_started(self) -> bool:
        """Whether the tool may have been reached; see `CallStarted`."""
        return self.started or not self.intent.boot or self.intent.boot != self.boot


class JournaledRun:
    """The record of one run, read and written by the holder of its lease.

    Args:
        journal: The journal that keeps it.
        lease: The run's lease.
        recorded: Its entries so far; the first is its `RunOpened`.

    Attributes:
        tools: The names of the tools of its first request; None where none is recorded.

    Raises:
        JournalError: The record has no beginning, or a call without its intent.
    """

    def __init__(self, journal: Journal, lease: Lease, recorded: Sequence[Entry]) -> None:
        if not recorded or not isinstance(recorded[0], RunOpened):
            raise JournalError(f"the journal holds no beginning of the run {lease.run_id}")
        self.opening = recorded[0]
        self.tools: frozenset[str] | None = None
        self._journal = journal
        self._lease = lease
        self._calls: dict[str, CallState] = {}
        # By step and choice, without its `among`, which older records do not hold.
        self._replies: defaultdict[tuple[int, ToolChoice], deque[ModelCalled]] = defaultdict(deque)
        self._compacted: defaultdict[int, list[ContextCompacted]] = defaultdict(list)
        self._decisions: dict[str, Decision] = {}
        # Questions to a person: their names by step and call, the questions by call, and the names
        # of those that are answered. Version 0.1.0 gave several questions one id; `_names` has the
        # name of the newest question of each id.
        self._asked: dict[tuple[int, str], str] = {}
        self._questions: dict[str, ApprovalNeeded] = {}
        self._names: dict[str, str] = {}
        self._closed: set[str] = set()
        # How often each event was shown. An event that a resumed run makes again is not shown again
        # while its count is above 0.
        self._shown: Counter[Shown] = Counter()
        self._spent: dict[tuple[int, str], Spent] = {}
        # What has happened since the last write. It is written with the next entry that has to be
        # written at once, so that a step costs few transactions.
        self._pending: list[Entry] = []
        self._writing = anyio.Lock()
        self._incomplete = False  # whether entries were lost, so that no further call may start
        self._resumed = len(recorded) > 1
        self._ended = isinstance(recorded[-1], RunFinished)
        self._step = 0
        for entry in recorded[1:]:
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        match entry:
            case ModelCalled():
                if self.tools is None and entry.tools is not None:
                    self.tools = frozenset(tool.name for tool in entry.tools)
                self._replies[entry.step, replace(entry.tool_choice, among=())].append(entry)
                self._compacted.pop(entry.step, None)  # the reply's own record holds it
                self._shown[_identity(entry)] += 1
            case Decided():
                name = self._names.get(entry.approval, entry.approval)
                self._decided(replace(entry, approval=name))
            case CallIntended():
                self._calls.setdefault(entry.key, CallState(entry, self._lease.boot))
                self._close(entry.step, entry.call.id)
            case CallStarted():
                self._intended(entry.key).started = True
            case CallDone():
                self._intended(entry.key).result = entry.result
            case Shown():
                self._shown[entry] += 1
                if entry.kind == ToolFinished.__name__:
                    self._close(entry.step, entry.call_id)
            case RunOpened() | RunFinished():
                pass
            case _:
                self._take_event(entry)

    def _take_event(self, event: Event) -> None:
        if isinstance(event, ApprovalNeeded):
            name = event.id
            if name in self._asked.values():  # version 0.1.0 named one by what it was about
                name = f"{event.id}.{event.call.id}"
            self._names[event.id] = name
            self._questions[event.call.id] = replace(event, id=name)
            self._asked[event.step, event.call.id] = name
        elif isinstance(event, ApprovalDecided):
            event = replace(event, id=self._names.get(event.id, event.id))
            self._closed.add(event.id)
        elif isinstance(event, ContextCompacted):
            if event.summary is not None and event.summary.is_reply:
                self._compacted[event.step].append(event)
        elif isinstance(event, ToolFinished):
            self._close(event.step, event.call.id)
            if event.spent is not None:
                self._spent[event.step, event.call.id] = event.spent
        self._shown[_identity(event)] += 1

    def _close(self, step: int, call_id: str) -> None:
        """Notes that the question about a call, if there was one, takes no further decision."""
        self._closed.add(self._asked.get((step, call_id), ""))

    def _intended(self, key: str) -> CallState:
        if (state := self._calls.get(key)) is None:
            raise JournalError(f"the record of {self._lease.run_id} lacks the intent of a call")
        return state

    # --- events ----------------------------------------------------------------------------------

    def emitter(self, emit: Emit) -> Emit:
        """Passes on what is new, and keeps it; what was shown before the crash is not shown again.

        The run's beginning and its end always pass, so that observers see a whole run.
        """

        def passing(event: Event) -> None:
            if isinstance(event, RunStarted):
                emit(replace(event, resumed=self._resumed))
            elif isinstance(event, RunFinished):
                if self._pending or not self._ended:
                    self._pending.append(event)
                emit(event)
            elif isinstance(event, _FLEETING) or self._is_new(event):
                emit(event)

        return passing

    def _is_new(self, event: Event) -> bool:
        self._step = event.step
        if isinstance(event, _ALWAYS_NEW):
            self._pending.append(event)
            return True
        identity = _identity(event)
        if self._shown[identity] > 0:
            self._shown[identity] -= 1
            return False
        self._pending.append(identity if _is_held_elsewhere(event) else event)
        return True

    # --- the model -------------------------------------------------------------------------------

    def recorded_reply(self, choice: ToolChoice) -> ModelCalled | None:
        """The next call that this step made under this choice, if it is recorded."""
        replies = self._replies[self._step, replace(choice, among=())]
        return replies.popleft() if replies else None

    def compacted(self) -> list[ContextCompacted]:
        """The compactions of this step for which the model wrote a summary, before it died."""
        return self._compacted.pop(self._step, [])

    async def keep(self) -> None:
        """Hands what has happened to the operating system, before something that may take long."""
        await self._flush(durable=False)

    # --- calls -----------------------------------------------------------------------------------

    def call(self, key: str) -> CallState | None:
        """What is recorded of a call; None if nothing is."""
        return self._calls.get(key)

    def calls(self) -> list[ToolCall]:
        """All calls that were to run, with or without a result."""
        return [state.intent.call for state in self._calls.values()]

    def spent(self, step: int, call_id: str) -> Spent | None:
        """What a recorded call spent, where the call was itself a run."""
        return self._spent.get((step, call_id))

    async def intend(self, key: str, call: ToolCall, effect: Effect) -> None:
        """Makes durable that the call will start.

        Raises:
            JournalError: It could not be; the call must not start.
        """
        intent = CallIntended(key, call, effect, self._lease.boot, self._step)
        await self._write(intent, durable=True)
        self._calls[key] = CallState(intent, self._lease.boot)

    async def start(self, key: str) -> None:
        """Records that the call starts now. Raises as `intend`."""
        if not self._calls[key].started:
            await self._write(CallStarted(key, self._step), durable=False)
            self._calls[key].started = True

    async def done(self, key: str, result: ToolResult) -> None:
        """Makes a result durable."""
        await self._write(CallDone(key, result, self._step), durable=True)
        self._calls[key].result = result

    # --- decisions -------------------------------------------------------------------------------

    @property
    def has_decisions(self) -> bool:
        """Whether any decision is recorded."""
        return bool(self._decisions)

    def asked_as(self, call: ToolCall, target: str) -> str | None:
        """The id under which the record has the question about a call, if it was asked before."""
        asked = self._questions.get(call.id)
        if asked is None or (asked.call, asked.target) != (call, target):
            return None
        return asked.id

    def recorded_decision(self, approval: str) -> Decision | None:
        """The decision on a question, if it is recorded."""
        return self._decisions.get(approval)

    async def decided(self, approval: str, decision: Decision, *, ahead: bool = False) -> None:
        """Records a decision.

        Args:
            approval: The `Approval.id`.
            decision: What a person said.
            ahead: Whether the run has yet to come to the question again. A decision on a question
                that this run has not asked, or that is closed, is then left out: it is for another
                call, or too late.
        """
        if ahead and (approval not in self._asked.values() or approval in self._closed):
            return
        entry = Decided(approval, decision, 0 if ahead else self._step)
        await self._write(entry, durable=True)
        self._decided(entry)

    def _decided(self, entry: Decided) -> None:
        """Takes a decision, which replaces an earlier one until its question is closed."""
        if entry.approval not in self._closed:
            self._decisions[entry.approval] = entry.decision

    # --- writing ---------------------------------------------------------------------------------

    async def close(self) -> None:
        """Writes what is pending, and gives the lease back."""
        try:
            await self._flush(durable=True)
        finally:
            await self._journal.release(self._lease)

    async def _write(self, entry: Entry, *, durable: bool) -> None:
        self._pending.append(entry)
        self._ended = False
        await self._flush(durable=durable)

    async def _flush(self, *, durable: bool) -> None:
        batch, self._pending = self._pending, []
        if batch:
            # In the order in which it happened, although the calls of one step write at the same
            # time: no intent of a call may stand ahead of the reply that made the call.
            with anyio.CancelScope(shield=True):
                async with self._writing:
                    await self._append(batch, durable=durable)

    async def _append(self, batch: Sequence[Entry], *, durable: bool) -> None:
        if self._incomplete and any(isinstance(entry, CallIntended) for entry in batch):
            raise JournalError("an earlier entry of the run could not be written")
        try:
            await self._journal.append(self._lease, batch, durable=durable)
        except BaseException:
            self._incomplete = True
            raise


def _is_held_elsewhere(event: Event) -> bool:
    """Whether `ModelCalled`, `CallIntended` or `CallDone` holds all that the event says."""
    if isinstance(event, ToolFinished):
        # What it cost, what the run added to the result, and that nothing ran are only here.
        return not event.spent and not event.returned and bool(event.result.attempts)
    return isinstance(event, _HELD_ELSEWHERE)


def _identity(event: Entry) -> Shown:
    """What tells an event from others of its kind, in a record and when it happens again."""
    step: int = getattr(event, "step", 0)
    if isinstance(event, ApprovalDecided):
        return Shown(kind_of(event), step, event.id)
    if isinstance(event, ContextCompacted) and event.summary is not None:
        return Shown(kind_of(event), step, event.summary.text or event.summary.problem)
    call = getattr(event, "call", None)
    return Shown(kind_of(event), step, call.id if isinstance(call, ToolCall) else "")
