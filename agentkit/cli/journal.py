"""`agentkit journal`: the place where runs are kept, before and beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from agentkit.errors import JournalError
from agentkit.journal import Store, is_address, store_at
from agentkit.wording import pluralize, printable

journal = typer.Typer(help="Make and check the place where runs are kept.", no_args_is_help=True)

Place: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="FILE|URL",
        envvar="AGENTKIT_JOURNAL",
        help="The journal: a file, or postgresql://USER:PASSWORD@HOST:PORT/DATABASE.",
    ),
]


@journal.command()
def migrate(place: Place) -> None:
    """Make a journal's tables, or bring them to the version of this agentkit; all or nothing.

    On a server the user must be allowed to create a schema; whoever only works with the journal
    needs no more than to read and write its tables. Stop the workers of older versions first.

    Exit codes: 0 the tables are there, 1 the journal cannot be reached or is of a later version.
    """
    if not is_address(place):
        _file(place).close()
        typer.echo(f"{place} has the format of this agentkit")
        return
    from agentkit.journal.postgres import migrate as applied  # noqa: PLC0415 - an optional extra

    done = applied(place)
    numbers = ", ".join(map(str, done))
    typer.echo(f"applied {numbers}" if done else "the tables are those of this agentkit already")


@journal.command()
def check(
    place: Place,
    runs: Annotated[
        int, typer.Option("--runs", "-n", min=0, help="Read as many of the newest runs.")
    ] = 100,
) -> None:
    """Check whether a journal can keep its promises, and whether its newest runs are whole.

    Of a server it looks at the version of the tables and at settings that would break a promise.

    Exit codes: 0 all is well, 1 something is wrong, or the journal cannot be reached.
    """
    problems: list[str] = []
    if is_address(place):
        from agentkit.journal.postgres import check as checked  # noqa: PLC0415 - optional, too

        problems += checked(place)
    looked_at = 0
    if not problems:
        store = store_at(place) if is_address(place) else _file(place)
        try:
            for run in store.runs(runs):
                looked_at += 1
                damage = store.examine(run.run_id).damage
                problems += [f"{run.run_id}: {each}" for each in damage]
        finally:
            store.close()
    for problem in problems:
        typer.echo(printable(problem))
    if problems:
        raise typer.Exit(1)
    typer.echo(f"all is well, {pluralize(looked_at, 'run')} read")


def _file(place: str) -> Store:
    if not Path(place).is_file():
        raise JournalError(f"there is no journal {place}; agentkit run --journal PATH writes one")
    return store_at(place)
