"""`agentkit runs replay`: an agent again, offline, on what one of its runs recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console
from rich.text import Text

from agentkit.cli.choose import UsageError
from agentkit.cli.locate import find_agent
from agentkit.cli.options import JournalFile, RunName
from agentkit.errors import AgentKitError
from agentkit.runtime import ReplayReport
from agentkit.runtime import replay as replay_run
from agentkit.testing import ScriptedModel
from agentkit.trace import Library, TraceError, printable


def replay(
    run: RunName,
    agent: Annotated[
        str,
        typer.Option(
            "--agent",
            "-a",
            metavar="FILE.py:NAME",
            help="An Agent, or a function (model, project) -> Agent; also module:name. "
            "NAME is `agent` by default.",
        ),
    ],
    project: Annotated[Path, typer.Option(help="The directory that the agent works on.")] = Path(),
    journal: JournalFile = None,
) -> None:
    """Run an agent's own code again offline, its model and tools served from the record of a run.

    Nothing is called and nothing is run: prompt, tools, settings, policy, repairs and limits are
    those of the agent today. The first difference is shown with its step.

    Exit codes: 0 identical, 1 a difference or no journal that can be read, 2 no such run or agent.
    """
    console = Console()
    try:
        recording = Library(journal=journal).open(run).whole()
        events = [timed.event for timed in recording.events]
        found = find_agent(agent, ScriptedModel([]), project)
        report = anyio.run(replay_run, found, events)
    except AgentKitError as error:
        typer.echo(f"agentkit: {error}", err=True)
        raise typer.Exit(2 if isinstance(error, UsageError | TraceError) else 1) from None
    _show(report, console)
    raise typer.Exit(0 if report.identical else 1)


def _show(report: ReplayReport, console: Console) -> None:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in str(report).splitlines():
        style = colours.get(line[:1], "") if report.divergence is not None else ""
        console.print(Text(printable(line), style=style), soft_wrap=True)
