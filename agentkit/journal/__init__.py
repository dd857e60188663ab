"""A run's events on disk, so that a run survives the death of its process.

```
loop ──► JournaledRun ──► Journal ──► SQLite file   what happened, in order, each entry sealed
                                 └──► witness       the last entry of each run, apart
```
In: what happens in a run, as entries. Out: the same entries, for whoever goes on with the run, and
for `agentkit.trace`, the one reader behind everything that is shown of one. It never gives back a
run of which something is lost as if it were whole, never writes for two owners, and never runs
what it holds: entries are data.
"""

from agentkit.journal.entries import (
    CallDone,
    CallIntended,
    CallStarted,
    Decided,
    Entry,
    Journal,
    Lease,
    Raw,
    Record,
    RunOpened,
    RunState,
    RunSummary,
    Shown,
    dump_entry,
    load_entry,
    summary_of,
)
from agentkit.journal.integrity import Damage, cost_of
from agentkit.journal.resuming import CallState, JournaledRun
from agentkit.journal.sqlite import SQLiteJournal
from agentkit.journal.store import Examined, Store

__all__ = [
    "CallDone",
    "CallIntended",
    "CallStarted",
    "CallState",
    "Damage",
    "Decided",
    "Entry",
    "Examined",
    "Journal",
    "JournaledRun",
    "Lease",
    "Raw",
    "Record",
    "RunOpened",
    "RunState",
    "RunSummary",
    "SQLiteJournal",
    "Shown",
    "Store",
    "cost_of",
    "dump_entry",
    "load_entry",
    "summary_of",
]
