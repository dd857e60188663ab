"""`agentkit run`: one question, answered over a project directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console

from agentkit.agent import Agent
from agentkit.cli.choose import UsageError, choose_model, project_tools
from agentkit.cli.options import (
    Allow,
    MaxSteps,
    MaxTokens,
    ModelName,
    ModelUrl,
    Project,
    Seed,
    Temperature,
    Thinking,
)
from agentkit.cli.people import Person, asker
from agentkit.cli.show import Printer
from agentkit.errors import AgentKitError
from agentkit.events import Event, RunFinished, RunResult, RunStarted
from agentkit.messages import ModelSettings
from agentkit.policy import Limits, Preset, preset
from agentkit.trace import RunFiles, runs_directory

__all__ = ["INSTRUCTIONS", "instructions_for", "run"]

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
) -> None:
    """Answer a question or do a task over a project directory, by default with read-only tools.

    The answer goes to standard output; thoughts, tool calls and notices to standard error.
    The key of a guarded server is read from AGENTKIT_API_KEY.

    Exit codes: 0 answered, 1 the server failed, 2 wrong usage, 3 ended without an answer,
    130 stopped by Ctrl-C.
    """
    printer = Printer(Console(), Console(stderr=True))
    settings = ModelSettings(
        temperature=temperature, seed=seed, max_tokens=max_tokens, thinking=thinking
    )
    directory = runs_directory()
    files = RunFiles(directory) if directory else None
    watched = _Watched()
    code = 1
    person = Person(asker(), printer) if allow == "ask" else None
    try:
        agent = Agent(
            choose_model(model, model_name, allow),
            instructions=instructions_for(allow),
            tools=project_tools(project, allow),
            settings=settings,
            limits=Limits(steps=max_steps),
            policy=preset(allow),
            approve=person.decide if person else None,
            ask=person.answer if person else None,
            observers=[watched, *([files] if files else [])],
        )
        result = anyio.run(_show, agent, question, printer)
        code = _conclude(result, printer)
    except UsageError as error:
        printer.line(f"agentkit: {error}", "red")
        code = 2
    except AgentKitError as error:
        printer.line(f"agentkit: {error}", "red")
    except KeyboardInterrupt:
        printer.line("agentkit: stopped", "yellow")
        code = 130
    if files and watched.run_id:
        printer.line(f"run file: {files.path(watched.run_id)}", "dim")
    raise typer.Exit(code)


class _Watched:
    """Remembers the run's id, also of a run that did not end well."""

    run_id = ""

    def __call__(self, run_id: str, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.run_id = run_id


async def _show(agent: Agent, question: str, printer: Printer) -> RunResult:
    result: RunResult | None = None
    async for event in agent.stream(question):
        printer(event)
        if isinstance(event, RunFinished):
            result = event.result
    assert result is not None, "a stream that does not raise ends with RunFinished"
    await agent.aclose()
    return result


def _conclude(result: RunResult, printer: Printer) -> int:
    printer.end_line()
    if result.stop_reason == "answer":
        return 0
    printer.line(f"agentkit: no answer: {result.explanation}", "yellow")
    return 3
