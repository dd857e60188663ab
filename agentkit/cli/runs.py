"""`agentkit runs`: all that can be done with the runs that are kept, under one name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from agentkit.cli.choose import UsageError
from agentkit.cli.layout import print_rows
from agentkit.cli.moved import moved
from agentkit.cli.options import JournalFile, RunName
from agentkit.cli.replay import replay
from agentkit.cli.resume import resume
from agentkit.cli.story import tell
from agentkit.errors import AgentKitError
from agentkit.events.lines import Values
from agentkit.journal import RunSummary
from agentkit.trace import (
    Library,
    Recording,
    TraceError,
    moment,
    parts_of,
    printable,
    run_file_name,
)
from agentkit.trace.library import line_of, open_private
from agentkit.trace.page import page_of

runs = typer.Typer(
    help="Look at the runs that are kept, go on with one, hand one on.", no_args_is_help=True
)
trace = typer.Typer(help="The old name of `agentkit runs`.", no_args_is_help=True, hidden=True)

_NUMBERS = ("steps", "calls", "unknown", "in", "cached", "out", "seconds")
_COLUMNS = ("run", "began", "state", *_NUMBERS, "asked")

Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The file to write.", show_default=False)
]


@runs.command("list")
def list_runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show this many.")] = 20,
    journal: JournalFile = None,
) -> None:
    """List the newest runs: when, how they ended, steps, calls, tokens, time, what was asked.

    A run whose state is `died` can be gone on with: agentkit runs resume.

    Exit codes: 0 listed, 1 the journal cannot be read, 2 nothing is kept.
    """
    try:
        found = Library(journal=journal).runs(limit + 1)
    except AgentKitError as error:
        _refuse(error)
    rows = [_row(run) for run in found[:limit]]
    print_rows(Console(), _COLUMNS, rows, numbers=_NUMBERS)
    if len(found) > limit:
        typer.echo("… and older ones; --limit shows more")


def _row(run: RunSummary) -> list[Text]:
    state = run.stop_reason or run.state
    good, bad = state in ("answer", "running"), state in ("died", "error", "damaged")
    usage = run.usage
    tokens = (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens)
    asked = Text(printable(" ".join(run.question.split())))
    if run.damage:
        asked = Text(printable(f"damaged: {run.damage}"), style="red")
    return [
        Text(printable(run.run_id), style="cyan"),
        Text(moment(run.created, "%m-%d %H:%M"), style="dim"),
        Text(state, style="green" if good else "red" if bad else "yellow"),
        Text(str(run.steps)),
        Text(str(run.calls)),
        Text(str(run.unknown), style="red" if run.unknown else ""),
        *(Text(f"{number:,}") for number in tokens),
        Text(f"{run.seconds:.1f}"),
        asked,
    ]


@runs.command()
def show(
    run: RunName,
    full: Annotated[
        bool, typer.Option("--full", help="Whole arguments, results, thoughts, tracebacks.")
    ] = False,
    journal: JournalFile = None,
) -> None:
    """Tell a run step by step: tokens, times, calls, results, repairs; what failed comes first.

    Exit codes: 0 shown, 1 the journal cannot be read, 2 no such run.
    """
    recording = _opened(run, journal)
    tell(parts_of(recording.events), Console(), damage=recording.damage, full=full)


@runs.command()
def view(run: RunName, output: Output = None, journal: JournalFile = None) -> None:
    """Write a run as one HTML file that needs no network: time, tokens, messages, calls.

    It is RUN.html in this directory, unless --output says otherwise.

    Exit codes: 0 written, 1 the journal cannot be read, 2 no such run, or it cannot be written.
    """
    recording = _opened(run, journal)
    page = page_of(parts_of(recording.events), recording.damage)
    _write(output or _beside(recording, ".html"), page.encode())


@runs.command()
def export(run: RunName, output: Output = None, journal: JournalFile = None) -> None:
    """Write a run as a file to hand on: a JSON line for each event, without registered secrets.

    It is RUN.jsonl in this directory, unless --output says otherwise. All commands that look at a
    run take such a file in place of its id, and so does `agentkit.runtime.assert_replays`.

    Exit codes: 0 written, 1 the journal cannot be read, 2 no such run, or it cannot be written.
    """
    recording = _opened(run, journal)
    for damage in recording.damage:
        typer.echo(f"agentkit: {damage}", err=True)
    values = Values()
    lines = [line_of(timed.event, timed.time, values) for timed in recording.events]
    _write(output or _beside(recording, ".jsonl"), b"".join(lines))


@runs.command()
def delete(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids, or paths of files.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    journal: JournalFile = None,
) -> None:
    """Delete runs for good: from the journal, and their files.

    Exit codes: 0 deleted, 1 one is at work or not decided on, 2 no such run.
    """
    library = Library(journal=journal)
    if not yes:
        typer.confirm(f"Delete {', '.join(names)} for good?", abort=True, err=True)
    for name in names:
        try:
            for place in library.delete(name):
                typer.echo(f"deleted {name} from {place}")
        except AgentKitError as error:
            _refuse(error)


def _opened(run: str, journal: Path | None) -> Recording:
    """The run, which has something that can be shown."""
    try:
        recording = Library(journal=journal).open(run)
        if not recording.events:
            lost = "; ".join(str(damage) for damage in recording.damage)
            raise TraceError(f"nothing can be read of the run {recording.run_id}: {lost}")
    except AgentKitError as error:
        _refuse(error)
    return recording


def _beside(recording: Recording, ending: str) -> Path:
    """A file of this directory that is called as the run is."""
    return Path(run_file_name(recording.run_id).removesuffix(".jsonl") + ending)


def _write(target: Path, content: bytes) -> None:
    """A file for its owner alone: it holds all that was said."""
    try:
        with open_private(target) as file:
            file.truncate(0)
            file.write(content)
    except OSError as error:
        _refuse(UsageError(f"{target} cannot be written: {error.strerror}"))
    typer.echo(target)


def _refuse(error: AgentKitError) -> NoReturn:
    """Says what is wrong and how to mend it."""
    typer.echo(f"agentkit: {error}", err=True)
    raise typer.Exit(2 if isinstance(error, UsageError | TraceError) else 1) from None


runs.command("resume")(resume)
runs.command("replay")(replay)
trace.command("list")(moved(list_runs, "agentkit trace list", "agentkit runs list"))
trace.command("show")(moved(show, "agentkit trace show", "agentkit runs show"))
trace.command("view")(moved(view, "agentkit trace view", "agentkit runs view"))
