"""BFCL's multi-turn categories: a user who asks for one thing after another, and a small world.

Protocol: no system prompt; a reply without calls ends the user's turn; a turn of more than 20 steps
with calls ends the conversation. A case is passed when after every turn the world's state equals
that of the gold calls and their results are among what the agent's calls returned. The package is
`bfcl-eval` (Apache-2.0); nothing of it is imported here, see `child.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agentkit import Limits, Tool, ToolError, Toolset
from agentkit.messages import JsonObject
from agentkit_evals.bfcl.children import BfclChildren
from agentkit_evals.bfcl.install import VERSION
from agentkit_evals.bfcl.tools import tool_of
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
from agentkit_evals.isolated import Child

__all__ = ["CATEGORIES", "BfclSuite"]

CATEGORIES: Final = ("base", "miss_param", "miss_func", "long_context")
"""The multi-turn categories, 200 cases each."""

_STEPS: Final = 21
"""Model calls of a turn: upstream gives a turn up after its 21st step with calls."""

_LIMITS: Final = ("steps", "tool_calls", "tokens", "seconds", "cost")


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
        self._children = BfclChildren("child.py", self._category)

    @property
    def name(self) -> str:
        """`bfcl:` and the category."""
        return f"bfcl:{self._category}"

    async def cases(self) -> Sequence[Case]:
        """All 200, each with the backends that it needs as tags; see `Suite.cases`."""
        listed = await self._children.listed()
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
        return {"bfcl-eval": VERSION, **(await self._children.listed())["about"]}

    @asynccontextmanager
    async def open(self, trial: Trial) -> AsyncGenerator[Session]:
        """A world in a child process, of this trial alone."""
        async with self._children.child() as child:
            opened = await child.ask({"do": "open", "case": trial.case.id})
            yield _BfclSession(child, opened["turns"])

    async def aclose(self) -> None:
        """Ends the child processes."""
        self._children.close()


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
    return tool_of(document, partial(_call, child, document["name"]))


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
