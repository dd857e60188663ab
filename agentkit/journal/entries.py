"""What a journal holds: one entry for each thing that must outlive the process.

```
RunOpened ─┬─ ModelCalled ── CallIntended ── CallStarted ── CallDone ─┬─ RunFinished
           ▲  (an event)     (durable before anything starts)        │  (an event)
           └──────────────────────── each step ──────────────────────┘
```

The other events of a run are entries too. Entries are data: JSON that pydantic checks when it is
read, never code. An event whose content is in another entry is kept only as `Shown`. `summary_of`
makes one line of a run's raw entries, whether they come from a journal or from a run file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

from pydantic import JsonValue
from pydantic_core import from_json

from agentkit.errors import JournalError
from agentkit.events import (
    Event,
    ModelCalled,
    RunFinished,
    RunStarted,
    ToolFinished,
    as_json,
    dump_event,
    dump_named,
    event_of,
    validated,
)
from agentkit.events.lines import Values
from agentkit.journal.leases import boot_id
from agentkit.messages import (
    Message,
    ModelSettings,
    ToolCall,
    ToolResult,
    Usage,
    UserMessage,
    text_of,
)
from agentkit.policy import Decision, Limits
from agentkit.toolset import Effect


@dataclass(frozen=True, slots=True)
class RunOpened:
    """The first entry of a run: what it began with.

    Attributes:
        messages: Instructions, history and what the user said.
        model: The model's name.
        settings: Settings of this run, which go over those of the agent.
        limits: Limits of this run instead of the agent's; None for the agent's.
        labels: Labels by which to find the run.
        versions: The same as `RunStarted.versions`.
        conversation: The conversation that the run is a turn of; empty for none.
    """

    messages: tuple[Message, ...]
    model: str = ""
    settings: ModelSettings | None = None
    limits: Limits | None = None
    labels: Mapping[str, JsonValue] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    conversation: str = ""


@dataclass(frozen=True, slots=True)
class CallIntended:
    """A tool call passed every check and will start; durable before it does.

    Attributes:
        key: The call's `ToolContext.idempotency_key`.
        call: The call.
        effect: What a second run of it would do.
        boot: The `boot` of the lease under which this was written.
        step: The step that asked for the call.
    """

    key: str
    call: ToolCall
    effect: Effect
    boot: str
    step: int


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The call starts now.

    The operating system has this entry before the tool starts, so it survives the process. It is
    forced to the disk only with the next entry, so it may not survive the machine. That is why an
    intent alone proves that nothing started only as long as the machine was not booted again.
    """

    key: str
    step: int


@dataclass(frozen=True, slots=True)
class CallDone:
    """The call has its result, which may be `unknown`."""

    key: str
    result: ToolResult
    step: int


@dataclass(frozen=True, slots=True)
class Decided:
    """A person decided on a call.

    Attributes:
        approval: The `Approval.id`.
        decision: The decision.
        step: The step that asked for the call; 0 where a resumed run was given the decision.
    """

    approval: str
    decision: Decision
    step: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """An event was given to the observers; its content is in another entry."""

    kind: str
    step: int
    call_id: str = ""


Own: TypeAlias = RunOpened | CallIntended | CallStarted | CallDone | Decided | Shown
Entry: TypeAlias = Own | Event


@dataclass(frozen=True, slots=True)
class Record:
    """An entry and where it stands.

    Attributes:
        seq: Its place in the run, from 1.
        epoch: The number of the lease under which it was written.
        at: Seconds since 1970.
        entry: What was written.
    """

    seq: int
    epoch: int
    at: float
    entry: Entry


@dataclass(frozen=True, slots=True)
class Raw:
    """A record as it is stored, not yet read: a row of a journal, or a line of a file.

    Attributes:
        seq: Its place in the run, from 1.
        epoch: The number of the lease under which it was written; in a file, the part it is in.
        at: Seconds since 1970.
        kind: The name of the entry's kind.
        body: The entry as JSON text.
    """

    seq: int
    epoch: int
    at: float
    kind: str
    body: str

    def load(
        self, values: Values | None = None, hide: Callable[[bytes], bytes] | None = None
    ) -> Entry:
        """The entry; see `load_entry`. Without `values`, a sentence stands for each long text that
        is written in an earlier entry.

        Raises:
            JournalError: The text is no entry.
        """
        return load_entry(self.body, values or Values(lenient=True), hide)


def kind_of(entry: Entry) -> str:
    """The name of an entry's kind."""
    return type(entry).__name__


def dump_entry(entry: Entry) -> str:
    """The entry as JSON text; `load_entry` takes it back."""
    return line_of(entry).decode()


def line_of(entry: Entry) -> bytes:
    """The entry as JSON, in bytes; see `dump_entry`."""
    return dump_event(entry) if isinstance(entry, RunFinished) else dump_named(entry)


