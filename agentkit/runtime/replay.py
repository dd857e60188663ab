"""Replay: the agent's own code runs again offline, on what a record says of model and tools.

```
   record ──► Tape ──► ReplayModel     a request like the recorded one? then the recorded reply
                 │──►  ReplayExecutor  the recorded result; no tool runs
                 │──►  approver        the recorded decision
                 └──►  observer        every other event like the recorded one?
```
In: an agent as it is today, and the events of one of its runs. Out: whether it does the same again,
and the first difference if not. A replay never calls a model, runs a tool or asks a person.

Prompt, tools, settings, validation, repairs, policy, typed answers and limits are the agent's own.
If one of them makes something else of the same replies, the replay ends there and shows it. A call
that went to a sub-agent gets its recorded result like any other; the sub-agent's run has a record
of its own. Dynamic toolsets and functions for the instructions are called again.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint
from pydantic import TypeAdapter

from agentkit.agent import Agent
from agentkit.agent.run import current_budget, in_own_loop
from agentkit.context import Context, Count, PromptForm
from agentkit.context.entries import RECALL
from agentkit.errors import ModelError
from agentkit.events import (
    ApprovalDecided,
    ApprovalNeeded,
    ContextCompacted,
    Event,
    ModelCalled,
    ModelEvent,
    ModelFinished,
    PromptFitted,
    PromptSent,
    ReasoningDelta,
    ReplyInterrupted,
    RunFinished,
    RunResult,
    RunStarted,
    StepStarted,
    Summary,
    TextDelta,
    ToolFinished,
)
from agentkit.executors import Executor, RecordedResults
from agentkit.messages import Content, Message, ModelRequest, ToolResult, Usage, UserMessage
from agentkit.models import CountsPrompts, Model
from agentkit.policy import Approval, Decision, Limits, PausedRun
from agentkit.runtime.divergence import (
    Divergence,
    Key,
    aspects,
    context_difference,
    decision_of,
    decisions_of,
    described,
    difference,
    key_of,
    request_difference,
    same,
)
from agentkit.toolset import ToolContext, ValidatedCall
from agentkit.trace import TraceError, open_run, requests_of
from agentkit.wording import pluralize

# --- the record, which answers and compares ------------------------------------------------------


class EndOfTape(Exception):  # noqa: N818 - nothing went wrong: there is no more to replay
    """The replay cannot go on: it differs, or the record ends here."""


class Tape:
    """One part of a recorded run, from its `RunStarted` on.

    Args:
        events: The first is the `RunStarted`.
        context: The agent's context as it is today.
        ids: The recorded id of each question, by its id in the replay, which is another. All parts
            of a run share this.
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
        # A journal names the tools of a run by its first request, not at its beginning.
        asked = [definition.name for definition in self._calls[0][0].tools] if self._calls else []
        self.offered = frozenset([*self.started.tools, *asked])
        self._interrupted = {e.step: e for e in events if isinstance(e, ReplyInterrupted)}
        self._expected: dict[Key, Event] = {}
        self._unseen: dict[int, dict[Key, Event]] = defaultdict(dict)
        self._turns: dict[int, list[str]] = defaultdict(list)
        self._unanswered = Usage()  # spent to make a prompt fit, before a reply that never came
        for event in events:
            if isinstance(event, ModelCalled):
                self._unanswered = Usage()
            elif isinstance(event, ContextCompacted) and event.summary is not None:
                self._unanswered += event.summary.cost
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

    # --- what it serves --------------------------------------------------------------------------

    def reply(self, request: ModelRequest) -> ModelCalled:
        """The next recorded model call, if its request is this one.

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
        return called

    def interrupted(self) -> list[ModelEvent]:
        """Events with what was spent on this step's interrupted reply, and what was shown of it."""
        summary = Summary(cost=self._unanswered)
        sent = PromptSent(0, exact=False, own=0, stays=0, summary=summary)
        fitted = PromptFitted(0, 0, False, None, 0, None, None, sent=sent)
        cut = self._interrupted.get(self.step)
        if cut is None:
            return [fitted]
        return [
            fitted,
            *([ReasoningDelta(cut.reasoning)] if cut.reasoning else []),
            *([TextDelta(cut.text)] if cut.text else []),
        ]

    def is_next(self, call: ValidatedCall, step: int) -> bool:
        """Whether the result of this call came next in the record. One without a result is last."""
        turns = self._turns[step]
        return self.divergence is not None or not turns or turns[0] == call.call.id

    def result(self, call: ValidatedCall, step: int) -> ToolResult:
        """The recorded result of a call.

        Raises:
            EndOfTape: The replay differs already, or the record ends before the result.
            AgentKitError: The recorded run ended in it.
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
        """What a person decided then; None if nobody did."""
        decided = self._decided.get(("asked", self._ids.get(approval.id, approval.id)))
        return decision_of(decided.popleft()) if decided else None

    def decisions(self) -> dict[str, Decision]:
        """The decisions that were made while the run was paused, by the ids of the replay."""
        asked = {recorded: replayed for replayed, recorded in self._ids.items()}
        return {
            asked.get(name, name): decision_of(decided[0])
            for (when, name), decided in self._decided.items()
            if when == "paused"
        }

    def failed(self, error: Exception) -> None:
        """The replay ended with an exception; if the record did not, that is a divergence."""
        recorded = self.end is not None and self.end.stop_reason == "error"
        if self.divergence is None and not recorded:
            what = f"the agent raised {type(error).__name__}"
            self.divergence = difference(self.step, what, "", str(error))

    def _in_order(self, recorded: ModelRequest, request: ModelRequest) -> ModelRequest:
        """The recorded request; the first version's tools are put in today's order.

        That version left the tools as they were given; today they are in the order of their names.
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
        """What to raise where the record has no answer."""
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

    # --- what it compares ------------------------------------------------------------------------

    def watch(self, _run_id: str, event: Event) -> None:
        """An observer of the replayed run."""
        if self.divergence is not None or self._finished:
            return
        if isinstance(event, ToolFinished) and event.call.id in self._turns[event.step]:
            self._turns[event.step].remove(event.call.id)
        event = self._as_recorded(event)
        ended = 0.0  # the steps before this one have ended, so all their events must have happened
        if isinstance(event, StepStarted):
            ended = self.step = event.step
        elif isinstance(event, RunFinished):
            ended = math.inf
        self.divergence = self._missing(before=ended)
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
            what = f"{described(event)}; the record does not have it"
            self.divergence = difference(event.step, what, "", event)
            return
        for what, old, new in aspects(recorded, event):
            if not same(old, new):
                self.divergence = difference(event.step or self.step, what, old, new)
                return

    def _missing(self, before: float) -> Divergence | None:
        """The first recorded event of the earlier steps that did not happen in the replay."""
        for step in sorted(step for step in self._unseen if step < before):
            for event in self._unseen.pop(step).values():
                what = f"{described(event)}; it did not happen in the replay"
                return difference(step, what, event, "")
        return None

    def all_notes(self) -> list[str]:
        """Sentences about what the replay of this part does not cover."""
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
"""Stop reasons that come from outside, at a moment that no replay can repeat."""


