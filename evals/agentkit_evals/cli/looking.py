"""`agentkit eval report`, `compare`, `gate`, `view`, `export`, `list`: the results of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from agentkit.wording import pluralize, printable
from agentkit_evals.cli.shared import (
    AsJson,
    Folder,
    Priced,
    RunName,
    end,
    folder_of,
    say,
    show,
    show_report,
    spread,
    store_of,
)
from agentkit_evals.compare import compare, comparison_json, comparison_table
from agentkit_evals.core import EvalError
from agentkit_evals.export import csv_of, inspect_log
from agentkit_evals.gate import CODES, gate_json, gate_words, judged
from agentkit_evals.page import MOST_PAGES, view_of
from agentkit_evals.report import report
from agentkit_evals.store import Store


@spread
def report_run(
    run: RunName,
    priced: Priced,
    folder: Folder = None,
    as_json_: AsJson = False,
) -> None:
    """Report on a run, finished or not.

    Exit codes: 0 reported, 2 there is no such run.
    """

    async def main() -> int:
        show_report(report(store_of(folder, run), priced.prices), as_json_)
        return 0

    end(main)


def compare_runs(
    first: RunName,
    others: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Each is held against the first.")
    ],
    folder: Folder = None,
    as_json_: AsJson = False,
) -> None:
    """Compare runs of a suite with the first, case by case: is another better?

    Exit codes: 0 compared, 2 they cannot be compared.
    """

    async def main() -> int:
        found = compare(store_of(folder, first), *(store_of(folder, other) for other in others))
        show(comparison_json(found) if as_json_ else comparison_table(found))
        return 0

    end(main)


def gate_run(
    run: RunName,
    against: Annotated[
        str | None, typer.Option(metavar="BASE", help="A run that it must not fall behind.")
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, max=100, help="Points that it may fall behind BASE.")
    ] = 5.0,
    at_least: Annotated[
        float | None, typer.Option(min=0, max=1, help="The least pass^1, from 0 to 1.")
    ] = None,
    most_lost: Annotated[
        float, typer.Option(min=0, max=1, help="Share of trials that may be without a verdict.")
    ] = 0.05,
    undecided_passes: Annotated[
        bool, typer.Option("--undecided-passes", help="Exit with 0 where it cannot be told.")
    ] = False,
    folder: Folder = None,
    as_json_: AsJson = False,
) -> None:
    """Hold a run to a bar, for CI. What the run's cases are too few to tell is said, not guessed.

    Exit codes: 0 passed, 1 failed, 3 it cannot be told, 2 used wrongly.
    """

    async def main() -> int:
        found = judged(
            store_of(folder, run),
            against=None if against is None else store_of(folder, against),
            margin=margin / 100,
            at_least=at_least,
            most_lost=most_lost,
        )
        show(gate_json(found) if as_json_ else gate_words(found))
        return 0 if found.outcome == "undecided" and undecided_passes else CODES[found.outcome]

    end(main)


def view_runs(
    first: RunName,
    others: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Held against the first.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file. Default: view.html in the first's folder."),
    ] = None,
    pages: Annotated[
        int, typer.Option(min=0, help="Trials that can be opened, flips and failures first.")
    ] = MOST_PAGES,
    folder: Folder = None,
) -> None:
    """Write runs as one HTML file that needs no network: scores, flips, cases, each trial's page.

    Exit codes: 0 written, 2 there is no such run, or the file cannot be written.
    """
    store = store_of(folder, first)

    async def main() -> int:
        held = [store_of(folder, other) for other in others or ()]
        found = view_of(store, *held, most_pages=pages)
        file = output or store.folder / "view.html"
        _write(file, found.html)
        say(f"{found.pages} of {pluralize(found.trials, 'trial')} can be opened in it")
        show(str(file))
        return 0

    end(main)


@spread
def export_run(
    run: RunName,
    priced: Priced,
    as_csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="A line for each trial.")
    ] = None,
    inspect: Annotated[
        Path | None,
        typer.Option("--inspect", metavar="FOLDER", help="A log for `inspect view --log-dir`."),
    ] = None,
    folder: Folder = None,
) -> None:
    """Write a run for other programs.

    Exit codes: 0 written, 2 there is no such run, or the file cannot be written.
    """

    async def main() -> int:
        store = store_of(folder, run)
        if as_csv is None and inspect is None:
            raise EvalError("nothing to write: give --csv FILE, --inspect FOLDER, or both")
        if as_csv is not None:
            _write(as_csv, csv_of(store, priced.prices))
        if inspect is not None:
            log = inspect_log(store)
            _write(inspect / log.name, log.text)
            show(str(inspect / log.name))
        return 0

    end(main)


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", errors="replace", newline="")
    except OSError as error:
        raise EvalError(f"{file} cannot be written: {error.strerror}") from error


def list_runs(folder: Folder = None) -> None:
    """List the runs that are kept; one that cannot be read is said beside them.

    Exit code 0.
    """
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "suite", "model", "trials", "passed"):
        table.add_column(heading, no_wrap=heading == "run")
    for path in sorted(folder_of(folder).glob("*/manifest.json")):
        store = Store(path.parent)
        try:
            manifest, results = store.manifest(), store.results().values()
        except EvalError as error:
            say(f"agentkit eval: {error}")
            continue
        played = f"{len(results)} of {len(manifest.cases) * manifest.trials}"
        passed = str(sum(result.passed for result in results))
        row = (path.parent.name, manifest.suite, manifest.subject.label, played, passed)
        table.add_row(*map(printable, row))
    show(table)
