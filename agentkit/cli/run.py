"""`agentkit run`: one question, answered over a project directory; and `agentkit runs resume`,
which goes on with a run that died, stopped or was stopped.

In: a question and options, or the id of a run whose journal kept them as its `Assignment`. Out: the
answer on standard output, and an exit code. Nothing that is recorded is asked or run again.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from pydantic import JsonValue, TypeAdapter, ValidationError
from rich.console import Console

from agentkit.agent import Agent, Observer
from agentkit.cli.options import (
    Allow,
    JournalFile,
    MaxSteps,
    MaxTokens,
    ModelName,
    ModelUrl,
    Project,
    RunName,
    Seed,
    Temperature,
    Thinking,
    UsageError,
    choose_model,
    project_tools,
    start_notices,
)
from agentkit.cli.terminal import Person, Printer, asker
from agentkit.errors import AgentKitError, JournalError
from agentkit.events import Event, RunFinished, RunResult, RunStarted, TextDelta
from agentkit.journal import RunOpened, SQLiteJournal
from agentkit.messages import ModelSettings
from agentkit.policy import Limits, Preset, preset
from agentkit.redaction import public_address
from agentkit.trace import JOURNAL, Library, RunFiles, TraceError, runs_directory


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
        journal: The value of `--journal`.

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
        return [self, *([self.files] if self.files and not self.kept else [])]

    def where(self) -> str:
        """What a command needs to find the run."""
        return f" --journal {shlex.quote(str(self.journal))}" if self.journal else ""

    def options(self) -> str:
        """What `agentkit runs resume` needs to come further than the run did."""
        return self.where() + (f" --max-steps {self.more_steps}" if self.more_steps else "")

    def __call__(self, run_id: str, event: Event) -> None:
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


def resume(
    run: RunName,
    model: ModelUrl = None,
    model_name: ModelName = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Most model calls, instead of the run's own.")
    ] = None,
    journal: JournalFile = None,
) -> None:
    """Go on with a run of `agentkit run` that died, failed or reached a limit.

    It works over the same project with the same options. Nothing that is recorded is asked or run
    again; a tool whose outcome a crash hid is not started again, and the model is told so.

    Exit codes: 0 answered, 1 the server or the journal failed, 2 wrong usage, 3 ended without an
    answer, 130 stopped by Ctrl-C.
    """
    printer = Printer(Console(), Console(stderr=True))
    watched, shown = Watched(journal), _Shown(printer)

    async def work() -> RunResult:
        with open_journal(journal) as kept:
            run_id = Library(journal=kept.path).newest() if run == "last" else run
            assignment = Assignment.from_labels(await _labels(kept, run_id))
            if model or model_name:
                assignment = replace(assignment, model=model, model_name=model_name)
            watched.kept = True
            agent = assignment.agent([*watched.observers, shown], printer)
            limits = Limits(steps=max_steps) if max_steps else None
            result = await agent.resume(run_id, journal=kept, limits=limits)
        if not shown.answered and result.stop_reason == "answer":  # it was recorded already
            printer(TextDelta(str(result.said)))
            printer.end_line()
        await agent.aclose()
        return result

    raise typer.Exit(perform(work, watched, printer))


async def _labels(journal: SQLiteJournal, run_id: str) -> Mapping[str, JsonValue]:
    """What a run was labelled with when it began.

    Raises:
        UsageError: The journal has no such run.
    """
    examined = await journal.examine(run_id)
    if not examined.records and not examined.damage:
        raise UsageError(
            f"the journal {journal.path} has no run {run_id}; agentkit runs list shows what it has"
        )
    entries = (record.entry for record in examined.records)
    return next((entry.labels for entry in entries if isinstance(entry, RunOpened)), {})


class _Shown:
    """Prints events; remembers whether an answer was among them."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self.answered = False

    def __call__(self, run_id: str, event: Event) -> None:  # noqa: ARG002 - an observer's shape
        self.answered = self.answered or isinstance(event, TextDelta)
        self._printer(event)


# --- what the command line said of a run ---------------------------------------------------------


INSTRUCTIONS = (
    "You answer questions about the files of a project. "
    "Look things up with the tools before you answer."
)

_CHANGING = (
    "You work on the files of a project. Look things up with the tools before you change anything, "
    "change only what the task needs, and check the result, for example by running the tests. "
    "At the end say in short what you did."
)


def instructions_for(allow: Preset) -> str:
    """What the model is told of its work: the demonstration model knows only the first text."""
    return INSTRUCTIONS if allow == "read-only" else _CHANGING


LABEL = "assignment"
"""The label of a run under which the journal keeps its `Assignment`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What the command line said of a run; the journal keeps it, without the server's key.

    Attributes:
        project: The directory, absolute.
        model: The value of `--model`.
        model_name: The value of `--model-name`.
        settings: The agent's settings.
        max_steps: Most model calls of the agent.
        allow: What it may do.
    """

    project: Path
    model: str | None
    model_name: str | None
    settings: ModelSettings
    max_steps: int
    allow: Preset = "read-only"

    def agent(self, observers: Iterable[Observer], printer: Printer) -> Agent[Any, str]:
        """The agent; unless it only reads, it asks whoever sits at the terminal.

        Raises:
            UsageError: The model or the project is not to be had.
            AgentKitError: There is no sandbox for the tools that need one.
        """
        for line in start_notices(self.project, self.allow):
            printer.line(line, "dim")
        person = Person(asker(), printer) if self.allow != "read-only" else None
        return Agent(
            choose_model(self.model, self.model_name, self.allow),
            instructions=instructions_for(self.allow),
            tools=project_tools(self.project, self.allow),
            settings=self.settings,
            limits=Limits(steps=self.max_steps),
            policy=preset(self.allow),
            approve=person.decide if person else None,
            ask=person.answer if person else None,
            observers=observers,
        )

    def labels(self) -> dict[str, JsonValue]:
        """As a run's labels; without what an address holds of secrets."""
        shown = public_address(self.model) if self.model else None
        return {LABEL: _adapter().dump_python(replace(self, model=shown), mode="json")}

    @staticmethod
    def from_labels(labels: Mapping[str, Any]) -> Assignment:
        """What `labels` returned.

        Raises:
            UsageError: The run has no such label.
        """
        try:
            return _adapter().validate_python(labels.get(LABEL))
        except ValidationError:
            raise UsageError(
                "this run was not started by agentkit run; "
                "resume it from its own program: agent.resume(run_id, journal=...)"
            ) from None


def _adapter() -> TypeAdapter[Assignment]:
    return TypeAdapter(Assignment)


def default_journal() -> Path | None:
    """Beside the run files; None where these are turned off."""
    directory = runs_directory()
    return directory / JOURNAL if directory else None


def open_journal(path: Path | None) -> SQLiteJournal:
    """The journal of `--journal`, which must be there, or the default one.

    Raises:
        UsageError: There is none.
        JournalError: The file is something else.
    """
    chosen = path or default_journal()
    if chosen is None:
        raise UsageError("AGENTKIT_RUNS is off, so no runs are kept; name a file with --journal")
    if not chosen.is_file():
        raise UsageError(f"there is no journal {chosen}; agentkit run --journal PATH writes one")
    return SQLiteJournal(chosen)
