"""What a command line says of an agent, and the agent that it means: the one over a project
directory, or one of the user's own.

In: options. Out: an `Agent`, and the same options as labels of a run, from which
`agentkit runs resume` makes the agent again.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import typer
from pydantic import JsonValue, TypeAdapter, ValidationError

from agentkit.agent import Agent, Observer
from agentkit.cli.options import (
    UsageError,
    choose_model,
    find_agent,
    is_explicit,
    project_tools,
    start_notices,
)
from agentkit.cli.person import Person
from agentkit.messages import ModelSettings
from agentkit.models import Model
from agentkit.policy import Limits, Preset, preset
from agentkit.redaction import public_address
from agentkit.toolset import Toolset, ToolSource

INSTRUCTIONS = (
    "You answer questions about the files of a project. "
    "Look things up with the tools before you answer."
)
"""The demonstration model knows this text, and no other."""

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
    """What the command line said of a run; the journal keeps it, without the server's key.

    Attributes:
        project: The directory, absolute.
        model: The value of `--model`.
        model_name: The value of `--model-name`.
        settings: What the options say of replies.
        max_steps: Most model calls of the agent; None for the agent's own limits.
        allow: What it may do; None for the own policy of `agent`.
        agent: The value of `--agent`; None for the agent over the project.
        mcp: The value of `--mcp`, absolute.
        other_model: Whether the model takes the place of the own one of `agent`.
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

    def meant(self, context: typer.Context) -> Assignment:
        """What the options of a command mean together.

        With an agent of the user's own only what stands on the command line goes before its code:
        a variable or the file is meant for what has no model and no policy yet.

        Raises:
            UsageError: They do not go together.
        """
        if self.mcp is not None and self.allow == "read-only" and self.agent is None:
            raise UsageError(
                f"--mcp {self.mcp}: what these tools do is not known, so read-only refuses "
                "them all; add --allow ask and decide on each call, or --allow full"
            )
        if self.agent is None:
            return self if self.max_steps else replace(self, max_steps=_STEPS)
        path, colon, name = self.agent.partition(":")
        if path.endswith(".py"):  # to be found from another directory as well
            path = str(Path(path).absolute())
        own = self.settings
        return replace(
            self,
            agent=f"{path}{colon}{name}",
            settings=own if is_explicit(context, "thinking") else replace(own, thinking=None),
            allow=self.allow if is_explicit(context, "allow") else None,
            other_model=is_explicit(context, "model") or is_explicit(context, "model_name"),
        )

    # --- the agent -------------------------------------------------------------------------------

    @asynccontextmanager
    async def opened(
        self, person: Person | None, observers: Iterable[Observer]
    ) -> AsyncGenerator[tuple[Agent[Any, Any], list[str]]]:
        """The agent, and what is to be told before it works, a line each; MCP servers stay
        connected as long.

        Args:
            person: Who decides and answers where the agent has nobody of its own.
            observers: Watch its runs, beside its own observers.

        Raises:
            UsageError: The model, the project or the agent is not to be had.
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
        """What each run of the agent is given."""
        if self.agent is None:  # it is the agent's own already
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
        """As a run's labels; without what an address holds of secrets."""
        shown = public_address(self.model) if self.model else None
        return {LABEL: _adapter().dump_python(replace(self, model=shown), mode="json")}

    @staticmethod
    def from_labels(labels: Mapping[str, Any]) -> Assignment:
        """What `labels` returned; an address whose secrets are in the environment has them again.

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
    """Whether one of its tools is declared to, or which tools it will have is not known yet."""
    tools = agent.tools
    return not isinstance(tools, Toolset) or any("exec" in tool.options.labels for tool in tools)


def _adapter() -> TypeAdapter[Assignment]:
    return TypeAdapter(Assignment)
