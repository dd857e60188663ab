"""A run read back: the one reader behind everything that is shown or made of a run.

```
journal ── entries ──┐
                     ├─► Recording: events, and what is lost ──► `parts_of`: steps, calls
run file ── lines ───┘
```
A journal's entries and the lines of a file are the same thing in two places, and are read the same
way. What is missing is reported beside what is there; nothing is ever guessed in its place.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from agentkit.errors import AgentKitError, JournalError
from agentkit.events import (
    ApprovalDecided,
    ApprovalNeeded,
    CallRepaired,
    ContextCompacted,
    Event,
    ModelCalled,
    ReplyInterrupted,
    ReplyReceived,
    RequestSent,
    RunFinished,
    RunResult,
    RunStarted,
    StepFinished,
    StepRestarted,
    StepStarted,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.events.lines import Values
from agentkit.journal import (
    CallDone,
    CallIntended,
    CallStarted,
    Damage,
    Decided,
    Entry,
    Raw,
    Record,
    RunOpened,
    Shown,
    StoredJournal,
    cost_of,
)
from agentkit.messages import (
    AssistantMessage,
    Message,
    ModelRequest,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    ToolResult,
    Usage,
)

_TIME = re.compile(r'"time":\s*(\d+(?:\.\d+)?)\s*}\s*$')
"""As `RunFiles` adds it, behind the event."""

_KIND = re.compile(r'^\s*{"event":\s*"(\w+)"')


class TraceError(AgentKitError):
    """There is no such run, or it is none; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Timed:
    """An event and when it happened, in seconds since 1970."""

    event: Event
    time: float


@dataclass(frozen=True, slots=True)
class Recording:
    """A run as far as its record can be read.

    Attributes:
        run_id: Its name.
        events: What happened, in order.
        where: The file or the journal that it was read from.
        labels: Its labels, where a journal keeps it.
        damage: What of it cannot be read, or is missing.
    """

    run_id: str
    events: tuple[Timed, ...]
    where: str
    labels: dict[str, JsonValue] = field(default_factory=dict)
    damage: tuple[Damage, ...] = ()

    def whole(self) -> Recording:
        """This recording, if nothing of it is lost.

        Raises:
            TraceError: Something is lost; it is named with what it may have held.
        """
        lost = [str(damage) for damage in self.damage if damage.lost]
        if lost:
            raise TraceError(f"a part of the run {self.run_id} is lost: {'; '.join(lost)}")
        return self


# --- files ---------------------------------------------------------------------------------------


def read_file(file: Path) -> Recording:
    """The run that a file holds. A run that was resumed goes on in the same file with another
    `RunStarted`. A last line that was cut by a kill is left out.

    Raises:
        TraceError: It cannot be read, or holds no line of a run.
    """
    values = Values()
    records: list[Record] = []
    damage: list[Damage] = []
    for line in lines_of(file):
        try:
            entry = line.load(values)
        except JournalError as error:
            what = f"is no event of a run: {str(error.__cause__ or error).splitlines()[0]}"
            damage.append(Damage(f"{file}, line {line.seq}", what, cost_of(line.kind)))
        else:
            records.append(Record(line.seq, line.epoch, line.at, entry))
    if not records:
        raise TraceError(f"{file} holds no event of a run{f' ({damage[0]})' if damage else ''}")
    return recording_of(_name_of(records, file), records, damage, str(file))


def lines_of(file: Path) -> list[Raw]:
    """The lines of a run file, not yet read.

    Raises:
        TraceError: The file cannot be read, or holds no whole line.
    """
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise TraceError(f"{file} cannot be read: {error.strerror}") from None
    cut = lines.pop()  # empty, unless a kill cut the last line
    raws: list[Raw] = []
    part = 0
    for number, line in enumerate(lines, 1):
        body = line.decode("utf-8", "replace")
        kind, time = _KIND.search(body), _TIME.search(body)
        part += kind is not None and kind[1] == RunStarted.__name__
        at = float(time[1]) if time else 0.0
        raws.append(Raw(number, part, at, kind[1] if kind else "", body))
    if not raws:
        raise TraceError(f"{file} holds no event of a run{': its one line is cut' if cut else ''}")
    return raws