_TURNS = 1_000
"""How often a call lets others run before it stops waiting for its turn. A call that holds a lock
which the call before it needs would wait for ever."""


class ReplayModel:
    """Gives the recorded replies to the recorded requests.

    A record holds what the agent asked. What its context left out to fit the model's window
    depended on the server's counts, which nobody can ask for again. So the request is compared
    without that, and the recorded sizes are decided on again: see `context_difference`.
    """

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    @property
    def name(self) -> str:
        return self._tape.started.model

    @property
    def constrains(self) -> bool:
        return self._tape.constrains

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """The recorded reply, in one piece; see `Tape.reply` for what it raises."""
        await checkpoint()
        try:
            called = self._tape.reply(request)
        except ModelError:
            for event in self._tape.interrupted():
                yield event
            raise
        if called.fitted is not None:
            yield called.fitted  # with what was spent to make the prompt fit
        yield ModelFinished(called.response)

    async def prompt_form(self, request: ModelRequest) -> PromptForm | None:  # noqa: ARG002 - of any
        """None: the request is not to be cut."""
        return None

    async def count(self, wanted: Count) -> Sequence[int] | None:  # noqa: ARG002 - of none
        """None: there is no tokenizer to ask."""
        return None

    async def aclose(self) -> None:
        """Does nothing: there is nothing to close."""


class ReplayExecutor(RecordedResults):
    """Gives the recorded results and runs nothing."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """The recorded result, in the recorded order; see `Tape.result` for what it raises.

        The order matters: the progress guard's warning on a result depends on those before it.
        """
        for _ in range(_TURNS):
            await checkpoint()
            if self._tape.is_next(call, context.step):
                break
        return self._tape.result(call, context.step)


if TYPE_CHECKING:
    _model: Model = ReplayModel(Tape([]))
    _counts: CountsPrompts = ReplayModel(Tape([]))
    _executor: Executor = ReplayExecutor(Tape([]))


# --- a replay ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """The outcome of a replay.

    Attributes:
        run_id: The name of the recorded run.
        model_calls: Model calls that were answered from the record.
        tool_calls: Tool calls that were answered from the record.
        divergence: The first difference; None if there is none.
        notes: What the replay does not cover, a sentence each.
    """

    run_id: str
    model_calls: int
    tool_calls: int
    divergence: Divergence | None
    notes: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether the agent does today what it did in the record."""
        return self.divergence is None

    def __str__(self) -> str:
        calls = pluralize(self.tool_calls, "tool call")
        served = f"{pluralize(self.model_calls, 'model call')} and {calls}"
        head = f"{self.run_id}: {served} from the record, "
        end = "identical" if self.divergence is None else f"not identical\n{self.divergence}"
        return "\n".join([head + end, *(f"note: {note}" for note in self.notes)])


