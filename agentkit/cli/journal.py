"""`agentkit journal` makes and checks the place where runs are kept; `agentkit worker` does the
runs that are submitted there, until it is stopped.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import anyio
import typer

from agentkit.agent import Agent
from agentkit.cli.options import JournalPlace, UsageError, find_agent, path_and_name
from agentkit.errors import AgentKitError, JournalError
from agentkit.journal import Store, is_address, journal_at, store_at
from agentkit.models import Model
from agentkit.wording import pluralize, printable

if TYPE_CHECKING:
    from agentkit.journal.postgres import PostgresJournal
    from agentkit.trace.metrics import OpenTelemetryMetrics


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


# --- agentkit worker -----------------------------------------------------------------------------

AGENTS = typer.Option(
    "--agent",
    "-a",
    metavar="FILE.py:NAME",
    help="An Agent of yours, or a function that returns one; also module:name. Again for more.",
)


def worker(
    agent: Annotated[list[str], AGENTS],
    at_once: Annotated[int, typer.Option(min=1, help="Most runs at work at a time.")] = 8,
    tries: Annotated[
        int, typer.Option(min=1, help="How often a run is begun or gone on with until it failed.")
    ] = 5,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds for model calls and tools after SIGTERM.")
    ] = 30.0,
    most_waiting: Annotated[
        int,
        typer.Option(min=0, help="Take no runs while more requests wait on their model's server."),
    ] = 0,
    journal: JournalPlace = None,
) -> None:
    """Take submitted runs from a shared journal, and bring them to their end.

    It takes only runs of the agents that it offers: by name, and with the same tools and
    instructions. SIGTERM or Ctrl-C: it takes no more, hands each run over before its next step,
    and ends. With the extra `otel` it makes OpenTelemetry metrics, which go where the environment
    says (opentelemetry-instrument agentkit worker ...).

    Exit codes: 0 told to stop, 1 the journal cannot be used, 2 wrong usage.
    """
    try:
        agents = {name_of(each): _found(each) for each in agent}
        anyio.run(_work, shared(journal), agents, at_once, tries, grace, most_waiting)
    except AgentKitError as error:
        typer.echo(f"agentkit: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None


def name_of(target: str) -> str:
    """The name of an agent for submitters and workers: its file, without the folder, and name."""
    path, name = path_and_name(target)
    return f"{Path(path).name.removesuffix('.py')}:{name or 'agent'}"


def shared(place: str | None) -> PostgresJournal:
    """Opens the journal that workers share.

    Raises:
        UsageError: None is named, or a file is.
        JournalError: It cannot be reached.
    """
    if place is None or not is_address(place):
        raise UsageError(
            "workers share a journal on a Postgres server: --journal postgresql://..., or "
            "AGENTKIT_JOURNAL"
        )
    journal: Any = journal_at(place)
    return journal  # type: ignore[no-any-return] # an address makes no other


def _found(target: str) -> Agent[Any, Any]:
    def no_model() -> Model:
        raise UsageError(f"{target} asks for a model: name an agent that has its own")

    return find_agent(target, no_model, Path())


def _metrics() -> OpenTelemetryMetrics | None:
    """Metrics for the meter provider of the environment; None without the extra `otel`."""
    try:
        from agentkit.trace.metrics import OpenTelemetryMetrics  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        return None
    return OpenTelemetryMetrics()


async def _work(
    journal: PostgresJournal,
    agents: dict[str, Agent[Any, Any]],
    at_once: int,
    tries: int,
    grace: float,
    most_waiting: int,
) -> None:
    from agentkit.runtime.worker import Worker  # noqa: PLC0415 - needs the extra `postgres`

    working = Worker(
        journal,
        agents,
        at_once=at_once,
        tries=tries,
        grace=grace,
        most_waiting=most_waiting,
        metrics=_metrics(),
    )
    typer.echo(f"offers {', '.join(agents)} at {journal.where}", err=True)

    async def stop_when_told() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for number in signals:
                typer.echo(f"{signal.Signals(number).name}: hands its runs over", err=True)
                working.stop()
                return

    with journal:
        async with anyio.create_task_group() as group:
            group.start_soon(stop_when_told)
            await working.run()
            group.cancel_scope.cancel()
        for each in agents.values():
            await each.aclose()