def load_entry(
    text: str, values: Values | None = None, hide: Callable[[bytes], bytes] | None = None
) -> Entry:
    """The entry that `dump_entry` wrote.

    Args:
        text: What `dump_entry` wrote.
        values: The long texts of the entries before, where they were packed.
        hide: Removes secrets from the JSON.

    Raises:
        JournalError: The text is not an entry of a journal.
    """
    try:
        body = json.loads(text)
        if values is not None and isinstance(body, dict):
            body = values.unpack(body)
        if hide is not None:
            body = json.loads(hide(as_json(body)))
        kind = body.get("event") if isinstance(body, dict) else None
        if kind in _KINDS:
            body.pop("event")
            entry: Entry = validated(_KINDS[kind], body)
            return entry
        return event_of(body)
    except (ValueError, RecursionError, TypeError) as error:
        raise JournalError(f"what is no entry of a journal: {error}: {text[:80]!r}") from error


_KINDS: dict[str, Any] = {kind.__name__: kind for kind in get_args(Own)}


# --- where they are kept -------------------------------------------------------------------------


FORCED: Final = "forced"
"""The `Lease.boot` of a journal that forces all entries to a disk before they count."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to a run: its number is in every entry, and a higher one ends it.

    Attributes:
        run_id: The run's name.
        epoch: The number.
        boot: The boot of the machine (`agentkit.journal.leases.boot_id`), after which entries that
            were not forced to a disk may be gone; `FORCED` where all are.
    """

    run_id: str
    epoch: int
    boot: str = field(default_factory=boot_id)


class Journal(Protocol):
    """Keeps the entries of runs. Every method raises `JournalError` where it fails."""

    async def open(self, run_id: str, opening: RunOpened) -> Lease:
        """Begins a run, durably, and takes its lease.

        Raises:
            JournalError: There is a run of this name.
        """
        ...

    async def claim(self, run_id: str) -> Lease:
        """Takes the lease of a run on which nobody is at work any more.

        Raises:
            JournalError: There is no such run.
            RunAtWorkError: Its owner is alive.
        """
        ...

    async def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:
        """Writes entries, all or none.

        Args:
            lease: Must still be the run's newest.
            entries: The entries, in order.
            durable: Whether they must survive a loss of power when this returns; else they survive
                the death of this process.

        Raises:
            JournalError: They could not be written, or another owner has taken over.
        """
        ...

    async def read(self, run_id: str) -> list[Record]:
        """The run's entries, in order; none if there is no such run."""
        ...

    async def release(self, lease: Lease) -> None:
        """Gives the lease back; does nothing if another owner has it already."""
        ...

    async def turns(self, conversation: str) -> list[str]:
        """The runs of a conversation, in the order in which they began."""
        ...


@dataclass(frozen=True, slots=True)
class Ticket:
    """The agent and the tenant that a run is submitted for.

    Attributes:
        agent: The agent's name, as workers offer it.
        fingerprint: The `Agent.fingerprint` of that agent.
        tenant: The tenant that the run is for; tenants share workers fairly.
        priority: Of two runs of a tenant the one with the lower number goes first.
    """

    agent: str = ""
    fingerprint: str = ""
    tenant: str = ""
    priority: int = 0


class Queueing(Journal, Protocol):
    """A journal that also keeps runs for workers to take."""

    async def submit(self, run_id: str, opening: RunOpened, ticket: Ticket) -> None:
        """Begins a run, durably, that a worker is to take.

        Raises:
            JournalError: There is a run of this name, or it could not be written.
        """
        ...


# --- a run in one line ---------------------------------------------------------------------------
# A list of a thousand runs would take too long if every entry were read. So the lines are counted
# and few of them are parsed; the rest is found in their text, as `dump_entry` writes it.

RunState: TypeAlias = Literal["queued", "running", "died", "ended", "damaged"]
"""`queued`: it waits for a worker. `died`: its process is gone and it has no end; it can be
resumed. `damaged`: its record is too damaged to tell."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in one line, from a journal or from a file.

    Attributes:
        run_id: Its name.
        state: Whether someone works on it.
        stop_reason: Why it ended; empty if it did not.
        created: Seconds since 1970.
        seconds: Wall time of all its parts; not the time in which nobody was at work on it.
        steps: Steps made; once the run has ended, those of sub-agents included.
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
_COST = '"cost":{"'  # of a summary
_UNKNOWN = '"kind":"unknown"'
"""Parts of an entry as `dump_entry` writes them. A call's arguments may hold the same words, but
those of the record come after them, so the last match counts."""


def summary_of(run_id: str, lines: Iterable[Raw], *, taken: bool = False) -> RunSummary:
    """A run in one line.

    Args:
        run_id: Its name; the record of a file has the name itself.
        lines: The whole record.
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
    state: RunState = "died" if result is None else "ended"
    opening = count.opening
    return RunSummary(
        run_id=opening.run_id if isinstance(opening, RunStarted) else run_id,
        state="running" if taken else state,
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
            if _COST in body and (fitted := from_json(body).get("fitted")):
                summary = (fitted.get("sent") or {}).get("summary") or {}
                self.usage += validated(Usage, summary.get("cost") or {})
        except (ValueError, AttributeError) as error:  # not JSON, or of another shape than ours
            raise JournalError(f"its model calls cannot be read: {error}") from error

    @property
    def question(self) -> str:
        """The beginning of what the user said last."""
        messages = self.opening.messages if isinstance(self.opening, RunOpened | RunStarted) else ()
        questions = [message for message in messages if isinstance(message, UserMessage)]
        return text_of(questions[-1].content)[:_QUESTION] if questions else ""
