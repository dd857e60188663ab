"""A run followed from anywhere, as it is written to its journal."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from agentkit.journal import StoredJournal
from agentkit.trace.recording import Timed, TraceError, events_of


async def follow(journal: StoredJournal, run_id: str) -> AsyncGenerator[Timed, None]:
    """The events of a run, those that are recorded and then each that is, until it ends.

    What is streamed only, such as the pieces of an answer, is in no journal.

    Args:
        journal: The journal that keeps it; on a server it tells of what is new.
        run_id: The run, which another process may be at work on.

    Raises:
        TraceError: There is no such run.
        JournalError: The journal cannot be read.
    """
    shown = 0
    async with journal.news_of(run_id) as wait:
        while True:
            still_open = await journal.is_open(run_id)  # before it is read: nothing comes after
            records = (await journal.examine(run_id)).records
            if not records:
                raise TraceError(f"there is no run {run_id!r} in {journal.where}")
            events = list(events_of(run_id, records))
            for timed in events[shown:]:
                yield timed
            shown = max(shown, len(events))
            if not still_open:
                return
            await wait()
