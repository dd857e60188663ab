"""`agentkit faults`: how an agent survives bad days, and a server that makes them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Annotated, Literal

import anyio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentkit.testing.faults import FAULTS, FaultServer, find_fault
from agentkit.testing.scenarios import SCENARIOS, Outcome, Scenario, play_all
from agentkit.testing.scripted import say
from agentkit.wording import pluralize

faults = typer.Typer(help="Bad days of a model and its server.", no_args_is_help=True)


@faults.command("run")
def run(
    names: Annotated[
        list[str] | None, typer.Argument(help="Scenarios to play; default: all.")
    ] = None,
    stream: Annotated[
        bool | None, typer.Option("--stream/--whole", help="Only streamed, or only whole replies.")
    ] = None,
    backend: Annotated[
        Literal["asyncio", "trio"] | None,
        typer.Option(help="Only this; default: what is installed."),
    ] = None,
) -> None:
    """Play the scenario table: every bad day with the ending it is to have.

    Each scenario runs a real agent against a real server on loopback that misbehaves as told;
    streamed and not, on asyncio and on trio. Exit code 1 when one does not end as the table says.
    """
    known = {scenario.name: scenario for scenario in SCENARIOS}
    if unknown := [name for name in names or () if name not in known]:
        raise typer.BadParameter(f"no scenario is named {', '.join(unknown)}")
    chosen = [known[name] for name in names or known]
    installed = ["asyncio", *(["trio"] if find_spec("trio") else [])]
    if backend and backend not in installed:
        raise typer.BadParameter("trio is not installed: pip install trio")
    backends = [backend] if backend else installed
    modes = [(s, b) for s in ([True, False] if stream is None else [stream]) for b in backends]
    console = Console()
    started = time.monotonic()
    outcomes: _Outcomes = {}
    with console.status("") as status:
        for mode in modes:
            status.update(f"{pluralize(len(chosen), 'scenario')}, {_named(*mode)}")
            outcomes[mode] = _play(chosen, *mode)
    console.print(_table(chosen, outcomes, console.width))
    surprises = _surprises(outcomes, console)
    console.print(_summary(outcomes, time.monotonic() - started), highlight=False)
    raise typer.Exit(1 if surprises else 0)


@faults.command("list")
def list_faults() -> None:
    """List the faults by name; `agentkit.testing.FaultServer` and `serve` take them."""
    table = Table(box=None, pad_edge=False)
    for heading in ("fault", "side", "what happens"):
        table.add_column(heading, no_wrap=heading != "what happens")
    for fault in FAULTS.values():
        table.add_row(fault.name, fault.side, Text(fault.what))
    Console().print(table)


@faults.command("serve")
def serve(
    names: Annotated[list[str], typer.Argument(help="Faults that strike; see `list`.")],
    rate: Annotated[float, typer.Option(min=0, max=1, help="How likely one strikes.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    text: Annotated[str, typer.Option(help="What the model says otherwise.")] = "Hello.",
) -> None:
    """Serve a model that always says the same, struck by faults, until Ctrl-C.

    For trying out any client of the OpenAI protocol, in whatever language it is written.
    """
    try:
        chosen = [find_fault(name) for name in names]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with FaultServer(then=say(text), faults=chosen, rate=rate, seed=seed) as server:
        typer.echo(server.url)
        try:
            anyio.run(anyio.sleep_forever)
        except KeyboardInterrupt:
            typer.echo(
                f"{pluralize(len(server.requests), 'request')}, {dict(Counter(server.injected))}"
            )


_Outcomes = dict[tuple[bool, str], list[Outcome]]


def _named(stream: bool, backend: str) -> str:
    return f"{'streamed' if stream else 'whole'}, {backend}"


def _play(scenarios: Sequence[Scenario], stream: bool, backend: str) -> list[Outcome]:
    async def main() -> list[Outcome]:
        return await play_all(scenarios, stream=stream)

    return anyio.run(main, backend=backend)


_WIDE = 120
"""Columns of a terminal from which on the sentences of a scenario stand beside its name."""


def _table(scenarios: Sequence[Scenario], outcomes: _Outcomes, width: int) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("scenario", no_wrap=True)
    table.add_column("ending", no_wrap=True)
    table.add_column("")
    if width >= _WIDE:
        table.add_column("what happens", ratio=2)
        table.add_column("why it is right", ratio=2)
    for position, scenario in enumerate(scenarios):
        played = [results[position] for results in outcomes.values()]
        ending = " | ".join(dict.fromkeys(str(scenario.ends(stream=s)) for s, _ in outcomes))
        sentences = [Text(scenario.what), Text(scenario.ending.why)] if width >= _WIDE else []
        table.add_row(scenario.name, ending, _mark(played), *sentences)
    return table


def _mark(outcomes: Sequence[Outcome]) -> Text:
    if not any(outcome.problems for outcome in outcomes):
        return Text("ok", "green")
    return Text("SURPRISE", "red")


def _surprises(outcomes: _Outcomes, console: Console) -> int:
    """Prints what did not end as the table says; returns how many scenarios."""
    surprised: set[str] = set()
    for (stream, backend), results in outcomes.items():
        for outcome in results:
            if outcome.problems:
                name, what = outcome.scenario.name, "; ".join(outcome.problems)
                surprised.add(name)
                console.print(Text(f"{name} ({_named(stream, backend)}): {what}"))
    return len(surprised)


def _summary(outcomes: _Outcomes, seconds: float) -> str:
    first = next(iter(outcomes.values()))
    right = sum(
        all(
            results[n].stop == "answer" and not results[n].problems for results in outcomes.values()
        )
        for n in range(len(first))
    )
    runs = sum(map(len, outcomes.values()))
    return (
        f"{pluralize(len(first), 'scenario')}, {pluralize(runs, 'run')} in {seconds:.0f} s: "
        f"{right} end in the right answer, the others in a typed stop or error"
    )
