"""A run's events on disk, so that a run survives the death of its process.

```
loop ──► JournaledRun ──► StoredJournal ──► Store   what happened, in order, each entry sealed
                                            ├─ SQLiteStore     a file, and a witness apart from it
                                            └─ PostgresStore   a server that many machines share
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
    Queueing,
    Raw,
    Record,
    RunOpened,
    RunState,
    RunSummary,
    Shown,
    Ticket,
    dump_entry,
    load_entry,
    summary_of,
)
from agentkit.journal.integrity import Damage, cost_of
from agentkit.journal.places import is_address, journal_at, store_at
from agentkit.journal.resuming import CallState, JournaledRun
from agentkit.journal.sqlite import SQLiteJournal
from agentkit.journal.store import Examined, Store, StoredJournal

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
    "Queueing",
    "Raw",
    "Record",
    "RunOpened",
    "RunState",
    "RunSummary",
    "SQLiteJournal",
    "Shown",
    "Store",
    "StoredJournal",
    "Ticket",
    "cost_of",
    "dump_entry",
    "is_address",
    "journal_at",
    "load_entry",
    "store_at",
    "summary_of",
]
