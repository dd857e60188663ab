"""BFCL's multi-turn categories: a user who asks for one thing after another, and a small world.

Protocol: no system prompt; a reply without calls ends the user's turn; a turn of more than 20 steps
with calls ends the conversation. A case is passed when after every turn the world's state equals
that of the gold calls and their results are among what the agent's calls returned. The package is
`bfcl-eval` (Apache-2.0); nothing of it is imported here, see `child.py`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agentkit import Limits, Tool, ToolError, Toolset
from agentkit.messages import JsonObject
from agentkit.schema.feedback import Problem
from agentkit.toolset import Arguments, ToolOptions
from agentkit_evals.bfcl.install import VERSION, installed_folder
from agentkit_evals.bfcl.schema import definition_of
from agentkit_evals.core import (
    Case,
    EvalError,
    Grade,
    Session,
    Suite,
    SuiteError,
    Transcript,
    Trial,
    Turn,
)
from agentkit_evals.isolated import Child, ChildPool

__all__ = ["CATEGORIES", "BfclSuite"]

CATEGORIES: Final = ("base", "miss_param", "miss_func", "long_context")
"""The multi-turn categories, 200 cases each."""

_STEPS: Final = 21
"""Model calls of a turn: upstream gives a turn up after its 21st step with calls."""

_LIMITS: Final = ("steps", "tool_calls", "tokens", "seconds", "cost")

_CHILD: Final = Path(__file__).with_name("child.py")


class BfclSuite:
    """One multi-turn category.

    Args:
        category: One of `CATEGORIES`, with or without `multi_turn_` before it.

    Raises:
        EvalError: There is no such category.
    """

    def __init__(self, category: str = "base") -> None:
        short = category.removeprefix("multi_turn_")
        if short not in CATEGORIES:
            known = ", ".join(f"multi_turn_{name}" for name in CATEGORIES)
            raise EvalError(f"BFCL has no category {category!r} here; there are {known}")
        self._category = f"multi_turn_{short}"
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._children = ChildPool(self._start)
        self._listed: JsonObject | None = None

    @property
    def name(self) -> str:
        """`bfcl:` and the category."""
        return f"bfcl:{self._category}"

    async def cases(self) -> Sequence[Case]:
        """All 200, each with the backends that it needs as tags; see `Suite.cases`."""
        listed = await self._list()
        return [
            Case(
                name,
                tuple(tuple((call[0], call[1]) for call in turn) for turn in gold),
                tuple(listed["tags"][name]),
            )
            for name, gold in listed["cases"].items()
        ]

    async def about(self) -> dict[str, str]:
        """The package's version and the hash of the category's files."""
        return {"bfcl-eval": VERSION, **(await self._list())["about"]}

    @asynccontextmanager
    async def open(self, trial: Trial) -> AsyncGenerator[Session]:
        """A world in a child process, of this trial alone."""
        async with self._children.child() as child:
            opened = await child.ask({"do": "open", "case": trial.case.id})
            yield _BfclSession(child, opened["turns"])

    async def aclose(self) -> None:
        """Ends the child processes."""
        self._children.close()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    async def _list(self) -> JsonObject:
        if self._listed is None:
            async with self._children.child() as child:
                self._listed = await child.ask({"do": "cases"})
        return self._listed

    def _start(self) -> Child:
        folder = installed_folder()
        if folder is None:
            raise EvalError(
                f"bfcl-eval {VERSION} is not installed: agentkit eval suites install bfcl"
            )
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="agentkit-bfcl-")
        scratch = self._scratch.name
        command = [sys.executable, "-I", "-S", str(_CHILD), str(folder), self._category, scratch]
        return Child(command, scratch)


class _BfclSession:
    def __init__(self, child: Child, turns: Sequence[JsonObject]) -> None:
        self._child = child
        self._turns = turns
        self._tools: dict[str, Tool[..., Any]] = {}

    async def next_turn(self, transcript: Transcript) -> Turn | None:
        """The user's next words, whatever the agent said; None after the last."""
        number = len(transcript.turns)
        ended = transcript.turns and transcript.turns[-1].stop_reason in _LIMITS
        if number == len(self._turns) or ended:
            return None
        await self._child.ask({"do": "turn", "turn": number})
        turn = self._turns[number]
        for document in turn["new"]:
            made = _tool(self._child, document)
            self._tools[made.name] = made
        return Turn(
            text=turn["text"], tools=Toolset(self._tools.values()), limits=Limits(steps=_STEPS)
        )

    async def grade(self, transcript: Transcript) -> Grade:  # noqa: ARG002 - the world knows what was done
        """Upstream's own verdict."""
        verdict = await self._child.ask({"do": "grade"})
        return Grade(
            passed=verdict["valid"],
            error=verdict["error_type"],
            idle_turns=verdict["idle_turns"],
            overcalled=verdict["overcalled"],
            details={"executed": verdict["executed"]},
        )


def _tool(child: Child, document: JsonObject) -> Tool[..., Any]:
    definition = definition_of(document)
    made = Tool.from_schema(
        definition.name,
        definition.description,
        definition.parameters,
        partial(_call, child, document["name"]),
        # Calls of one reply act on one world: in the order of the reply, one after another.
        options=ToolOptions(lock=_one_world),
        place=f"{document['name']!r} of BFCL",
    )
    return replace(made, signature=_Lenient(made.signature))


def _one_world(arguments: Mapping[str, Any]) -> str:  # noqa: ARG001 - the same for all
    return "world"


@dataclass(frozen=True, slots=True)
class _Lenient:
    """Mends what is certain and lets the rest through: what a function says of wrong arguments is
    part of the world, as upstream has it (one gold call passes text for an integer).
    """

    strict: Arguments

    def check(self, arguments: JsonObject) -> dict[str, Any] | list[Problem]:
        """The arguments, mended or as they are."""
        checked = self.strict.check(arguments)
        return dict(arguments) if isinstance(checked, list) else checked

    def call_arguments(
        self, values: Mapping[str, Any], injected: object
    ) -> tuple[list[Any], dict[str, Any]]:
        """As for any tool of a schema."""
        return self.strict.call_arguments(values, injected)


async def _call(child: Child, name: str, /, **arguments: Any) -> str:
    try:
        answer = await child.ask({"do": "call", "name": name, "arguments": arguments})
    except SuiteError as error:
        # The session fails at its next question; until then the model is told.
        raise ToolError(str(error)) from error
    result: str = answer["result"]
    return result


if TYPE_CHECKING:
    _: Suite = BfclSuite()
