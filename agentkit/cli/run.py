"""`agentkit run` answers one question with the agent over a project directory or with an agent of
the user's own; `agentkit runs resume` goes on with a run that died, failed or was stopped.

In: a question and options, or the id of a run in whose journal they are kept. Out: the answer on
standard output, or a JSON document with it, and an exit code. Nothing that is recorded is asked or
run again.

An `Assignment` is what a command line says about the agent. A run keeps it in its labels, from
which `agentkit runs resume` makes the agent again.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python
from rich.console import Console

from agentkit.agent import Agent, Observer
from agentkit.cli.editor import Above, lines_from_here
from agentkit.cli.options import (
    AgentName,
    Allow,
    JournalPlace,
    MaxSteps,
    MaxTokens,
    McpFile,
    ModelName,
    ModelUrl,
    OtherModelName,
    OtherModelUrl,
    Project,
    RunName,
    Seed,
    Temperature,
    Thinking,
    UsageError,
    choose_model,
    find_agent,
    is_explicit,
    path_and_name,
    preview_of,
    project_tools,
    start_notices,
)
from agentkit.cli.terminal import Person, Printer
from agentkit.errors import AgentKitError, JournalError, ToolDefinitionError
from agentkit.events import Event, RunFinished, RunResult, RunStarted, TextDelta
from agentkit.journal import RunOpened, StoredJournal, is_address, journal_at
from agentkit.messages import ModelSettings
from agentkit.models import Model
from agentkit.policy import Limits, Preset, preset
from agentkit.redaction import public_address
from agentkit.toolset import Toolset, ToolSource
from agentkit.trace import JOURNAL, Library, RunFiles, TraceError, runs_directory


def run(
    context: typer.Context,
    question: Annotated[
        str | None,
        typer.Argument(help="What to find out or do; - or none: it is read from standard input."),
    ] = None,
    project: Project = Path(),
    model: ModelUrl = None,
    model_name: ModelName = None,
    agent: AgentName = None,
    mcp: McpFile = None,
    thinking: Thinking = None,
    temperature: Temperature = None,
    seed: Seed = None,
    max_tokens: MaxTokens = None,
    max_steps: MaxSteps = None,
    allow: Allow = "read-only",
    journal: JournalPlace = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One JSON document on standard output: output, stop_reason, explanation, usage, "
            "steps, run_id, error, exit_code.",
        ),
    ] = False,
) -> None:
    """Answer a question or do a task, over a project directory or with an agent of your own.

    Over a project the tools only read, unless --allow says otherwise. The answer goes to standard
    output; reasoning, tool calls and notices to standard error. The key of a guarded server is read
    from AGENTKIT_API_KEY. The run is kept in a journal; if it does not come to its end, `agentkit
    runs resume` goes on with it.

    Exit codes: 0 answered, 1 the server failed, 2 wrong usage, 3 ended without an answer,
    130 stopped by Ctrl-C.
    """
    err = Console(stderr=True)
    printer = Printer(err if as_json else Console(file=sys.stdout), err)
    watched = Watched(journal)

    async def work() -> RunResult[Any]:
        asked = _question(question)
        assignment = Assignment(
            project=project.absolute(),
            model=model,
            model_name=model_name,
            settings=ModelSettings(
                temperature=temperature, seed=seed, max_tokens=max_tokens, thinking=thinking
            ),
            max_steps=max_steps,
            allow=allow,
            agent=agent,
            mcp=mcp.absolute() if mcp else None,
        ).resolved(context)
        with kept_in(journal, assignment, printer) or nullcontext() as kept:
            watched.kept = kept is not None
            async with _ready(assignment, watched, printer) as working:
                return await _show(working, asked, assignment.run_options(), printer, kept)

    code = perform(work, watched, printer)
    if as_json:
        typer.echo(json.dumps(watched.document(code)))
    raise typer.Exit(code)


def _question(given: str | None) -> str:
    """The question: the given one, or what standard input holds if it is `-` or None.

    Raises:
        UsageError: There is no question.
    """
    question = given
    if question is None or question == "-":
        if sys.stdin is None or (question is None and sys.stdin.isatty()):
            raise UsageError('no question given; write agentkit run "...", or pipe one in')
        try:
            question = sys.stdin.read()
        except UnicodeDecodeError as error:
            raise UsageError(f"standard input is no text: {error}") from None
    if not question.strip():
        raise UsageError("the question is empty; say what to find out or do")
    return question


@asynccontextmanager
async def _ready(
    assignment: Assignment, watched: Watched, printer: Printer
) -> AsyncGenerator[Agent[Any, Any]]:
    """Opens the agent of an assignment and prints the notices about it.

    If its calls may need decisions, the person at the terminal is asked.
    """
    person = None
    if assignment.allow != "read-only":
        lines = lines_from_here([Above(sys.stdout)])
        preview = preview_of(assignment.project) if assignment.agent is None else None
        person = Person(lines.ask, printer, *([preview] if preview else []))
    async with assignment.opened(person, watched.observers) as (agent, notices):
        for line in notices:
            printer.words(line, "dim")
        yield agent


class Watched:
    """An observer that remembers a run's id and outcome, also if the run fails.

    Args:
        journal: The value of `--journal`.

    Attributes:
        files: Writes run files; None if these are turned off.
        run_id: The id of the run; empty until it starts.
        more_steps: A limit of steps by which to resume a run that reached its own; 0 otherwise.
        kept: Whether a journal keeps the run; otherwise it is written to a file.
        result: The result of the run.
        error: Why the run failed, in a sentence.
    """

    def __init__(self, journal: str | None = None) -> None:
        self.journal = journal
        directory = runs_directory()
        self.files = RunFiles(directory) if directory else None
        self.run_id = ""
        self.more_steps = 0
        self.kept = False
        self.result: RunResult[Any] | None = None
        self.error = ""

    @property
    def observers(self) -> list[Observer]:
        return [self, *([self.files] if self.files and not self.kept else [])]

    def where(self) -> str:
        """The options by which a command finds the run."""
        return f" --journal {shlex.quote(public_address(self.journal))}" if self.journal else ""

    def options(self) -> str:
        """The options by which `agentkit runs resume` gets further than the run did."""
        return self.where() + (f" --max-steps {self.more_steps}" if self.more_steps else "")

    def __call__(self, run_id: str, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.run_id = run_id
        if isinstance(event, RunFinished):
            self.result = event.result
            if event.result.stop_reason == "steps":
                self.more_steps = 2 * event.result.steps

    def document(self, code: int) -> dict[str, Any]:
        """The JSON document of `--json`; if nothing ran, only the error."""
        result = self.result
        return {
            "output": to_jsonable_python(result.said, fallback=str) if result else None,
            "stop_reason": result.stop_reason if result else None,
            "explanation": result.explanation if result else "",
            "usage": to_jsonable_python(result.usage) if result else None,
            "steps": result.steps if result else 0,
            "run_id": self.run_id or None,
            "error": self.error or None,
            "exit_code": code,
        }


def perform(
    work: Callable[[], Awaitable[RunResult[Any]]], watched: Watched, printer: Printer
) -> int:
    """Runs `work`, prints how it ended and how to go on, and returns the exit code.

    What an agent's own code prints goes to standard error: standard output has only the answer.
    """
    code = 1
    try:
        with redirect_stdout(sys.stderr):
            watched.result = anyio.run(work)
        code = conclude(watched.result, printer)
    except AgentKitError as error:
        watched.error = str(error)
        printer.line(f"agentkit: {error}", "red")
        code = 2 if isinstance(error, UsageError | TraceError | ToolDefinitionError) else 1
    except KeyboardInterrupt:
        watched.error = "stopped"
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


def kept_in(place: str | None, assignment: Assignment, printer: Printer) -> StoredJournal | None:
    """Opens the journal for a run; None if the default one cannot be used, which is no error."""
    chosen = place or default_journal()
    if chosen is None:
        return None
    try:
        return journal_at(chosen, labels=assignment.labels())
    except JournalError as error:
        if place is not None:
            raise
        printer.line(f"agentkit: what is said here is not kept: {error}", "yellow")
        return None


async def _show(
    agent: Agent[Any, Any],
    question: str,
    options: Mapping[str, Any],
    printer: Printer,
    journal: StoredJournal | None,
) -> RunResult[Any]:
    result: RunResult[Any] | None = None
    async for event in agent.stream(question, journal=journal, **options):
        printer(event)
        if isinstance(event, RunFinished):
            result = event.result
    assert result is not None, "a stream that does not raise ends with RunFinished"
    if result.typed:
        printer.answer(result)
    await agent.aclose()
    return result


def conclude(result: RunResult[Any], printer: Printer) -> int:
    """Prints why there is no answer, if there is none; returns the exit code."""
    printer.end_line()
    if result.stop_reason == "answer":
        return 0
    printer.line(f"agentkit: no answer: {result.explanation}", "yellow")
    return 3


def resume(
    run: RunName,
    model: OtherModelUrl = None,
    model_name: OtherModelName = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Most model calls, instead of the run's own.")
    ] = None,
    journal: JournalPlace = None,
) -> None:
    """Go on with a run of `agentkit run` that died, failed or reached a limit.

    It works over the same project with the same options. Nothing that is recorded is asked or run
    again; a tool whose outcome a crash hid is not started again, and the model is told so.

    Exit codes: 0 answered, 1 the server or the journal failed, 2 wrong usage, 3 ended without an
    answer, 130 stopped by Ctrl-C.
    """
    printer = Printer(Console(file=sys.stdout), Console(stderr=True))
    watched, shown = Watched(journal), _Shown(printer)

    async def work() -> RunResult[Any]:
        with open_journal(journal) as kept:
            place = journal or default_journal()
            run_id = Library(journal=place).newest() if run == "last" else run
            assignment = Assignment.from_labels(await _labels(kept, run_id))
            if model or model_name:
                assignment = replace(
                    assignment, model=model, model_name=model_name, other_model=True
                )
            watched.kept = True
            limits = Limits(steps=max_steps) if max_steps else None
            async with _ready(assignment, watched, printer) as agent:
                watching = agent.override(more_observers=[shown])
                result = await watching.resume(run_id, journal=kept, limits=limits)
                await agent.aclose()
        if result.stop_reason == "answer" and (result.typed or not shown.answered):
            printer.answer(result)  # it was recorded already, or is no text
        return result

    raise typer.Exit(perform(work, watched, printer))


async def _labels(journal: StoredJournal, run_id: str) -> Mapping[str, JsonValue]:
    """The labels that a run was given when it began.

    Raises:
        UsageError: The journal has no such run.
    """
    examined = await journal.examine(run_id)
    if not examined.records and not examined.damage:
        raise UsageError(
            f"the journal {journal.where} has no run {run_id}; agentkit runs list shows what it has"
        )
    entries = (record.entry for record in examined.records)
    return next((entry.labels for entry in entries if isinstance(entry, RunOpened)), {})


class _Shown:
    """Prints events, and remembers whether answer text was among them."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self.answered = False

    def __call__(self, run_id: str, event: Event) -> None:  # noqa: ARG002 - an observer's shape
        self.answered = self.answered or isinstance(event, TextDelta)
        self._printer(event)