async def replay(
    agent: Agent[Any, Any], events: Iterable[Event], *, deps: Any = None
) -> ReplayReport:
    """Runs an agent on a record of one of its runs, without its model and its tools.

    Args:
        agent: The agent as it is today. Its model, executor, observers and approver are not used.
        events: The events of one run, as its record holds them (`agentkit.trace.open_run`).
        deps: The `deps` of instructions and dynamic toolsets; tools do not run.

    Returns:
        Whether the agent does the same again, and the first difference if not.

    Raises:
        TraceError: The events hold no model calls, so they were not written for a replay.
    """
    parts = _parts(events)
    paused: PausedRun | None = None
    tapes: list[Tape] = []
    ids: dict[str, str] = {}
    for part in parts:
        tape = Tape(part, agent.context, ids)
        tapes.append(tape)
        result = await _play(agent, tape, paused, deps)
        paused = result.paused if result is not None else None
        if tape.divergence is not None or part is parts[-1]:
            break
        if paused is None:
            tape.notes.append("another run of this name follows in the record; it is not replayed")
            break
    return ReplayReport(
        run_id=tapes[0].started.run_id,
        model_calls=sum(tape.model_calls for tape in tapes),
        tool_calls=sum(tape.tool_calls for tape in tapes),
        divergence=tapes[-1].divergence,
        notes=tuple(note for tape in tapes for note in tape.all_notes()),
    )


def assert_replays(agent: Agent[Any, Any], run: str | Path, *, deps: Any = None) -> None:
    """For tests: fails with a readable diff unless the agent replays a run identically.

    Args:
        agent: The agent as it is today.
        run: A run's id, or the path of its file (`agentkit runs export`); keep that beside the
            test.
        deps: As for `replay`.

    Raises:
        AssertionError: The agent does something else.
        TraceError: There is no such run, or a part of it is lost.
    """
    events = [timed.event for timed in open_run(run).whole().events]

    async def main() -> ReplayReport:
        return await replay(agent, events, deps=deps)

    report = in_own_loop(main)
    assert report.identical, str(report)


def _parts(events: Iterable[Event]) -> list[list[Event]]:
    """The parts of a run, each from its `RunStarted` on. What a journal resumed is one part."""
    parts: list[list[Event]] = []
    crashed = False
    for event in events:
        if isinstance(event, RunStarted) and event.resumed and parts:
            crashed = True  # only what is new follows
            if isinstance(parts[-1][-1], RunFinished):
                parts[-1].pop()
            continue
        if isinstance(event, RunStarted):
            parts.append([])
        if not parts:
            raise TraceError("the record does not begin with the start of a run")
        if crashed and isinstance(event, ModelCalled):
            crashed = False
            _take_back(parts[-1], event)
        parts[-1].append(event)
    if not parts:
        raise TraceError("the record is empty")
    return parts


def _take_back(part: list[Event], again: ModelCalled) -> None:
    """Drops the last model call if a crash lost its reply and the same was asked again."""
    calls = [event for event in part if isinstance(event, ModelCalled)]
    if calls and _asked(calls[-1]) == _asked(again):
        part.remove(calls[-1])


def _asked(event: ModelCalled) -> tuple[object, ...]:
    return event.step, event.same, event.messages, event.settings, event.tool_choice


async def _play(
    agent: Agent[Any, Any], tape: Tape, paused: PausedRun | None, deps: Any
) -> RunResult[Any] | None:
    """Plays one part of the run again. Returns its result, or None if it did not end."""
    context = agent.context or Context()
    if RECALL not in tape.offered:  # it was off, or that version did not have it
        context = replace(context, recall=False)
    played = agent.override(
        model=ReplayModel(tape),
        context=context,
        executor=ReplayExecutor(tape),
        observers=[tape.watch],
        approve=tape.decision,
    )
    started = tape.started
    limits = None
    if started.limits is not None:
        limits = TypeAdapter(Limits).validate_python(started.limits)
    try:
        if paused is not None:
            return await played.resume(
                paused, tape.decisions(), deps=deps, settings=started.settings, limits=limits
            )
        history, content = _opening(started)
        return await played.run(
            content,
            history=history,
            deps=deps,
            settings=started.settings,
            limits=limits,
            run_id=started.run_id,
        )
    except EndOfTape:
        return None
    except Exception as error:  # noqa: BLE001 - the boundary around the agent's own code
        # A failure that is not in the record is a divergence.
        tape.failed(error)
        return None


def _opening(started: RunStarted) -> tuple[Sequence[Message], Content]:
    """The history without the agent's own instructions, and the input."""
    history, last = started.messages[:-1], started.messages[-1:]
    if not last or not isinstance(last[0], UserMessage):
        raise TraceError("the record begins in the middle of a run; its first part is missing")
    return history[1:] if started.instructed else history, last[0].content
