"""The agent that works over a project: made for `agentkit run`, and again to go on with a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from agentkit.agent import Agent, Observer
from agentkit.cli.choose import UsageError, choose_model, project_tools, start_notices
from agentkit.cli.people import Person, asker
from agentkit.cli.show import Printer
from agentkit.journal import SQLiteJournal
from agentkit.messages import ModelSettings
from agentkit.policy import Limits, Preset, preset
from agentkit.redaction import public_address
from agentkit.trace import JOURNAL, runs_directory

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
        model: As `--model`.
        model_name: As `--model-name`.
        settings: Of the agent.
        max_steps: Of the agent.
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
