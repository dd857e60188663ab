"""What people ask of a journal, worked out from a run's entries."""

from __future__ import annotations

from collections.abc import Sequence

from agentkit.events import ModelCalled, RunFinished
from agentkit.journal.base import RunState, RunSummary
from agentkit.journal.entries import CallDone, CallIntended, Record, RunOpened
from agentkit.messages import UserMessage, text_of

__all__ = ["summary"]

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
