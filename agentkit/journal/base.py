"""The `Journal` protocol: where runs are kept, and who may write to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from pydantic import JsonValue

from agentkit.journal.entries import Entry, Record, RunOpened
from agentkit.messages import Usage

RunState: TypeAlias = Literal["running", "died", "ended", "damaged"]
"""`died`: its process is gone and it has no end; it can be resumed. `damaged`: what is left of its
record does not say."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to a run: its number is in every entry, and a higher one ends it."""

    run_id: str
    epoch: int


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
        labels: As it was opened with.
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
            entries: In order.
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
