"""BFCL's `memory_kv`: questions about what a user said in earlier conversations.

Protocol: first the agent has all conversations of a scenario, each begun anew, and keeps what it
finds important in a store of keys and values; then it is asked one question. The answer is graded
by upstream's `agentic_checker`: the last text must contain one of the right words. Upstream has the
conversations of a scenario once and asks all questions about one memory, so that a single mishap
costs them all. Here each trial has its own conversations, as trials are independent of each other.
That takes some 24 times the model calls; `--limit` with `--shuffle`, and `--tag`, reduce them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agentkit import Limits, Toolset
from agentkit.errors import install
from agentkit.messages import JsonObject
from agentkit_evals.bfcl.category import (
    LIMITS,
    ONLY_THESE_TOOLS,
    STEPS,
    BfclCategory,
    gold_calls,
)
from agentkit_evals.bfcl.suite import world_tool
from agentkit_evals.core import Case, EvalError, Grade, Session, Suite, Transcript, Trial, Turn
from agentkit_evals.isolated import Child
from agentkit_evals.scorers import answer_of

MEMORY: Final = "memory_kv"
"""Upstream's name of the category. Its other memory categories need a model that ranks texts, or
keep a single text."""


class BfclMemorySuite(BfclCategory):
    """The category `MEMORY`."""

    def __init__(self) -> None:
        super().__init__(MEMORY, "memory_child.py")

    async def cases(self) -> Sequence[Case]:
        """All 155, each with its scenario as a tag."""
        listed = await self._list()
        return [
            Case(
                name,
                gold_calls(gold),
                tuple(listed["tags"][name]),
                answer=listed["answers"][name],
            )
            for name, gold in listed["cases"].items()
        ]

    @asynccontextmanager
    async def open(self, trial: Trial) -> AsyncGenerator[Session]:
        """An empty memory in a child process, of this trial alone."""
        async with self._pool.child() as child:
            opened = await child.ask({"do": "open", "case": trial.case.id})
            yield _MemorySession(child, opened["functions"])

    def _arguments(self) -> list[str]:
        """The folder that numpy is in: the package ranks keys with it."""
        found = importlib.util.find_spec("numpy")
        if found is None or found.origin is None:
            raise EvalError(f"{MEMORY} needs numpy, of the extra `evals`: {install('evals')}")
        return [str(Path(found.origin).parents[1])]


class _MemorySession:
    def __init__(self, child: Child, functions: Sequence[JsonObject]) -> None:
        self._child = child
        self._tools = Toolset(world_tool(child, document) for document in functions)
        self._instructions: str | None = None

    async def next_turn(self, transcript: Transcript) -> Turn | None:
        given_up = bool(transcript.turns) and transcript.turns[-1].stop_reason in LIMITS
        said = await self._child.ask({"do": "next", "given_up": given_up})
        if said.get("over"):
            return None
        self._instructions = said.get("instructions", self._instructions)
        return Turn(
            text=said["text"],
            tools=self._tools,
            context=ONLY_THESE_TOOLS,
            instructions=self._instructions,
            limits=Limits(steps=STEPS),
            new_conversation=said["new"],
        )

    async def grade(self, transcript: Transcript) -> Grade:
        answer = answer_of(transcript)
        verdict = await self._child.ask({"do": "grade", "answer": answer})
        return Grade(
            passed=verdict["valid"], error=verdict["error_type"], details={"answer": answer}
        )


if TYPE_CHECKING:
    _: type[Suite] = BfclMemorySuite
    _session: type[Session] = _MemorySession
