"""`agentkit conversations`: the conversations that a journal keeps, under their names.

In: a journal. Out: a list, those in which something was said, or one of them told. Going on with
one and forking one is `agentkit chat`. Only `delete` changes what is kept.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from agentkit.cli.chat import told
from agentkit.cli.options import JournalPlace
from agentkit.cli.runs import refuse
from agentkit.cli.terminal import print_rows
from agentkit.errors import AgentKitError
from agentkit.trace import Library, moment
from agentkit.wording import pluralize, printable

conversations = typer.Typer(
    help="Look at the conversations that are kept, search them, delete one.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A conversation's name.")]


@conversations.command("list")
def list_conversations(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show this many.")] = 20,
    journal: JournalPlace = None,
) -> None:
    """List the conversations, the one that was gone on with last first.

    Exit codes: 0 listed, 1 the journal cannot be read, 2 nothing is kept.
    """
    _list("", limit, journal)


@conversations.command()
def search(
    text: Annotated[str, typer.Argument(help="What was said, in capitals or not.")],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show this many.")] = 20,
    journal: JournalPlace = None,
) -> None:
    """List the conversations in which something was said, by you, the model or a tool.

    Exit codes: 0 listed, 1 the journal cannot be read, 2 nothing is kept.
    """
    _list(text, limit, journal)


def _list(holding: str, limit: int, journal: str | None) -> None:
    try:
        found = Library(journal=journal).conversations(limit, holding=holding)
    except AgentKitError as error:
        refuse(error)
    rows = [
        [
            Text(printable(each.name), style="cyan"),
            Text(moment(each.changed, "%m-%d %H:%M"), style="dim"),
            Text(str(len(each.questions))),
            Text(printable(" ".join(" · ".join(each.questions).split()))),
        ]
        for each in found
    ]
    print_rows(Console(), ("conversation", "changed", "turns", "asked"), rows, numbers=("turns",))


@conversations.command()
def show(name: Name, journal: JournalPlace = None) -> None:
    """Tell a conversation, and which runs its turns are.

    Exit codes: 0 shown, 1 the journal cannot be read, 2 no such conversation.
    """
    try:
        found = Library(journal=journal).conversation(name)
    except AgentKitError as error:
        refuse(error)
    console = Console()
    for text, style in told(found.messages):
        console.print(Text(printable(text), style=style), soft_wrap=True)
    console.print(Text(f"runs: {', '.join(map(printable, found.turns))}", style="dim"))


@conversations.command()
def delete(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Conversations.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    journal: JournalPlace = None,
) -> None:
    """Delete conversations for good, with the runs of all their turns.

    Exit codes: 0 deleted, 1 one is at work or not decided on, 2 no such conversation.
    """
    library = Library(journal=journal)
    if not yes:
        typer.confirm(f"Delete {', '.join(names)} for good?", abort=True, err=True)
    for name in names:
        try:
            deleted = library.delete_conversation(name)
        except AgentKitError as error:
            refuse(error)
        typer.echo(f"deleted {name}, {pluralize(deleted, 'turn')}")