def read_events(file: Path) -> list[Timed]:
    """The events of a run file, in the order in which they happened.

    Raises:
        TraceError: The file cannot be read, or a line of it is no event.
    """
    recording = read_file(file)
    if recording.damage:
        damage = recording.damage[0]
        raise TraceError(f"{damage.where} {damage.what}")
    return list(recording.events)


def _name_of(records: Sequence[Record], file: Path) -> str:
    entries = (record.entry for record in records)
    return next((e.run_id for e in entries if isinstance(e, RunStarted)), file.stem)


# --- entries as events ---------------------------------------------------------------------------


def recording_of(
    run_id: str, records: Sequence[Record], damage: Iterable[Damage], where: str
) -> Recording:
    """A run from its entries, whatever holds them."""
    events = tuple(events_of(run_id, records))
    opening = next((r.entry for r in records if isinstance(r.entry, RunOpened)), None)
    labels = dict(opening.labels) if opening is not None else {}
    return Recording(run_id, events, where, labels, tuple(damage))


def events_of(run_id: str, records: Sequence[Record]) -> Iterator[Timed]:
    """A run's events, each with its time.

    For the entries that only a journal has, such as a call's intent and its result, come the events
    that observers were given.
    """
    view = _View.of(run_id, [record.entry for record in records])
    epoch = records[0].epoch if records else 0
    if records and not isinstance(records[0].entry, RunOpened | RunStarted):  # it is lost
        yield Timed(RunStarted(run_id, "", ()), records[0].at)
    for record in records:
        if record.epoch != epoch:
            epoch = record.epoch
            if not isinstance(record.entry, RunStarted):
                again = RunStarted(run_id, view.opening.model, (), resumed=True)
                yield Timed(again, record.at)
        event = view.event(record.entry)
        if event is not None:
            yield Timed(event, record.at)


@dataclass(slots=True)
class _View:
    """What turns the entries of a run into events: values that are written in other entries.

    Attributes:
        run_id: The run's name.
        opening: What the run began with.
        calls: The calls that were to run, by step and id.
        results: Their results as they were returned, by step and id.
        read: Their results as the model read them, by id.
        called: The newest model call.
    """

    run_id: str
    opening: RunOpened
    calls: dict[tuple[int, str], ToolCall]
    results: dict[tuple[int, str], ToolResult]
    read: dict[str, ToolMessage]
    called: ModelCalled | None = None

    @staticmethod
    def of(run_id: str, entries: Sequence[Entry]) -> _View:
        intents = {entry.key: entry for entry in entries if isinstance(entry, CallIntended)}
        calls = {(each.step, each.call.id): each.call for each in intents.values()}
        results = {
            (entry.step, intents[entry.key].call.id): entry.result
            for entry in entries
            if isinstance(entry, CallDone) and entry.key in intents
        }
        read = {
            message.call_id: message
            for entry in entries
            if isinstance(entry, ModelCalled)
            for message in entry.messages
            if isinstance(message, ToolMessage)
        }
        opening = next((entry for entry in entries if isinstance(entry, RunOpened)), RunOpened(()))
        return _View(run_id, opening, calls, results, read)

    def event(self, entry: Entry) -> Event | None:
        match entry:
            case RunOpened(messages, model, settings, limits):
                return RunStarted(
                    self.run_id,
                    model,
                    messages,
                    settings=settings,
                    limits=None if limits is None else asdict(limits),
                    versions=entry.versions,
                )
            case Shown():
                return self._shown(entry)
            case CallIntended() | CallStarted() | CallDone() | Decided():
                return None
            case ModelCalled():
                self.called = entry
                return entry
            case _:
                return entry

    def _shown(self, shown: Shown) -> Event | None:
        call = self.calls.get((shown.step, shown.call_id))
        result = self.results.get((shown.step, shown.call_id))
        if shown.kind == "StepStarted":
            return StepStarted(shown.step)
        if shown.kind == "StepFinished" and self.called is not None:
            made, seconds = self.called.response, self.called.seconds
            return StepFinished(made.message, made.finish_reason, made.usage, seconds, shown.step)
        if shown.kind == "ToolStarted" and call is not None:
            return ToolStarted(call, shown.step)
        if shown.kind == "ToolFinished" and call is not None and result is not None:
            return self._finished(call, result, shown.step)
        return None

    def _finished(self, call: ToolCall, returned: ToolResult, step: int) -> ToolFinished:
        """The result as the model read it: with the warnings that the run added to it."""
        returned = replace(returned, call_id=call.id)
        message = self.read.get(call.id)
        if message is None or message.content == returned.content:
            return ToolFinished(call, returned, step)
        return ToolFinished(call, replace(returned, content=message.content), step, returned)


