"""What people ask of a journal, worked out from a run's entries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from agentkit.events import (
    Event,
    ModelCalled,
    RunFinished,
    RunStarted,
    StepFinished,
    StepStarted,
    ToolFinished,
    ToolStarted,
)
from agentkit.journal.base import RunState, RunSummary
from agentkit.journal.entries import (
    CallDone,
    CallIntended,
    CallStarted,
    Decided,
    Entry,
    Record,
    RunOpened,
    Shown,
)
from agentkit.messages import ToolCall, ToolResult, UserMessage, text_of

__all__ = ["events_of", "summary"]

_QUESTION = 200  # characters


def summary(run_id: str, records: Sequence[Record], created: float, *, taken: bool) -> RunSummary:
    """A run in one line.

    Args:
        run_id: Its name.
        records: All of it.
        created: Seconds since 1970.
        taken: Whether a living process holds its lease.
    """
    entries = [record.entry for record in records]
    opening = entries[0] if entries and isinstance(entries[0], RunOpened) else RunOpened(())
    last = entries[-1] if entries else None
    ended = isinstance(last, RunFinished)
    state: RunState = "running" if taken else "ended" if ended else "died"
    return RunSummary(
        run_id=run_id,
        state=state,
        stop_reason=last.result.stop_reason if isinstance(last, RunFinished) else "",
        created=created,
        steps=max((e.step for e in entries if isinstance(e, ModelCalled)), default=0),
        calls=len({e.key for e in entries if isinstance(e, CallIntended)}),
        unknown=sum(isinstance(e, CallDone) and e.result.kind == "unknown" for e in entries),
        question=_question(opening),
        labels=opening.labels,
    )


def _question(opening: RunOpened) -> str:
    said = [message for message in opening.messages if isinstance(message, UserMessage)]
    return text_of(said[-1].content)[:_QUESTION] if said else ""


def events_of(run_id: str, records: Sequence[Record]) -> Iterator[tuple[float, Event]]:
    """A run's events as a run file has them, each with its time (seconds since 1970).

    Warnings that the run added to results are not in it: they are worked out anew when it is
    resumed.
    """
    view = _View.of(run_id, [record.entry for record in records])
    epoch = records[0].epoch if records else 0
    for record in records:
        if record.epoch != epoch:
            epoch = record.epoch
            yield record.at, RunStarted(run_id, view.opening.model, (), resumed=True)
        event = view.event(record.entry)
        if event is not None:
            yield record.at, event


@dataclass(slots=True)
class _View:
    run_id: str
    opening: RunOpened
    calls: dict[tuple[int, str], ToolCall]
    results: dict[tuple[int, str], ToolResult]
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
        opening = next((entry for entry in entries if isinstance(entry, RunOpened)), RunOpened(()))
        return _View(run_id, opening, calls, results)

    def event(self, entry: Entry) -> Event | None:
        match entry:
            case RunOpened(messages, model, settings, limits):
                given = None if limits is None else asdict(limits)
                return RunStarted(self.run_id, model, messages, settings=settings, limits=given)
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
            return ToolFinished(call, result, shown.step)
        return None
