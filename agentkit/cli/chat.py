"""`agentkit chat`: a conversation in the terminal, with approvals, kept on disk."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from pydantic import ValidationError
from rich.console import Console

from agentkit.agent import Agent, Cancellation
from agentkit.cli.assignment import Assignment
from agentkit.cli.config import UsageError
from agentkit.cli.options import (
    AgentName,
    Allow,
    McpFile,
    ModelName,
    ModelUrl,
    Project,
    Thinking,
)
from agentkit.cli.person import Ask, Person, asker
from agentkit.cli.terminal import Printer
from agentkit.errors import AgentKitError
from agentkit.events import RunFinished
from agentkit.messages import Message, ModelSettings, dump_messages, load_messages
from agentkit.policy import Grant, Policy
from agentkit.trace import runs_directory
from agentkit.trace.library import open_private

HELP = """\
/help            this page
/new             a new conversation
/thinking on|off let the model think first
/save FILE       a copy of the conversation as JSON
/exit            leave (also Ctrl-D); Ctrl-C stops an answer"""


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
        str | None, typer.Option(help='A saved conversation to go on with, or "last".')
    ] = None,
) -> None:
    """Talk with an agent over a project directory.

    Thoughts are dim, tool calls are shown as they run, and with --allow ask a call that writes or
    executes asks first; what you permit for further calls holds until /new. The conversation is
    saved after each answer; --resume goes on with one.
    """
    printer = Printer(Console(), Console(stderr=True))
    try:
        folder = _folder()
        messages = _load(folder, resume) if resume else []
        lines = asker(folder / "typed.txt")
        person = Person(lines, printer)
        assignment = Assignment(
            project=project.absolute(),
            model=model,
            model_name=model_name,
            settings=ModelSettings(thinking=thinking),
            allow=allow,
            agent=agent,
            mcp=mcp.absolute() if mcp else None,
        ).meant(context)
        talking, notices = assignment.build(person, ())
        for line in notices:
            printer.line(line, "dim")
        talk = Chat(lines, printer, folder / f"{time.strftime('%Y%m%d-%H%M%S')}.json")
        talk.messages = messages
        talk.policy, talk.grants = talking.policy, person.grants
        anyio.run(talk.run, talking)
    except AgentKitError as error:
        printer.line(f"agentkit: {error}", "red")
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None


class Chat:
    """One conversation.

    Args:
        ask: Where lines come from.
        printer: Where everything goes.
        file: Where the conversation is kept.

    Attributes:
        messages: The conversation so far.
        policy: What the agent goes by; None for its own.
        grants: What the person has permitted beyond it, for the rest of the conversation.
    """

    def __init__(self, ask: Ask, printer: Printer, file: Path) -> None:
        self._ask = ask
        self._printer = printer
        self._file = file
        self.messages: list[Message] = []
        self.policy: Policy | None = None
        self.grants: list[Grant] = []
        self._thinking: bool | None = None

    async def run(self, agent: Agent[Any, str]) -> None:
        """Reads and answers until there is no more to read."""
        self._printer.line("Ask something; /help shows what else you can type.", "dim")
        while True:
            try:
                line = (await self._ask("> ")).strip()
            except (EOFError, KeyboardInterrupt):
                break
            if line.startswith("/"):
                if not self._command(line):
                    break
            elif line:
                await self._answer(agent, line)
        await agent.aclose()

    async def _answer(self, agent: Agent[Any, str], line: str) -> None:
        cancellation = Cancellation()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_cancel_on_interrupt, cancellation)
                await self._show(agent, line, cancellation)
                group.cancel_scope.cancel()
        except* AgentKitError as errors:
            self._printer.line(str(errors.exceptions[0]), "red")
        finally:
            self._printer.end_line()
        self._saved(self._file)

    async def _show(self, agent: Agent[Any, str], line: str, cancellation: Cancellation) -> None:
        settings = ModelSettings(thinking=self._thinking)
        if self.policy is not None:
            agent = agent.override(policy=Policy(*self.grants) + self.policy)
        events = agent.stream(
            line, history=self.messages, settings=settings, cancellation=cancellation
        )
        async for event in events:
            self._printer(event)
            if isinstance(event, RunFinished):
                self.messages = list(event.result.messages)
                if event.result.stop_reason not in ("answer", "error"):  # an error is raised too
                    self._printer.line(f"no answer: {event.result.explanation}", "yellow")

    def _command(self, line: str) -> bool:
        """Obeys a command; False ends the chat."""
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word in ("/exit", "/quit"):
            return False
        if word == "/new":
            self.messages = []
            self.grants.clear()
            self._file = self._file.with_name(f"{time.strftime('%Y%m%d-%H%M%S')}.json")
        elif word == "/thinking" and rest in ("on", "off"):
            self._thinking = rest == "on"
        elif word == "/save" and rest:
            if self._saved(Path(rest)):
                self._printer.line(f"saved to {rest}", "dim")
        else:
            self._printer.line(HELP)
        return True

    def _saved(self, target: Path) -> bool:
        """Whether the conversation could be kept; a full disk does not end it."""
        try:
            _save(target, self.messages)
        except OSError as error:
            self._printer.line(f"not saved: {error}", "red")
            return False
        return True


async def _cancel_on_interrupt(cancellation: Cancellation) -> None:
    """Ctrl-C ends the answer, not the chat."""
    with anyio.open_signal_receiver(signal.SIGINT) as interrupts:
        async for _ in interrupts:
            cancellation.cancel()


def _folder() -> Path:
    runs = runs_directory()
    folder = (runs.parent if runs else Path.home() / ".local" / "state" / "agentkit") / "chats"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _save(file: Path, messages: list[Message]) -> None:
    """Written beside and moved into place, so that a crash leaves the old or the new one."""
    beside = file.with_name(f"{file.name}.tmp")
    with open_private(beside) as draft:
        draft.truncate(0)
        draft.write(dump_messages(messages))
    os.replace(beside, file)


def _load(folder: Path, name: str) -> list[Message]:
    if name == "last":
        saved = sorted(folder.glob("*.json"))
        if not saved:
            raise UsageError(f"--resume last: no conversation is kept in {folder}")
        file = saved[-1]
    else:
        file = Path(name)
    try:
        return load_messages(file.read_bytes())
    except OSError as error:
        raise UsageError(
            f"--resume {name}: {error.strerror}; name a file that /save wrote, or one in {folder}"
        ) from None
    except ValidationError:
        raise UsageError(f"--resume: {file} is not a saved conversation") from None
