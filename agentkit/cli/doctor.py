"""`agentkit doctor`: is this server, or this machine, right for agents, and what to change."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console
from rich.text import Text

from agentkit.cli.options import ModelName, Project
from agentkit.cli.terminal import print_hanging
from agentkit.errors import AgentKitError
from agentkit.serving.doctor import PROBES, Diagnosis, Finding, examine, examine_machine

_STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red"}
_WIDTH = max(len(probe.name) for probe in PROBES) + 2
_INDENT = 6 + _WIDTH


def doctor(
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL | sandbox]",
            help="Address of the server. Default: AGENTKIT_BASE_URL, and without that this "
            "machine. Or sandbox: what of the sandbox for commands holds on this machine.",
            show_default=False,
        ),
    ] = None,
    model_name: ModelName = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")
    ] = False,
    project: Project = Path(),
    require: Annotated[
        str | None,
        typer.Option(help="Fail unless the server has this fingerprint; --json tells it."),
    ] = None,
) -> None:
    """Ask a live server everything that agents rely on, and say what to change.

    Some eighty short requests: they cost seconds, and nothing on the server changes. The key of a
    guarded server is read from AGENTKIT_API_KEY.

    Without an address it looks at this machine: Python, extras, vLLM, GPU, disk, port.
    agentkit doctor sandbox looks at the sandbox and at --project instead, and asks no server.

    Exit codes: 0 nothing failed, 1 something did, 2 wrong usage, 3 no server answers.
    """
    for examination in entry_points(group="agentkit.examinations", name=url or ""):
        raise typer.Exit(_look_at(examination.load(), project, as_json))
    address = url or os.environ.get("AGENTKIT_BASE_URL")
    if not address:
        raise typer.Exit(_look_at(lambda _project: examine_machine(), project, as_json))
    console = Console(stderr=as_json)
    try:
        diagnosis = anyio.run(examined, address, model_name, console)
    except AgentKitError as error:
        console.print(Text(f"agentkit: {error}", "red"), soft_wrap=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(diagnosis.to_json(), indent=2))
    if require is not None and diagnosis.fingerprint != require:
        said = f"agentkit: the server's fingerprint is {diagnosis.fingerprint}, not {require}"
        console.print(Text(said, "red"), soft_wrap=True)
        raise typer.Exit(1)
    raise typer.Exit(diagnosis.exit_code)


async def examined(url: str, model: str | None, console: Console) -> Diagnosis:
    """Examines a server and prints each finding as it is made.

    Args:
        url: Its address.
        model: The served name; default: its first.
        console: Where to.

    Raises:
        ServerNotReadyError: The address is none.
    """
    asks = {probe.name: probe.asks for probe in PROBES}
    names = list(asks)
    with console.status("Is there a server?") as status:

        def tell(found: Finding) -> None:
            _tell(console, found)
            following = names.index(found.probe) + 1 if found.probe in asks else 0
            status.update(asks[names[following]] if following < len(names) else "")

        key = os.environ.get("AGENTKIT_API_KEY")
        diagnosis = await examine(url, model=model, api_key=key, tell=tell)
    console.print(_summary(diagnosis), soft_wrap=True)
    return diagnosis


def _look_at(
    examine_here: Callable[[Path], Iterable[Finding]], project: Path, as_json: bool
) -> int:
    """Examines this machine rather than a server; the exit code."""
    console = Console(stderr=as_json)
    findings: list[Finding] = []
    try:
        for found in examine_here(project):
            findings.append(found)
            _tell(console, found)
    except (AgentKitError, NotADirectoryError) as error:
        console.print(Text(f"agentkit: {error}", "red"), soft_wrap=True)
        return 2
    if as_json:
        typer.echo(json.dumps([asdict(found) for found in findings], indent=2))
    return int(any(found.verdict == "fail" for found in findings))


def _tell(console: Console, found: Finding) -> None:
    print_hanging(console, _line(found), _INDENT)
    if found.remedy and found.verdict != "pass":
        print_hanging(console, Text(f"{'':{_INDENT}}{found.remedy}", "cyan"), _INDENT)


def _line(found: Finding) -> Text:
    line = Text(f"{found.verdict:6}", _STYLES[found.verdict])
    return line.append(f"{found.probe:{_WIDTH}}", "bold").append(found.says, "default not bold")


def _summary(diagnosis: Diagnosis) -> Text:
    if not diagnosis.reachable:
        return Text(f"\nNo server answers at {diagnosis.url}.", "bold red")
    counted = [found.verdict for found in diagnosis.findings]
    said = ", ".join(f"{counted.count(v)} {v}" for v in ("pass", "warn", "fail"))
    verdict = {
        "pass": "ready for agents",
        "warn": "usable; agentkit works around what it warns of",
        "fail": "agents will suffer from what failed",
    }[diagnosis.verdict]
    told = f"\n{diagnosis.url}: {said}: {verdict}. Fingerprint {diagnosis.fingerprint}."
    return Text(told, _STYLES[diagnosis.verdict])
