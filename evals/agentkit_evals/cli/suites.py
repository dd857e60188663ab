"""`agentkit eval suites`: what can be run."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import typer

from agentkit_evals.bfcl import CATEGORIES, MEMORY, SINGLE, VERSION, install, installed_folder
from agentkit_evals.cli.shared import end, say

suites = typer.Typer(help="What can be run.", invoke_without_command=True)


_OWN: Final = {
    "project": "jobs on the files of a sample project",
    "schema": "parameters of every kind",
    "faults": "tools that fail, by kind of fault",
    "context": "facts that outlive long conversations",
    "tiny": "one step each, for CI with --model tiny",
}


@suites.callback()
def list_suites(context: typer.Context) -> None:
    """List the suites that come along, and whether what they need is installed."""
    if context.invoked_subcommand is not None:
        return
    ready = "ready" if installed_folder() else "not installed: agentkit eval suites install bfcl"
    for name, words in _OWN.items():
        typer.echo(f"{name:28}  {words}; ready")
    for category in CATEGORIES:
        typer.echo(f"{f'bfcl:multi_turn_{category}':28}  bfcl-eval {VERSION}; {ready}")
    for category in (*SINGLE, MEMORY):
        typer.echo(f"{f'bfcl:{category}':28}  bfcl-eval {VERSION}; {ready}")


@suites.command("install")
def install_suite(
    name: Annotated[Literal["bfcl"], typer.Argument(help="Which suite.")] = "bfcl",
) -> None:
    """Install what a suite is made of, without its dependencies, into a folder of its own.

    Exit codes: 0 installed, 2 pip failed.
    """

    async def main() -> int:
        typer.echo(f"{name}: {install(say)}")
        return 0

    end(main)
