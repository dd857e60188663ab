"""A recorded run that answers for model, tools and people, and notices the first difference."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint

from agentkit.agent.state import current_budget
from agentkit.context import Context, Count, PromptForm
from agentkit.errors import ModelError
from agentkit.events import (
    ApprovalDecided,
    ApprovalNeeded,
    Event,
    ModelEvent,
    ModelFinished,
    ReasoningDelta,
    ReplyInterrupted,
    RunFinished,
    RunResult,
    RunStarted,
    StepStarted,
    TextDelta,
    ToolFinished,
)
from agentkit.executors import Executor
from agentkit.messages import Message, ModelRequest, ModelResponse, ToolResult
from agentkit.models import CountsPrompts, Model
from agentkit.policy import Approval, Decision
from agentkit.runtime.compared import Key, aspects, decision_of, decisions_of, key_of, said
from agentkit.runtime.divergence import (
    Divergence,
    context_difference,
    difference,
    request_difference,
    same,
)
from agentkit.toolset import ToolContext, ValidatedCall
from agentkit.trace import requests_of


class EndOfTape(Exception):  # noqa: N818 - nothing went wrong: there is no more to replay
    """The replay cannot go on: it differs, or the record ends here."""


class Tape:
    """One part of a recorded run, from its `RunStarted` on.

    Args:
        events: The first is the `RunStarted`.
        context: Of the agent, as it is today.
        ids: The recorded id of each question of the replay: what makes an id its own is not in a
            record. Shared by the parts of a run.
    """

    def __init__(
        self,
        events: Sequence[Event],
        context: Context | None = None,
        ids: dict[str, str] | None = None,
    ) -> None:
        assert isinstance(events[0], RunStarted), "a part of a run begins with RunStarted"
        self.started: RunStarted = events[0]
        self.end: RunResult[Any] | None = None
        if isinstance(events[-1], RunFinished):
            self.end = events[-1].result
        self.divergence: Divergence | None = None
        self.notes: list[str] = []
        self.model_calls = self.tool_calls = self.step = 0
        self.constrains = False
        self._calls = deque(requests_of(events))
        self._interrupted = {e.step: e for e in events if isinstance(e, ReplyInterrupted)}
        self._expected: dict[Key, Event] = {}
        self._unseen: dict[int, dict[Key, Event]] = defaultdict(dict)
        self._turns: dict[int, list[str]] = defaultdict(list)
        for event in events:
            if (key := key_of(event)) is not None:
                self._expected[key] = event
                if not isinstance(event, RunFinished):
                    self._unseen[event.step][key] = event
            if isinstance(event, ToolFinished):
                self._turns[event.step].append(event.call.id)
        self._context = context or Context()
        self._sent: Sequence[Message] = ()
        self._decided = decisions_of(events)
        self._ids = {} if ids is None else ids
        self._delegated: dict[str, None] = {}
        self._finished = False

    # --- what it serves ---

    def reply(self, request: ModelRequest) -> ModelResponse:
        """The recorded reply to a request that is the recorded one.

        Raises:
            EndOfTape: It is not, or the record ends here.
            ModelError: The recorded model call failed.
        """
        if self.divergence is not None:
            raise EndOfTape
        if not self._calls or self._calls[0][1].step != self.step:
            raise self._no_more("a model call that the record does not have", "", request)
        recorded, called = self._calls.popleft()
        self.divergence = request_difference(
            self.step, self._in_order(recorded, request), request, self._known(request)
        ) or context_difference(self.step, called.fitted, self._context)
        if self.divergence is not None:
            raise EndOfTape
        self._sent = request.messages
        self.constrains = called.constrains
        self.model_calls += 1
        return called.response

    def interrupted(self) -> list[ModelEvent]:
        """What was shown of the reply that this step did not get to its end."""
        cut = self._interrupted.get(self.step)
        if cut is None:
            return []
        return [
            *([ReasoningDelta(cut.reasoning)] if cut.reasoning else []),
            *([TextDelta(cut.text)] if cut.text else []),
        ]

    def is_next(self, call: ValidatedCall, step: int) -> bool:
        """Whether the call is the next one whose result came; one without a result comes last."""
        turns = self._turns[step]
        return self.divergence is not None or not turns or turns[0] == call.call.id

    def result(self, call: ValidatedCall, step: int) -> ToolResult:
        """The recorded result of a call.

        Raises:
            EndOfTape: The replay differs already, or the record ends before the result.
            AgentKitError: So the recorded run ended.
        """
        if self.divergence is not None:
            raise EndOfTape
        found = self._expected.get(("ToolFinished", step, call.call.id))
        if not isinstance(found, ToolFinished):
            raise self._no_more(f"a result of {call.tool.name} that the record does not have")
        self.tool_calls += 1
        budget = current_budget.get()
        if found.spent is not None and budget is not None:
            spent = found.spent
            budget.spend(usage=spent.usage, steps=spent.steps, tool_calls=spent.tool_calls)
            budget.runs += spent.runs
            self._delegated[call.tool.name] = None
        return found.returned or found.result

    def decision(self, approval: Approval) -> Decision | None:
        """What a person said then; None where nobody did."""
        decided = self._decided.get(("asked", self._ids.get(approval.id, approval.id)))
        return decision_of(decided.popleft()) if decided else None

    def decisions(self) -> dict[str, Decision]:
        """What was decided while the run was paused, by the ids of the replay."""
        asked = {recorded: replayed for replayed, recorded in self._ids.items()}
        return {
            asked.get(name, name): decision_of(decided[0])
            for (when, name), decided in self._decided.items()
            if when == "paused"
        }

    def failed(self, error: Exception) -> None:
        """The replay ended with an exception; where the record did not, that is a divergence."""
        recorded = self.end is not None and self.end.stop_reason == "error"
        if self.divergence is None and not recorded:
            what = f"the agent raised {type(error).__name__}"
            self.divergence = difference(self.step, what, "", str(error))

    def _in_order(self, recorded: ModelRequest, request: ModelRequest) -> ModelRequest:
        """The recorded request, with its tools as they stand today in one of version 0.1.0: that
        left them as they were given, where today they stand in the order of their names.
        """
        names = {tool.name: tool for tool in recorded.tools}
        today = [tool.name for tool in request.tools]
        if self.started.versions or sorted(names) != today:
            return recorded
        return replace(recorded, tools=tuple(names[name] for name in today))

    def _known(self, request: ModelRequest) -> int:
        """How many leading messages were compared at the step before."""
        known = 0
        for old, new in zip(self._sent, request.messages, strict=False):
            if old is not new:
                break
            known += 1
        return known

    def _no_more(self, what: str, recorded: object = "", replayed: object = "") -> Exception:
        """What to raise where the record has nothing to serve."""
        if not self._calls and (self.end is None or self.end.stop_reason in _CUT_SHORT):
            self._finished = True
            return EndOfTape()
        if self.end is not None and self.end.stop_reason == "error" and not self._calls:
            if isinstance(replayed, ModelRequest):
                self.notes.append(
                    f"the model call of step {self.step} failed, and a record holds no request "
                    "without a reply: what it asked is not compared"
                )
            return ModelError(self.end.explanation)
        self.divergence = self.divergence or difference(self.step, what, recorded, replayed)
        return EndOfTape()

    # --- what it notices ---

    def watch(self, _run_id: str, event: Event) -> None:
        """An observer of the replayed run."""
        if self.divergence is not None or self._finished:
            return
        if isinstance(event, ToolFinished) and event.call.id in self._turns[event.step]:
            self._turns[event.step].remove(event.call.id)
        event = self._as_recorded(event)
        over = 0.0  # the steps before this one must have happened as they are recorded
        if isinstance(event, StepStarted):
            over = self.step = event.step
        elif isinstance(event, RunFinished):
            over = math.inf
        self.divergence = self._missing(before=over)
        if self.divergence is None and (key := key_of(event)) is not None:
            self._compare(key, event)

    def _as_recorded(self, event: Event) -> Event:
        """The event with the id that its question has in the record."""
        if isinstance(event, ApprovalDecided):
            return replace(event, id=self._ids.get(event.id, event.id))
        if isinstance(event, ApprovalNeeded):
            recorded = self._expected.get(("ApprovalNeeded", event.step, event.call.id))
            if isinstance(recorded, ApprovalNeeded):
                self._ids[event.id] = recorded.id
        return event

    def _compare(self, key: Key, event: Event) -> None:
        recorded = self._expected.get(key)
        self._unseen[event.step].pop(key, None)
        if recorded is None:
            if self.end is None and not self._calls and not any(self._unseen.values()):
                self._finished = True  # the process died here
                return
            what = f"{said(event)}; the record does not have it"
            self.divergence = difference(event.step, what, "", event)
            return
        for what, old, new in aspects(recorded, event):
            if not same(old, new):
                self.divergence = difference(event.step or self.step, what, old, new)
                return

    def _missing(self, before: float) -> Divergence | None:
        """What is recorded of the steps before and did not happen."""
        for step in sorted(step for step in self._unseen if step < before):
            for event in self._unseen.pop(step).values():
                what = f"{said(event)}; it did not happen in the replay"
                return difference(step, what, event, "")
        return None

    def all_notes(self) -> list[str]:
        """What the replay of this part does not cover."""
        notes = list(self.notes)
        if self._delegated:
            names = ", ".join(self._delegated)
            notes.append(
                f"sub-agents ({names}) did not run again: their results are from the record, and "
                f"their runs have files of their own ({self.started.run_id}.NAME-...)"
            )
        if self.end is None or self.end.stop_reason in _CUT_SHORT:
            why = "the process died" if self.end is None else self.end.explanation
            notes.append(f"the record ends in step {self.step} ({why}), and the replay there")
        return notes


_CUT_SHORT = ("cancelled", "seconds")
"""Ends that came from outside, at a moment that no replay can repeat."""


_PATIENCE = 1_000
"""Turns of the event loop that a call waits for its own. One that holds a lock which the call
before it needs would wait for ever."""


class ReplayModel:
    """Gives the recorded replies to the recorded requests.

    A record holds what the agent asked. What its context left out of that to fit the model's
    window depended on the server's counts, which are not to be had again, so the request is wanted
    as it is. What was known for that decision is in the record: see `context_difference`.
    """

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    @property
    def name(self) -> str:
        """That of the recorded model."""
        return self._tape.started.model

    @property
    def constrains(self) -> bool:
        """As the recorded model did."""
        return self._tape.constrains

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """The recorded reply, in one piece; see `Tape.reply` for what it raises."""
        await checkpoint()
        try:
            reply = self._tape.reply(request)
        except ModelError:
            for event in self._tape.interrupted():
                yield event
            raise
        yield ModelFinished(reply)

    async def prompt_form(self, request: ModelRequest) -> PromptForm | None:  # noqa: ARG002 - of any
        """None: the request is to come as it is."""
        return None

    async def count(self, wanted: Count) -> Sequence[int] | None:  # noqa: ARG002 - of none
        """None: nobody can tell."""
        return None

    async def aclose(self) -> None:
        """Holds nothing."""


class ReplayExecutor:
    """Gives the recorded results; runs nothing."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """The recorded result, in its turn; see `Tape.result` for what it raises.

        The turn matters: what the progress guard says of a result depends on those before it.
        """
        for _ in range(_PATIENCE):
            await checkpoint()
            if self._tape.is_next(call, context.step):
                break
        return self._tape.result(call, context.step)


if TYPE_CHECKING:
    _model: Model = ReplayModel(Tape([]))
    _counts: CountsPrompts = ReplayModel(Tape([]))
    _executor: Executor = ReplayExecutor(Tape([]))
