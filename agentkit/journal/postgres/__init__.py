"""Runs on a Postgres server that many machines share (extra `postgres`).

```
agentkit.runs    who works on each run, until when, and where its record ends
agentkit.events  its entries, in order, sealed as in a file
```
The entries, their seals and their reader are those of the file (`agentkit.journal.sqlite`). What
the server adds is that owners live on other machines and that a connection may break at any point,
a COMMIT included, whose outcome then nobody knows. So every change is one statement that says what
it expects to find:

```
append   where the run's epoch, last number and last seal are these: add, and move the end
claim    where the epoch and the taking are those that were read: raise the epoch
```
A process that gets no answer sends the same statement again. If the first one took effect, the
second changes nothing, and the row shows our own seal or our own taking. If it did not, or has yet
to, one of the two takes effect and the other finds another end. An owner that was stopped and wakes
up finds a higher epoch, and writes nothing.

A lease is measured by the server's clock. Each change is on the server's disk before it counts,
whatever `durable` says: a server that dies would take with it what was not, and the owner would
find its run shorter than it left it.
"""

from agentkit.journal.postgres.connecting import Address, Listener, check, migrate
from agentkit.journal.postgres.queue import PostgresJournal, Queue, QueueStats, Settled, Taken
from agentkit.journal.postgres.store import PostgresStore

__all__ = [
    "Address",
    "Listener",
    "PostgresJournal",
    "PostgresStore",
    "Queue",
    "QueueStats",
    "Settled",
    "Taken",
    "check",
    "migrate",
]