def requests_of(events: Iterable[Event]) -> Iterator[tuple[ModelRequest, ModelCalled]]:
    """Each model call with the request that it answered, built from what was new in each."""
    messages: list[Message] = []
    tools: tuple[ToolDefinition, ...] = ()
    for event in events:
        if isinstance(event, RunStarted):
            if not (event.resumed and messages):
                messages, tools = list(event.messages), ()
        elif isinstance(event, ModelCalled):
            messages[event.same :] = event.messages
            tools = tools if event.tools is None else event.tools
            request = ModelRequest(tuple(messages), tools, event.settings, event.tool_choice)
            yield request, event


# --- as steps ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """One model call with its whole request."""

    request: ModelRequest
    called: ModelCalled
    time: float


@dataclass(slots=True)
class ToolRun:
    """One tool call: what became of it, and when.

    Attributes:
        call: The call as it ran. One that did not run stands as the model meant it.
        started: When it started, in seconds since 1970; None for a call that did not run because
            it was refused, known already, or the same as another.
        finished: When it ended; None if the run ended first.
    """

    call: ToolCall
    started: float | None = None
    finished: float | None = None
    end: ToolFinished | None = None
    progress: list[str] = field(default_factory=list)
    repairs: list[CallRepaired] = field(default_factory=list)
    asked: ApprovalNeeded | None = None
    decided: ApprovalDecided | None = None

    @property
    def waits(self) -> bool:
        """Whether the run ended before a person decided on it."""
        return self.end is None and self.asked is not None and self.decided is None

    @property
    def failed(self) -> bool:
        """Whether its result is an error, or missing although the call does not wait."""
        return not self.waits if self.end is None else self.end.result.is_error


@dataclass(slots=True)
class Step:
    """One step: the model calls that made its reply, and the tool calls that it asked for.

    Attributes:
        sent: What went to the server, failed attempts included, if the model reports it.
        received: What came back for each.
        interrupted: Replies that did not come to their end.
    """

    number: int
    began: float
    asked: list[Asked] = field(default_factory=list)
    restarts: list[StepRestarted] = field(default_factory=list)
    compacted: list[ContextCompacted] = field(default_factory=list)
    sent: list[RequestSent] = field(default_factory=list)
    received: list[ReplyReceived] = field(default_factory=list)
    interrupted: list[ReplyInterrupted] = field(default_factory=list)
    finished: StepFinished | None = None
    ran: dict[str, ToolRun] = field(default_factory=dict)
    ended: float = 0.0

    @property
    def usage(self) -> Usage:
        """Tokens of all its model calls, those for summaries included."""
        called = [each.called for each in self.asked]
        summaries = [each.fitted.cost for each in called if each.fitted is not None]
        return sum((*summaries, *(each.response.usage for each in called)), Usage())

    @property
    def failed(self) -> bool:
        """Whether a call of it failed, or the reply never came."""
        return self.finished is None or any(ran.failed for ran in self.ran.values())


@dataclass(slots=True)
class Part:
    """What one process did of a run: from one `RunStarted` to its end, as far as it came.

    Attributes:
        result: Without messages; None if the process died.
    """

    started: RunStarted
    began: float
    steps: list[Step] = field(default_factory=list)
    result: RunResult[Any] | None = None
    ended: float = 0.0

    @property
    def usage(self) -> Usage:
        """Tokens of its own model calls; what sub-agents spent is in `result`."""
        return sum((step.usage for step in self.steps), Usage())


