"""A run's events on disk, so that a run survives the death of its process."""

from agentkit.journal.base import Journal, Lease, RunState, RunSummary
from agentkit.journal.entries import (
    CallDone,
    CallIntended,
    CallStarted,
    Decided,
    Entry,
    Record,
    RunOpened,
    Shown,
    dump_entry,
    load_entry,
)
from agentkit.journal.replay import CallState, JournaledRun
from agentkit.journal.sqlite import SQLiteJournal
from agentkit.journal.views import events_of, summary

__all__ = [
    "CallDone",
    "CallIntended",
    "CallStarted",
    "CallState",
    "Decided",
    "Entry",
    "Journal",
    "JournaledRun",
    "Lease",
    "Record",
    "RunOpened",
    "RunState",
    "RunSummary",
    "SQLiteJournal",
    "Shown",
    "dump_entry",
    "events_of",
    "load_entry",
    "summary",
]
