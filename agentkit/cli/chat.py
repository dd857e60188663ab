"""`agentkit chat` is a conversation in the terminal, with approvals; each turn is a run in the
journal. `agentkit conversations` lists, searches, shows and deletes the conversations of a journal.

Nothing that is typed or said is lost: Ctrl-C stops an answer and keeps its text so far, a line
stays until it is sent, and lines that are typed ahead are sent after the answer. Only
`conversations delete` removes anything from the journal.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, cast

import anyio
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

import agentkit
from agentkit.agent import Agent, Cancellation
from agentkit.agent.run import new_run_id
from agentkit.cli.editor import PROMPT, Above, EditedLines, Lines, PlainLines, lines_from_here
from agentkit.cli.options import (
    AgentName,
    Allow,
    JournalPlace,
    McpFile,
    ModelName,
    ModelUrl,
    Project,
    Thinking,
    UsageError,
    preview_of,
)
from agentkit.cli.run import Assignment, kept_in
from agentkit.cli.runs import refuse
from agentkit.cli.streams import log_file, unexpected, write_private
from agentkit.cli.terminal import Person, Printer, print_rows
from agentkit.errors import AgentKitError, JournalError, first_error
from agentkit.events import ContextUse, ModelCalled, RunFinished, StepStarted
from agentkit.journal import StoredJournal
from agentkit.messages import (
    STOPPED,
    AssistantMessage,
    Message,
    ModelRequest,
    ModelSettings,
    UserMessage,
    dump_messages,
    load_messages,
    text_of,
)
from agentkit.models import CountsPrompts, Model, VLLMModel
from agentkit.policy import Grant, Policy
from agentkit.redaction import public_address
from agentkit.toolset import RunContext
from agentkit.trace import Library, moment, runs_directory, said_by, said_in
from agentkit.wording import pluralize, printable

_COMMANDS: Final[Mapping[str, str]] = {
    "/help": "this page",
    "/tools": "what the agent can do",
    "/context": "what fills the model's window",
    "/rules": "what you have permitted for further calls",
    "/history": "the conversation so far",
    "/new": "a new conversation; what you permitted is forgotten",
    "/thinking on|off": "let the model think first",
    "/save FILE": "a copy of the conversation as JSON",
    "/exit": "leave",
}
_KEYS: Final[Mapping[str, str]] = {
    "Enter": "send; while an answer runs, send it afterwards",
    "Alt-Enter": "a new line, and so does a backslash before Enter",
    "Ctrl-C": "stop the answer; what there is of it stays",
    "Ctrl-D": "leave, on an empty line",
    "Tab": "complete a command",
}
_WIDTH: Final = max(map(len, _COMMANDS))
COMPLETED: Final = [
    *(name.partition(" ")[0] for name in _COMMANDS if "|" not in name),
    "/thinking on",
    "/thinking off",
]
_LISTED: Final = "agentkit conversations list shows those there"

_SHOWN: Final = 20
"""Messages that are shown of a resumed conversation; /history shows all."""


def chat(
    context: typer.Context,
    project: Project = Path(),
    model: ModelUrl = None,
    model_name: ModelName = None,
    agent: AgentName = None,
    mcp: McpFile = None,
    thinking: Thinking = None,
    allow: Allow = "read-only",
    resume: Annotated[
        str | None,
        typer.Option(help='Go on with a conversation: its name, "last", or a file of /save.'),
    ] = None,
    fork: Annotated[
        str | None,
        typer.Option(help="Begin a new one with all that was said by the end of a run, by its id."),
    ] = None,
    journal: JournalPlace = None,
) -> None:
    """Talk with an agent over a project directory, or with one of your own.

    Reasoning is dim, tool calls are shown as they run, and with --allow ask a call that writes or
    executes asks first; what you permit for further calls holds until /new. Each turn is a run of
    the journal, kept as it happens; --resume shows a conversation and goes on with it. /help says
    what you can type.

    Exit codes: 0 you left, 1 the agent is not to be had, 2 wrong usage.
    """
    out, err = Above(sys.stdout), Above(sys.stderr)
    try:
        if resume and fork:
            raise UsageError("--resume goes on with a conversation, --fork begins one: give one")
        assignment = Assignment(
            project=project.absolute(),
            model=model,
            model_name=model_name,
            settings=ModelSettings(thinking=thinking),
            allow=allow,
            agent=agent,
            mcp=mcp.absolute() if mcp else None,
        ).resolved(context)
        status = Status()
        lines = lines_from_here([out, err], COMPLETED, status.line, _history_file())
        # The status below an edited line counts the seconds already.
        printer = Printer(_console(out), _console(err), waits=not isinstance(lines, EditedLines))
        preview = preview_of(assignment.project) if assignment.agent is None else None
        person = Person(lines.ask, printer, *([preview] if preview else []))
        with kept_in(journal, assignment, printer) or nullcontext() as kept:
            talk = Chat(printer, kept, status)
            if resume and resume != "last" and Path(resume).is_file():
                talk.messages, resume = _load(Path(resume)), None
            anyio.run(_talk, talk, assignment, lines, person, resume, fork)
    except AgentKitError as error:
        typer.echo(f"agentkit: {printable(str(error))}", err=True)
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None


async def _talk(
    talk: Chat,
    assignment: Assignment,
    lines: Lines,
    person: Person,
    resume: str | None,
    fork: str | None,
) -> None:
    await talk.take_up(resume, fork)
    async with assignment.opened(person, ()) as (agent, notices):
        await talk.begin(agent, assignment, notices)
        talk.policy, talk.grants = agent.policy, person.grants
        await talk.run(agent, lines)


@dataclass(slots=True)
class Status:
    """The status below the line at which a person types.

    Attributes:
        model: The model's name.
        allow: The preset.
        window: Tokens of the model's window; None if it is not known.
        tokens: Tokens of the newest prompt.
        began: When the running step began, by the monotonic clock; None while nothing runs.
    """

    model: str = ""
    allow: str = ""
    window: int | None = None
    tokens: int = 0
    began: float | None = None

    def line(self) -> str:
        """The whole status, the most important first, as a narrow terminal cuts the rest."""
        facts = [self.filled(), self.allow, self.model]
        if self.began is not None:
            facts.insert(0, f"{time.monotonic() - self.began:.0f} s, Ctrl-C stops")
        return " | ".join(filter(None, facts))

    def filled(self) -> str:
        """How much of the window is used."""
        if not self.window:
            return f"{self.tokens:,} tokens" if self.tokens else ""
        share = f" ({100 * self.tokens / self.window:.0f} %)" if self.tokens else ""
        return f"{self.tokens:,} of {self.window:,} tokens{share}"


class Chat:
    """One conversation.

    Args:
        printer: Prints everything.
        journal: Keeps the conversation; None if nothing does.
        status: Kept up to date.

    Attributes:
        name: The name of the conversation in the journal.
        messages: The conversation so far.
        policy: The agent's policy; None if it has none.
        grants: What the person has permitted beyond it, for the rest of the conversation.
    """

    def __init__(self, printer: Printer, journal: StoredJournal | None, status: Status) -> None:
        self._printer = printer
        self._journal = journal
        self._status = status
        self.name = new_run_id()
        self.messages: list[Message] = []
        self.policy: Policy | None = None
        self.grants: list[Grant] = []
        self._thinking: bool | None = None
        self._use = ContextUse()

    async def take_up(self, resume: str | None, fork: str | None) -> None:
        """Takes up an earlier conversation, if one is named.

        Args:
            resume: The name of a conversation to go on with, or `last`.
            fork: The id of a run; the new conversation begins with all that was said by its end.

        Raises:
            UsageError: There is none.
        """
        if resume:
            names = await self._journal.conversations() if self._journal else []
            found = names[:1] if resume == "last" else [each for each in names if each == resume]
            if self._journal is None or not found:
                raise UsageError(f"--resume {resume}: there is none; {_LISTED}")
            self.name, self.messages = found[0], await said_in(self._journal, found[0])
        elif fork:
            self.messages = await said_by(self._journal, fork) if self._journal else []
            if not self.messages:
                raise UsageError(f"--fork {fork}: there is no such run; {_LISTED}")

    async def begin(
        self, agent: Agent[Any, Any], assignment: Assignment, notices: Sequence[str]
    ) -> None:
        """Prints the model, the project and the window, and then what was said before."""
        status = self._status
        status.allow = assignment.allow or "its own policy"
        problem = ""
        try:
            status.window = await _window_of(agent.model)
        except AgentKitError as error:
            problem = str(error)
        address = assignment.model if assignment.agent is None or assignment.other_model else None
        status.model = agent.model.name
        window = f"{status.window:,} tokens" if status.window else "window unknown"
        facts = [
            f"agentkit {agentkit.__version__}",
            agent.model.name,
            *([public_address(address)] if address and address != agent.model.name else []),
            assignment.agent or str(assignment.project),
            status.allow,
            window,
        ]
        self._printer.words(" · ".join(facts), "bold")
        for line in notices:
            self._printer.words(line, "dim")
        if problem:
            self._printer.words(f"{problem} You can type all the same.", "yellow")
        self._show_history(_SHOWN)

    async def run(self, agent: Agent[Any, Any], lines: Lines) -> None:
        """Reads and answers until there is no more input."""
        self._printer.line("Ask something; /help shows what else you can type.", "dim")
        while True:
            try:
                line = (await lines.message()).strip()
            except EOFError:
                break
            except KeyboardInterrupt:
                continue
            if line.startswith("/"):
                if not await self._command(agent, line):
                    break
            elif line:
                await self._answer(agent, lines, line)
                if isinstance(lines, PlainLines):
                    self._printer.line(self._status.filled(), "dim")
        await agent.aclose()

    async def _answer(self, agent: Agent[Any, Any], lines: Lines, line: str) -> None:
        cancellation = Cancellation()
        try:
            async with (
                lines.while_answering(cancellation.cancel),
                anyio.create_task_group() as group,
            ):
                group.start_soon(_cancel_on_interrupt, cancellation)
                await self._show(agent, line, cancellation)
                group.cancel_scope.cancel()
        except* JournalError as errors:
            self._printer.line(f"not kept from here on: {first_error(errors)}", "red")
            self._journal = None
        except* AgentKitError as errors:
            self._printer.line(str(first_error(errors)), "red")
        except* Exception as errors:  # noqa: BLE001  of the agent's own code; the conversation goes on
            self._printer.line(unexpected(errors, log_file()), "red")
        finally:
            self._status.began = None
            self._printer.end_line()

    async def _show(self, agent: Agent[Any, Any], line: str, cancellation: Cancellation) -> None:
        settings = ModelSettings(thinking=self._thinking)
        if self.policy is not None:
            agent = agent.override(policy=Policy(*self.grants) + self.policy)
        events = agent.stream(
            line,
            history=self.messages,
            settings=settings,
            cancellation=cancellation,
            journal=self._journal,
            conversation=self.name if self._journal is not None else None,
        )
        async for event in events:
            self._printer(event)
            if isinstance(event, StepStarted):
                self._status.began = time.monotonic()
            elif isinstance(event, ModelCalled):
                self._status.tokens = event.response.usage.input_tokens or self._status.tokens
            elif isinstance(event, RunFinished):
                result = event.result
                self.messages, self._use = list(result.messages), result.context
                self._status.window = result.context.window or self._status.window
                if result.typed and result.stop_reason == "answer":
                    self._printer.answer(result)
                if result.stop_reason not in ("answer", "error"):  # an error is raised too
                    self._printer.line(f"no answer: {result.explanation}", "yellow")

    # --- commands --------------------------------------------------------------------------------

    async def _command(self, agent: Agent[Any, Any], line: str) -> bool:
        """Carries out a command; returns False to end the chat."""
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        say = self._printer.line
        simple: Mapping[str, Callable[[], object]] = {
            "/new": self._forget,
            "/context": self._show_context,
            "/rules": lambda: say("\n".join(self._rules()) or "nothing beyond the policy"),
            "/history": lambda: self._show_history(len(self.messages)),
            "/help": self._help,
        }
        if word in simple:
            simple[word]()
        elif word == "/tools":
            await self._show_tools(agent)
        elif word == "/thinking" and rest in ("on", "off"):
            self._thinking = rest == "on"
        elif word == "/save" and rest:
            self._save(Path(rest))
        elif word not in ("/exit", "/quit"):
            say(f"{line}: there is no such command; there are {', '.join(_COMMANDS)}", "yellow")
        return word not in ("/exit", "/quit")

    def _help(self) -> None:
        for name, does in {**_COMMANDS, **_KEYS}.items():
            self._printer.words(f"{name:{_WIDTH}}  {does}", indent=_WIDTH + 2)

    def _rules(self) -> list[str]:
        return [f"{grant.tool} on {grant.target}" for grant in self.grants]

    def _forget(self) -> None:
        self.messages, self._use, self._status.tokens = [], ContextUse(), 0
        self.grants.clear()
        self.name = new_run_id()
        self._printer.line("a new conversation", "dim")

    async def _show_tools(self, agent: Agent[Any, Any]) -> None:
        async with agent.tools.for_run(RunContext(None, "chat")) as tools:
            for tool in tools:
                first = next(iter(tool.definition.description.splitlines()), "")
                labels = ", ".join(sorted(tool.labels)) or "touches nothing"
                self._printer.line(f"{tool.name} ({labels}): {first}")

    def _show_context(self) -> None:
        use = self._use
        self._printer.line(self._status.filled() or "nothing yet")
        for name, tokens in use.parts.items():
            if tokens:
                self._printer.line(f"  {name} {tokens:,}")
        if use.compact_at:
            self._printer.line(f"  old results are cleared from {use.compact_at:,} tokens on")
        gone = {"shortened": len(use.shortened), "cleared": len(use.cleared)}
        for how, count in gone.items():
            if count:
                self._printer.line(f"  {pluralize(count, 'result')} {how}")
        if use.dropped:
            self._printer.line(f"  {pluralize(use.dropped, 'old message')} left out")

    def _show_history(self, most: int) -> None:
        rows = list(conversation_lines(self.messages))
        if len(rows) > most:
            left_out = pluralize(len(rows) - most, "message")
            self._printer.line(f"… {left_out} before these; /history shows all", "dim")
        for text, style in rows[-most:] if most else ():
            self._printer.line(text, style)

    def _save(self, target: Path) -> None:
        try:
            write_private(target, dump_messages(self.messages))
        except OSError as error:
            self._printer.line(f"not saved: {error}", "red")
        else:
            self._printer.line(f"saved to {target}", "dim")


def conversation_lines(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    """Yields the texts of a conversation as they were shown, each with its style."""
    for message in messages:
        if isinstance(message, UserMessage):
            yield f"{PROMPT}{text_of(message.content)}", "bold"
        elif isinstance(message, AssistantMessage):
            if message.content == STOPPED:  # a text for the model; a person saw another one
                yield "no answer: it was stopped here", "yellow"
            elif text := text_of(message.content).strip():
                yield text, ""
            for call in message.tool_calls:
                yield f"→ {call.name}", "cyan"


async def _window_of(model: Model) -> int | None:
    """Tokens of the model's window.

    Raises:
        ModelError: The server cannot be reached.
        ServerNotReadyError: It does not serve the model.
    """
    if isinstance(model, VLLMModel):
        return (await model.served()).max_model_len
    if isinstance(model, CountsPrompts):
        form = await model.prompt_form(ModelRequest((UserMessage("?"),)))
        return form.profile.context_window if form and form.profile else None
    return None


def _console(stream: Above) -> Console:
    return Console(file=cast("Any", stream))


async def _cancel_on_interrupt(cancellation: Cancellation) -> None:
    """Makes Ctrl-C end the answer, not the chat."""
    with anyio.open_signal_receiver(signal.SIGINT) as interrupts:
        async for _ in interrupts:
            cancellation.cancel()


def _history_file() -> Path:
    """The file of earlier lines, to which the arrow keys go back."""
    runs = runs_directory()
    folder = (runs.parent if runs else Path.home() / ".local" / "state" / "agentkit") / "chats"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / "typed.txt"


def _load(file: Path) -> list[Message]:
    try:
        return load_messages(file.read_bytes())
    except OSError as error:
        raise UsageError(f"--resume {file}: {error.strerror}") from None
    except ValidationError:
        raise UsageError(f"--resume: {file} is not a saved conversation") from None


# --- agentkit conversations ----------------------------------------------------------------------

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
    for text, style in conversation_lines(found.messages):
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
