"""`agentkit run`: one question, answered over a project directory."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console

from agentkit.agent import Agent, Observer
from agentkit.cli.choose import UsageError
from agentkit.cli.options import (
    Allow,
    JournalFile,
    MaxSteps,
    MaxTokens,
    ModelName,
    ModelUrl,
    Project,
    Seed,
    Temperature,
    Thinking,
)
from agentkit.cli.project import Assignment, default_journal
from agentkit.cli.show import Printer
from agentkit.errors import AgentKitError, JournalError
from agentkit.events import Event, RunFinished, RunResult, RunStarted
from agentkit.journal import SQLiteJournal
from agentkit.messages import ModelSettings
from agentkit.trace import RunFiles, TraceError, runs_directory


def run(
    question: Annotated[str, typer.Argument(help="What to find out or do.")],
    project: Project = Path(),
    model: ModelUrl = None,
    model_name: ModelName = None,
    thinking: Thinking = None,
    temperature: Temperature = None,
    seed: Seed = None,
    max_tokens: MaxTokens = None,
    max_steps: MaxSteps = 30,
    allow: Allow = "read-only",
    journal: JournalFile = None,
) -> None:
    """Answer a question or do a task over a project directory, by default with read-only tools.

    The answer goes to standard output; thoughts, tool calls and notices to standard error.
    The key of a guarded server is read from AGENTKIT_API_KEY. The run is kept in a journal; if it
    does not come to its end, `agentkit runs resume` goes on with it.

    Exit codes: 0 answered, 1 the server failed, 2 wrong usage, 3 ended without an answer,
    130 stopped by Ctrl-C.
    """
    printer = Printer(Console(), Console(stderr=True))
    assignment = Assignment(
        project=project.absolute(),
        model=model,
        model_name=model_name,
        settings=ModelSettings(
            temperature=temperature, seed=seed, max_tokens=max_tokens, thinking=thinking
        ),
        max_steps=max_steps,
        allow=allow,
    )
    watched = Watched(journal)

    async def work() -> RunResult:
        if not question.strip():
            raise UsageError("the question is empty; say what to find out or do")
        with _kept(journal, assignment, printer) or nullcontext() as kept:
            watched.kept = kept is not None
            agent = assignment.agent(watched.observers, printer)
            return await _show(agent, question, printer, kept)

    raise typer.Exit(perform(work, watched, printer))


class Watched:
    """Remembers the run's id, also of a run that did not end well.

    Args:
        journal: As `--journal`.

    Attributes:
        kept: Whether a journal keeps the run; otherwise it is written to a file.
    """

    def __init__(self, journal: Path | None = None) -> None:
        self.journal = journal
        directory = runs_directory()
        self.files = RunFiles(directory) if directory else None
        self.run_id = ""
        self.more_steps = 0
        self.kept = False

    @property
    def observers(self) -> list[Observer]:
        """Of the run."""
        return [self, *([self.files] if self.files and not self.kept else [])]

    def where(self) -> str:
        """What a command needs to find the run."""
        return f" --journal {shlex.quote(str(self.journal))}" if self.journal else ""

    def options(self) -> str:
        """What `agentkit runs resume` needs to come further than the run did."""
        return self.where() + (f" --max-steps {self.more_steps}" if self.more_steps else "")

    def __call__(self, run_id: str, event: Event) -> None:
        """Takes an event."""
        if isinstance(event, RunStarted):
            self.run_id = run_id
        if isinstance(event, RunFinished) and event.result.stop_reason == "steps":
            self.more_steps = 2 * event.result.steps


def perform(work: Callable[[], Awaitable[RunResult]], watched: Watched, printer: Printer) -> int:
    """Runs to the end and says what is to be said; the exit code."""
    code = 1
    try:
        code = conclude(anyio.run(work), printer)
    except (UsageError, TraceError) as error:
        printer.line(f"agentkit: {error}", "red")
        code = 2
    except AgentKitError as error:
        printer.line(f"agentkit: {error}", "red")
    except KeyboardInterrupt:
        printer.line("agentkit: stopped", "yellow")
        code = 130
    finally:
        printer.end_line()
    if watched.run_id and watched.kept:
        named = watched.run_id + watched.where()
        printer.line(f"look at it with: agentkit runs show {named}", "dim")
        if code:
            again = watched.run_id + watched.options()
            printer.line(f"go on with: agentkit runs resume {again}", "dim")
    elif watched.files and (file := watched.files.path(watched.run_id)).is_file():
        printer.line(f"run file: {file}", "dim")
    return code


def _kept(path: Path | None, assignment: Assignment, printer: Printer) -> SQLiteJournal | None:
    """The journal: the named one must work, the default one would only be nice to have."""
    chosen = path or default_journal()
    if chosen is None:
        return None
    try:
        return SQLiteJournal(chosen, labels=assignment.labels())
    except JournalError as error:
        if path is not None:
            raise
        printer.line(f"agentkit: this run cannot be resumed: {error}", "yellow")
        return None


async def _show(
    agent: Agent, question: str, printer: Printer, journal: SQLiteJournal | None
) -> RunResult:
    result: RunResult | None = None
    async for event in agent.stream(question, journal=journal):
        printer(event)
        if isinstance(event, RunFinished):
            result = event.result
    assert result is not None, "a stream that does not raise ends with RunFinished"
    await agent.aclose()
    return result


def conclude(result: RunResult, printer: Printer) -> int:
    """Says why there is no answer, if there is none; the exit code."""
    printer.end_line()
    if result.stop_reason == "answer":
        return 0
    printer.line(f"agentkit: no answer: {result.explanation}", "yellow")
    return 3
