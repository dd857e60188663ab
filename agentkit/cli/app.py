"""The command's root: its options, its subcommands, and how errors end it.

Exit codes: 0 an answer, 1 the model or the server failed, 2 the command was used wrongly, 3 the run
ended without an answer (a limit, a cut or an empty reply), 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer

import agentkit
from agentkit.cli.chat import chat
from agentkit.cli.config import config_lines
from agentkit.cli.context import context_app
from agentkit.cli.conversations import conversations
from agentkit.cli.faults import faults
from agentkit.cli.journal import journal
from agentkit.cli.options import Allow, ModelName, ModelUrl, Project, Thinking
from agentkit.cli.run import resume, run
from agentkit.cli.runs import list_runs, replay, runs, show, view
from agentkit.cli.serve import doctor, serve
from agentkit.cli.tools import mcp, tools
from agentkit.cli.versions import lines_of, versions
from agentkit.cli.worker import worker
from agentkit.redaction import public_address

P = ParamSpec("P")
T = TypeVar("T")


def moved(command: Callable[P, T], old: str, new: str) -> Callable[P, T]:
    """A command under the name that it had before: it first says its new name on standard error.

    Args:
        command: What it does.
        old: Its name before, such as `agentkit resume`.
        new: Its name now.
    """

    @functools.wraps(command)
    def under_its_old_name(*arguments: P.args, **options: P.kwargs) -> T:
        typer.echo(f"{old} is now {new}; the old name goes with the next version", err=True)
        return command(*arguments, **options)

    return under_its_old_name


app = typer.Typer(
    name="agentkit",
    help="Agents on a Gemma 4 that you serve yourself with vLLM.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
trace = typer.Typer(help="The old name of `agentkit runs`.", no_args_is_help=True, hidden=True)
trace.command("list")(moved(list_runs, "agentkit trace list", "agentkit runs list"))
trace.command("show")(moved(show, "agentkit trace show", "agentkit runs show"))
trace.command("view")(moved(view, "agentkit trace view", "agentkit runs view"))

app.command()(run)
app.command()(chat)


@app.command()
def config(
    context: typer.Context,
    project: Project = Path(),
    model: ModelUrl = None,
    model_name: ModelName = None,
    thinking: Thinking = None,
    allow: Allow = "read-only",
) -> None:
    """Show what holds for run and chat, where each value comes from, and where the file is.

    An option goes before a variable of the environment, a variable before the file. The file is
    yours, outside of every project; one that lies in the project is not read.

    Exit codes: 0 shown, 2 the file cannot be read.
    """
    del project  # `use_config` has looked at it
    address = public_address(model) if model else None
    values = {"model": address, "model_name": model_name, "thinking": thinking, "allow": allow}
    for line in config_lines(context, values):
        typer.echo(line)


app.add_typer(runs, name="runs")
app.add_typer(conversations, name="conversations")
app.add_typer(context_app, name="context")
app.add_typer(journal, name="journal")
app.command()(worker)
app.command("resume", hidden=True)(moved(resume, "agentkit resume", "agentkit runs resume"))
app.command("replay", hidden=True)(moved(replay, "agentkit replay", "agentkit runs replay"))
app.add_typer(trace, name="trace", hidden=True)
app.command()(doctor)
app.command()(serve)
app.add_typer(tools, name="tools")
app.add_typer(mcp, name="mcp")
app.add_typer(faults, name="faults")


def add_installed(entry: EntryPoint) -> None:
    """Adds a command of a package beside the library, or a group of them that is a Typer of its
    own; a broken one must not break the others.
    """
    try:
        found = entry.load()
    except ImportError as error:
        typer.echo(f"agentkit: the command {entry.name} cannot be loaded: {error}", err=True)
        return
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=entry.name)
    else:
        app.command(entry.name)(found)


for _entry in entry_points(group="agentkit.commands"):
    add_installed(_entry)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="With --version: of Python, each dependency and extra, and vLLM too."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --version: as JSON, for programs.")
    ] = False,
) -> None:
    """Agents on a Gemma 4 that you serve yourself with vLLM."""
    if not version and (everything or as_json):
        raise typer.BadParameter(
            f"{'--all' if everything else '--json'} goes with --version", context
        )
    if not version:
        return
    found = versions()
    if as_json:
        shown = found if everything else {"agentkit": found["agentkit"]}
        typer.echo(json.dumps(shown, indent=2))
    elif everything:
        typer.echo("\n".join(lines_of(found)))
    else:
        typer.echo(f"agentkit {agentkit.__version__}")
    raise typer.Exit