def parts_of(events: Iterable[Timed]) -> list[Part]:
    """The parts of a run, each as its steps."""
    events = list(events)
    requests = {id(called): request for request, called in requests_of(e.event for e in events)}
    parts: list[Part] = []
    for timed in events:
        if isinstance(timed.event, RunStarted):
            parts.append(Part(timed.event, timed.time, ended=timed.time))
        if parts:
            _add(parts[-1], timed, requests)
    for step in (step for part in parts for step in part.steps):
        # The calls as the model wrote them; the events are in the order in which they ended.
        message = step.finished.message if step.finished else None
        made = message.tool_calls if isinstance(message, AssistantMessage) else ()
        order = {call.id: number for number, call in enumerate(made)}
        step.ran = dict(sorted(step.ran.items(), key=lambda item: order.get(item[0], len(order))))
    return parts


def _add(part: Part, timed: Timed, requests: dict[int, ModelRequest]) -> None:
    event, time = timed.event, timed.time
    part.ended = time
    if isinstance(event, RunStarted):
        return
    if isinstance(event, RunFinished):
        part.result = event.result
        return
    if isinstance(event, StepStarted) or not part.steps:
        part.steps.append(Step(event.step, time))  # a resumed part begins with calls, not a step
    step = part.steps[-1]
    step.ended = time
    if isinstance(event, ModelCalled):
        step.asked.append(Asked(requests[id(event)], event, time))
    elif not _add_reply(step, event):
        _add_call(step, event, time)


def _add_reply(step: Step, event: Event) -> bool:
    """Takes in an event that tells of the reply; False for any other event."""
    match event:
        case StepFinished():
            step.finished = event
        case StepRestarted():
            step.restarts.append(event)
        case ContextCompacted():
            step.compacted.append(event)
        case RequestSent():
            step.sent.append(event)
        case ReplyReceived():
            step.received.append(event)
        case ReplyInterrupted():
            step.interrupted.append(event)
        case _:
            return False
    return True


def _add_call(step: Step, event: Event, time: float) -> None:
    match event:
        case ToolStarted(call=call):
            ran = step.ran.setdefault(call.id, ToolRun(call))
            ran.call, ran.started = call, time
        case ToolFinished(call=call):
            ran = step.ran.setdefault(call.id, ToolRun(call))
            ran.call, ran.finished, ran.end = call, time, event
        case CallRepaired(call=call):
            step.ran.setdefault(call.id, ToolRun(call)).repairs.append(event)
        case ApprovalNeeded(call=call):
            step.ran.setdefault(call.id, ToolRun(call)).asked = event
        case ApprovalDecided(id=asked):
            for ran in step.ran.values():
                if ran.asked is not None and ran.asked.id == asked:
                    ran.decided = event
        case ToolProgress(call_id=call_id, text=text) if call_id in step.ran:
            step.ran[call_id].progress.append(text)
        case _:
            pass


# --- a run followed while it is written ----------------------------------------------------------


async def follow(journal: StoredJournal, run_id: str) -> AsyncGenerator[Timed, None]:
    """The events of a run: those that are recorded, and then each further one until the run ends.

    What is only streamed, such as the pieces of an answer, is in no journal.

    Args:
        journal: The journal that keeps the run; on a server it notifies of new entries.
        run_id: The run, which another process may be at work on.

    Raises:
        TraceError: There is no such run.
        JournalError: The journal cannot be read.
    """
    shown = 0
    async with journal.news_of(run_id) as wait:
        while True:
            still_open = await journal.is_open(run_id)  # asked first: then no event is missed
            records = (await journal.examine(run_id)).records
            if not records:
                raise TraceError(f"there is no run {run_id!r} in {journal.where}")
            events = list(events_of(run_id, records))
            for timed in events[shown:]:
                yield timed
            shown = max(shown, len(events))
            if not still_open:
                return
            await wait()
