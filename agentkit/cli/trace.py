"""`agentkit trace`: the runs that were recorded, in the terminal and as a page."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeAlias

import typer
from rich.console import Console
from rich.text import Text

from agentkit.cli.layout import print_rows
from agentkit.cli.story import tell
from agentkit.trace import (
    TraceError,
    find_run,
    parts_of,
    printable,
    read_events,
    run_files,
    summary_of,
)
from agentkit.trace.page import page_of

__all__ = ["trace"]

trace = typer.Typer(help="Look at runs that were recorded.", no_args_is_help=True)


_NUMBERS = ("steps", "in", "cached", "out", "seconds")
_COLUMNS = ("run", "began", "end", *_NUMBERS, "asked")

RunName: TypeAlias = Annotated[
    str, typer.Argument(help="A run's id, the path of its file, or `last`.")
]


@trace.command("list")
def list_runs(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show this many.")] = 20,
) -> None:
    """List the newest runs: when, what was asked, tokens, time, how it ended.

    Exit codes: 0 listed, 2 there are no run files.
    """
    try:
        files = run_files()
    except TraceError as error:
        raise _refused(error) from None
    rows = [_row(file) for file in files[:limit]]
    print_rows(Console(), _COLUMNS, rows, numbers=_NUMBERS)
    if len(files) > limit:
        typer.echo(f"… and {len(files) - limit} older; --limit shows more")


@trace.command()
def show(
    run: RunName,
    full: Annotated[
        bool, typer.Option("--full", help="Whole arguments, results and thoughts.")
    ] = False,
) -> None:
    """Tell a run step by step: tokens, times, calls, results, repairs; what failed comes first.

    Exit codes: 0 shown, 2 no such run.
    """
    try:
        parts = parts_of(read_events(find_run(run)))
    except TraceError as error:
        raise _refused(error) from None
    tell(parts, Console(), full=full)


@trace.command()
def view(
    run: RunName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: RUN.html in this directory.")
    ] = None,
) -> None:
    """Write a run as one HTML file that needs no network: time, tokens, messages, calls.

    Exit codes: 0 written, 2 no such run, or the file cannot be written.
    """
    try:
        file = find_run(run)
        page = page_of(parts_of(read_events(file)))
    except TraceError as error:
        raise _refused(error) from None
    target = output or Path(f"{file.stem}.html")
    try:
        target.write_text(page, "utf-8")
    except OSError as error:
        raise _refused(TraceError(f"{target} cannot be written: {error.strerror}")) from None
    typer.echo(target)


def _row(file: Path) -> list[Text]:
    try:
        run = summary_of(file)
    except TraceError as error:
        nothing = [Text() for _ in _COLUMNS[2:]]
        return [Text(printable(file.stem), style="red"), *nothing, Text(str(error), style="red")]
    usage, result = run.usage, run.result
    end = "unfinished" if result is None else result.stop_reason
    style = "green" if end == "answer" else "yellow" if end in ("paused", "unfinished") else "red"
    numbers = (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens)
    return [
        Text(printable(run.run_id), style="cyan"),
        Text(datetime.fromtimestamp(run.began).strftime("%m-%d %H:%M"), style="dim"),
        Text(end, style=style),
        Text("" if result is None else str(result.steps)),
        *(Text("" if result is None else f"{number:,}") for number in numbers),
        Text(f"{run.seconds:.1f}"),
        Text(printable(" ".join(run.asked.split()))),
    ]


def _refused(error: TraceError) -> typer.Exit:
    typer.echo(f"agentkit: {error}", err=True)
    return typer.Exit(2)