def default_journal() -> Path | None:
    """The path of the default journal, beside the run files; None if these are turned off."""
    directory = runs_directory()
    return directory / JOURNAL if directory else None


def open_journal(place: str | None) -> StoredJournal:
    """Opens the existing journal of `--journal`, or the default one.

    Raises:
        UsageError: There is none.
        JournalError: It is no journal, or cannot be reached.
    """
    chosen = place or default_journal()
    if chosen is None:
        raise UsageError("AGENTKIT_RUNS is off, so no runs are kept; name a file with --journal")
    if not is_address(chosen) and not Path(chosen).is_file():
        raise UsageError(f"there is no journal {chosen}; agentkit run --journal PATH writes one")
    return journal_at(chosen)


# --- the assignment of an agent ------------------------------------------------------------------

INSTRUCTIONS = (
    "You answer questions about the files of a project. "
    "Look things up with the tools before you answer."
)
"""The only instructions that the demonstration model was trained with."""

_CHANGING = (
    "You work on the files of a project. Look things up with the tools before you change anything, "
    "change only what the task needs, and check the result, for example by running the tests. "
    "At the end say in short what you did."
)

LABEL = "assignment"
"""The label of a run under which the journal keeps its `Assignment`."""

_STEPS = 30
"""Most model calls over a project, unless `--max-steps` says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What the command line says about a run; the journal keeps it, without the server's key.

    Attributes:
        project: The directory, absolute.
        model: The value of `--model`.
        model_name: The value of `--model-name`.
        settings: The settings that the options make.
        max_steps: Most model calls of the agent; None for the agent's own limits.
        allow: What it may do; None for the agent's own policy.
        agent: The value of `--agent`; None for the agent over the project.
        mcp: The value of `--mcp`, absolute.
        other_model: Whether the model replaces the own one of `agent`.
    """

    project: Path
    model: str | None
    model_name: str | None
    settings: ModelSettings = field(default_factory=ModelSettings)
    max_steps: int | None = _STEPS
    allow: Preset | None = "read-only"
    agent: str | None = None
    mcp: Path | None = None
    other_model: bool = False

    def resolved(self, context: typer.Context) -> Assignment:
        """The assignment after the options of a command are combined.

        With an agent of the user's own, only options on the command line override its code: a
        variable or the file is for agents without a model and a policy.

        Raises:
            UsageError: The options contradict each other.
        """
        if self.mcp is not None and self.allow == "read-only" and self.agent is None:
            raise UsageError(
                f"--mcp {self.mcp}: what these tools do is not known, so read-only refuses "
                "them all; add --allow ask and decide on each call, or --allow full"
            )
        if self.agent is None:
            return self if self.max_steps else replace(self, max_steps=_STEPS)
        path, name = path_and_name(self.agent)
        if path.endswith(".py"):  # so that it is found from another directory too
            path = str(Path(path).absolute())
        own = self.settings
        return replace(
            self,
            agent=f"{path}:{name}" if name else path,
            settings=own if is_explicit(context, "thinking") else replace(own, thinking=None),
            allow=self.allow if is_explicit(context, "allow") else None,
            other_model=is_explicit(context, "model") or is_explicit(context, "model_name"),
        )

    # --- the agent -------------------------------------------------------------------------------

    @asynccontextmanager
    async def opened(
        self, person: Person | None, observers: Iterable[Observer]
    ) -> AsyncGenerator[tuple[Agent[Any, Any], list[str]]]:
        """Makes the agent, and yields it with the notices to print before it works, a line each.

        MCP servers stay connected for the length of the block.

        Args:
            person: Decides and answers if the agent has nobody of its own for it.
            observers: Watch its runs, beside its own observers.

        Raises:
            UsageError: The model, the project or the agent cannot be found.
            AgentKitError: There is no sandbox for the tools that need one.
        """
        async with AsyncExitStack() as stack:
            more = [await stack.enter_async_context(server) for server in self._servers()]
            yield self._built(person, observers, more)

    def _built(
        self, person: Person | None, observers: Iterable[Observer], more: Sequence[ToolSource]
    ) -> tuple[Agent[Any, Any], list[str]]:
        decide, answer = (person.decide, person.answer) if person else (None, None)
        if self.agent is not None:
            found = find_agent(self.agent, self._model, self.project, other_model=self.other_model)
            agent = found.override(
                policy=preset(self.allow) if self.allow else None,
                approve=found.approve or decide,
                ask=found.ask or answer,
                more_observers=observers,
                more_toolsets=more,
            )
            return agent, start_notices(self.project) if _may_run_commands(agent) else []
        allow = self.allow or "read-only"
        agent = Agent(
            self._model(),
            instructions=INSTRUCTIONS if allow == "read-only" else _CHANGING,
            tools=project_tools(self.project, allow),
            toolsets=more,
            settings=self.settings,
            limits=Limits(steps=self.max_steps),
            policy=preset(allow),
            approve=decide,
            ask=answer,
            observers=observers,
        )
        return agent, start_notices(self.project) if allow != "read-only" else []

    def run_options(self) -> dict[str, Any]:
        """The options of each run of the agent."""
        if self.agent is None:  # they are the agent's own already
            return {}
        options: dict[str, Any] = {"settings": self.settings}
        return options | ({"limits": Limits(steps=self.max_steps)} if self.max_steps else {})

    def _model(self) -> Model:
        return choose_model(self.model, self.model_name, self.allow or "read-only")

    def _servers(self) -> list[Any]:
        if self.mcp is None:
            return []
        try:
            from agentkit.mcp import McpToolset  # noqa: PLC0415 - an extra, and half a second

            return [McpToolset.from_config(self.mcp, prefix=True)]
        except OSError as error:
            raise UsageError(f"--mcp {self.mcp}: {error.strerror}; name a JSON file") from None
        except (ImportError, ValueError) as error:
            raise UsageError(f"--mcp: {error}") from None

    # --- as labels -------------------------------------------------------------------------------

    def labels(self) -> dict[str, JsonValue]:
        """The assignment as labels of a run, without secrets in the address."""
        shown = public_address(self.model) if self.model else None
        return {LABEL: _adapter().dump_python(replace(self, model=shown), mode="json")}

    @staticmethod
    def from_labels(labels: Mapping[str, Any]) -> Assignment:
        """The assignment in labels of a run; secrets of the address come from the environment.

        Raises:
            UsageError: The run has no such label.
        """
        try:
            found = _adapter().validate_python(labels.get(LABEL))
        except ValidationError:
            raise UsageError(
                "this run was not started by agentkit run; "
                "resume it from its own program: agent.resume(run_id, journal=...)"
            ) from None
        address = os.environ.get("AGENTKIT_BASE_URL")
        if address and found.model in (None, public_address(address)):
            return replace(found, model=address)
        return found


def _may_run_commands(agent: Agent[Any, Any]) -> bool:
    """Whether a tool is declared to run commands, or the tools are not known before a run."""
    tools = agent.tools
    return not isinstance(tools, Toolset) or any("exec" in tool.options.labels for tool in tools)


def _adapter() -> TypeAdapter[Assignment]:
    return TypeAdapter(Assignment)
