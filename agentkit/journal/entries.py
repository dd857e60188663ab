"""What a journal holds: one entry for each thing that must outlive the process.

```
RunOpened ─┬─ ModelCalled ── CallIntended ── CallStarted ── CallDone ─┬─ RunFinished
           ▲  (an event)     (durable before anything starts)        │  (an event)
           └──────────────────────── each step ──────────────────────┘
```

Beside these a run's other events. Entries are data: JSON that pydantic checks when it comes back,
never code. Of an event whose content stands in another entry it is kept only that it was shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, get_args

from pydantic import JsonValue

from agentkit.errors import JournalError
from agentkit.events import Event, RunFinished, as_json, dump_event, dump_named, event_of, validated
from agentkit.events.lines import Values
from agentkit.messages import Message, ModelSettings, ToolCall, ToolResult
from agentkit.policy import Decision, Limits
from agentkit.toolset import Effect


@dataclass(frozen=True, slots=True)
class RunOpened:
    """The first entry of a run: what it began with.

    Attributes:
        messages: Instructions, history and what the user said.
        model: Its name.
        settings: What this run was given over the agent's settings.
        limits: What this run was given instead of the agent's limits; None for those.
        labels: What the journal's owner wants to find it by.
        versions: What `RunStarted.versions` holds.
    """

    messages: tuple[Message, ...]
    model: str = ""
    settings: ModelSettings | None = None
    limits: Limits | None = None
    labels: Mapping[str, JsonValue] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallIntended:
    """A tool call passed every check and will start; durable before it does.

    Attributes:
        key: `ToolContext.idempotency_key`.
        call: What is to run.
        effect: What a second run would do.
        boot: Which boot of the machine it was; see `agentkit.journal.leases.boot_id`.
        step: The step that asked for it.
    """

    key: str
    call: ToolCall
    effect: Effect
    boot: str
    step: int


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The call starts now.

    In the operating system's hands before the tool is, so it outlives the process; forced to the
    disk only with the next entry, so it may not outlive the machine. That is why an intent alone
    proves that nothing started only as long as the machine was not booted anew.
    """

    key: str
    step: int


@dataclass(frozen=True, slots=True)
class CallDone:
    """The call has its result, also when that is `unknown`."""

    key: str
    result: ToolResult
    step: int


@dataclass(frozen=True, slots=True)
class Decided:
    """A person decided on a call.

    Attributes:
        approval: The `Approval.id`.
        decision: What they said.
        step: The step that asked for the call; 0 where a resumed run was given the decision.
    """

    approval: str
    decision: Decision
    step: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """An event reached those who watch; its content stands in another entry."""

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
    """A record as it is stored, not yet read: a row of a journal, a line of a file.

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
        """The entry; see `load_entry`. Long texts that stand in earlier ones are left out where
        what was read before is not given.

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
        text: The line that was written.
        values: What was read of the run before, where its long texts were packed.
        hide: Takes out of the JSON what is not to be shown.

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


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to a run: its number is in every entry, and a higher one ends it."""

    run_id: str
    epoch: int


class Journal(Protocol):
    """Keeps the entries of runs. Every method raises `JournalError` where it cannot."""

    async def open(self, run_id: str, opening: RunOpened) -> Lease:
        """Begins a run, durably, and takes its lease.

        Raises:
            JournalError: There is a run of this name.
        """
        ...

    async def claim(self, run_id: str) -> Lease:
        """Takes the lease of a run that nobody works on any more.

        Raises:
            JournalError: There is no such run, or its owner is alive.
        """
        ...

    async def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:
        """Writes entries, all or none.

        Args:
            lease: Must still be the run's newest.
            entries: The entries, in order.
            durable: Returns when they would survive a loss of power; else when they would survive
                the death of this process.

        Raises:
            JournalError: They could not be written, or another owner has taken over.
        """
        ...

    async def read(self, run_id: str) -> list[Record]:
        """The run's entries, in order; none for a run that is not there."""
        ...

    async def release(self, lease: Lease) -> None:
        """Gives the lease back; does nothing if it is lost already."""
        ...
