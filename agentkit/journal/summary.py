"""A run in one line, whichever form its record has.

In: the raw lines of a record. Out: a `RunSummary`. The lines are counted and few of them parsed: a
list of a thousand runs would otherwise read all that was ever said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pydantic import JsonValue
from pydantic_core import from_json

from agentkit.errors import JournalError
from agentkit.events import ModelCalled, RunFinished, RunStarted, ToolFinished, validated
from agentkit.journal.entries import CallDone, Entry, Raw, RunOpened
from agentkit.messages import Usage, UserMessage, text_of

RunState: TypeAlias = Literal["running", "died", "ended", "damaged"]
"""`died`: its process is gone and it has no end; it can be resumed. `damaged`: what is left of its
record does not say."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in one line, from a journal or from a file.

    Attributes:
        run_id: Its name.
        state: Whether someone works on it.
        stop_reason: Why it ended; empty if it did not.
        created: Seconds since 1970.
        seconds: Wall time of all its parts; not the time in which nobody was at work on it.
        steps: Steps made, those of sub-agents included once the run has ended.
        calls: Tool calls that were to run.
        unknown: Calls whose outcome a crash hid.
        usage: Tokens of all steps.
        question: The beginning of what the user said.
        labels: The labels that it was opened with.
        damage: What is known to be lost of it, in a sentence.
    """

    run_id: str
    state: RunState
    stop_reason: str = ""
    created: float = 0.0
    seconds: float = 0.0
    steps: int = 0
    calls: int = 0
    unknown: int = 0
    usage: Usage = field(default_factory=Usage)
    question: str = ""
    labels: Mapping[str, JsonValue] = field(default_factory=dict)
    damage: str = ""


_QUESTION = 200  # characters

_STEP = re.compile(r'"step":(\d+)')
_USAGE = re.compile(r'"usage":({[^{}]*})')
_UNKNOWN = '"kind":"unknown"'
"""As `dump_entry` writes them. The arguments of a call may hold the same words; the record's own
stand behind them, so the last ones count."""


def summary_of(run_id: str, lines: Iterable[Raw], *, taken: bool = False) -> RunSummary:
    """What a run has come to.

    Args:
        run_id: Its name; that of a file stands in it.
        lines: All of its record.
        taken: Whether a living process holds its lease.

    Raises:
        JournalError: It does not begin as a run does, or its last line cannot be read.
    """
    count = _Count()
    last: Raw | None = None
    for line in lines:
        count.add(line)
        last = line
    if last is None:
        raise JournalError(f"the record of {run_id} is empty")
    end = last.load() if last.kind == RunFinished.__name__ else None
    result = end.result if isinstance(end, RunFinished) else None
    state: RunState = "running" if taken else "died" if result is None else "ended"
    opening = count.opening
    return RunSummary(
        run_id=opening.run_id if isinstance(opening, RunStarted) else run_id,
        state=state,
        stop_reason=result.stop_reason if result is not None else "",
        created=count.began,
        seconds=sum(end - start for start, end in count.parts.values()),
        steps=result.steps if result is not None else count.steps,
        calls=count.kinds["CallIntended"] or count.kinds["ToolStarted"],
        unknown=count.unknown,
        usage=result.usage if result is not None else count.usage,
        question=count.question,
        labels=opening.labels if isinstance(opening, RunOpened) else {},
    )


@dataclass(slots=True)
class _Count:
    opening: Entry | None = None
    began: float = 0.0
    parts: dict[int, tuple[float, float]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    unknown: int = 0
    usage: Usage = field(default_factory=Usage)

    def add(self, line: Raw) -> None:
        if self.opening is None:
            self.opening = line.load()
            if not isinstance(self.opening, RunOpened | RunStarted):
                raise JournalError("it does not begin with the start of a run")
            self.began = line.at
        start, _ = self.parts.get(line.epoch, (line.at, line.at))
        self.parts[line.epoch] = start, line.at
        self.kinds[line.kind] += 1
        if line.kind == ModelCalled.__name__:
            self._called(line.body)
        elif line.kind in ("CallDone", "ToolFinished") and _UNKNOWN in line.body:
            done = line.load()
            if isinstance(done, CallDone | ToolFinished):
                self.unknown += done.result.kind == "unknown"

    def _called(self, body: str) -> None:
        try:
            if steps := _STEP.findall(body):
                self.steps = max(self.steps, int(steps[-1]))
            if used := _USAGE.findall(body):
                self.usage += validated(Usage, from_json(used[-1]))
        except ValueError as error:  # no JSON, or more digits than Python takes for a number
            raise JournalError(f"its model calls cannot be read: {error}") from error

    @property
    def question(self) -> str:
        """The beginning of what the user said last."""
        messages = self.opening.messages if isinstance(self.opening, RunOpened | RunStarted) else ()
        said = [message for message in messages if isinstance(message, UserMessage)]
        return text_of(said[-1].content)[:_QUESTION] if said else ""
