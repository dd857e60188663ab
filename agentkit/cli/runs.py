"""`agentkit runs`: the runs that a journal keeps."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias

import anyio
import typer
from rich.console import Console
from rich.text import Text

from agentkit.cli.choose import UsageError
from agentkit.cli.layout import print_rows
from agentkit.cli.options import JournalFile
from agentkit.cli.project import open_journal, refused
from agentkit.cli.story import tell
from agentkit.errors import AgentKitError
from agentkit.journal import Record, RunOpened, RunSummary, SQLiteJournal, events_of
from agentkit.trace import parts_of, printable
from agentkit.trace.recording import Timed

__all__ = ["RunName", "named", "runs"]

runs = typer.Typer(help="Look at the runs that a journal keeps.", no_args_is_help=True)

RunName: TypeAlias = Annotated[str, typer.Argument(help="A run's id, or `last`.")]

_NUMBERS = ("steps", "calls", "unknown")
_COLUMNS = ("run", "began", "state", *_NUMBERS, "asked")


@runs.command("list")
def list_runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show this many.")] = 20,
    journal: JournalFile = None,
) -> None:
    """List the newest runs: how they ended, and which can be resumed.

    Exit codes: 0 listed, 1 the journal cannot be read, 2 there is none.
    """
    try:
        with open_journal(journal) as kept:
            found = anyio.run(kept.runs, limit)
    except AgentKitError as error:
        raise refused(error) from None
    print_rows(Console(), _COLUMNS, [_row(run) for run in found], numbers=_NUMBERS)


def _row(run: RunSummary) -> list[Text]:
    state = run.stop_reason or run.state
    good, bad = state in ("answer", "running"), state in ("died", "error")
    return [
        Text(printable(run.run_id), style="cyan"),
        Text(datetime.fromtimestamp(run.created).strftime("%m-%d %H:%M"), style="dim"),
        Text(state, style="green" if good else "red" if bad else "yellow"),
        Text(str(run.steps)),
        Text(str(run.calls)),
        Text(str(run.unknown), style="red" if run.unknown else ""),
        Text(printable(" ".join(run.question.split()))),
    ]


@runs.command()
def show(
    run: RunName,
    full: Annotated[
        bool, typer.Option("--full", help="Whole arguments, results and thoughts.")
    ] = False,
    journal: JournalFile = None,
) -> None:
    """Tell a run step by step, from its journal.

    Exit codes: 0 shown, 1 the journal cannot be read, 2 no such run.
    """
    try:
        with open_journal(journal) as kept:
            run_id, records = anyio.run(_records, kept, run)
        tell(
            parts_of(Timed(event, at) for at, event in events_of(run_id, records)),
            Console(),
            full=full,
        )
    except AgentKitError as error:
        raise refused(error) from None


async def named(journal: SQLiteJournal, run: str) -> tuple[str, RunOpened]:
    """The run's id, and what it began with.

    Raises:
        UsageError: There is no such run.
    """
    run_id, records = await _records(journal, run)
    opening = records[0].entry
    assert isinstance(opening, RunOpened), "every run begins with its opening"
    return run_id, opening


async def _records(journal: SQLiteJournal, run: str) -> tuple[str, list[Record]]:
    newest = await journal.runs(1) if run == "last" else []
    run_id = newest[0].run_id if newest else run
    records = await journal.read(run_id)
    if not records:
        raise UsageError(
            f"the journal {journal.path} has no run {run_id}; agentkit runs list shows what it has"
        )
    return run_id, records
