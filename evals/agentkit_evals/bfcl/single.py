"""BFCL's single-turn categories: one request, and the calls of the first reply.

Protocol: no system prompt but the case's own; the model replies once, and its calls are graded by
upstream's `ast_checker` against all answers that count as right, or by whether there are any
(`irrelevance`, `relevance`). Nothing is executed. Calls are graded as the model wrote them: one
that agentkit would repair counts as wrong, as it does upstream.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from agentkit import Limits, Toolset
from agentkit.messages import AssistantMessage, JsonObject, Message, UserMessage
from agentkit_evals.bfcl.category import ONLY_THESE_TOOLS, BfclCategory, gold_calls
from agentkit_evals.bfcl.tools import tool_of
from agentkit_evals.core import (
    Case,
    EvalError,
    Grade,
    Session,
    Suite,
    Transcript,
    Trial,
    Turn,
)
from agentkit_evals.isolated import Child

SINGLE: Final = (
    "simple_python",
    "simple_java",
    "simple_javascript",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
    "live_relevance",
)
"""Upstream's names of the categories."""


class BfclSingleSuite(BfclCategory):
    """One single-turn category.

    Args:
        category: One of `SINGLE`.

    Raises:
        EvalError: There is no such category.
    """

    def __init__(self, category: str) -> None:
        if category not in SINGLE:
            raise EvalError(
                f"BFCL has no category {category!r} here; there are {', '.join(SINGLE)}"
            )
        super().__init__(category, "single_child.py")

    async def cases(self) -> Sequence[Case]:
        """All cases; a few have no gold calls, since no call that we know of passes the checker."""
        listed = await self._list()
        return [
            Case(name, None if gold is None else gold_calls(gold), at_once=True)
            for name, gold in listed["cases"].items()
        ]

    @asynccontextmanager
    async def open(self, trial: Trial) -> AsyncGenerator[Session]:
        """A case, whose question and grade come from a child process."""
        async with self._pool.child() as child:
            opened = await child.ask({"do": "open", "case": trial.case.id})
            yield _SingleSession(child, trial.case.id, self._category, opened)


class _SingleSession:
    def __init__(self, child: Child, case: str, category: str, opened: JsonObject) -> None:
        self._child = child
        self._case = case
        self._idle = "irrelevance" in category
        self._said: list[JsonObject] = opened["messages"]
        self._tools = Toolset(tool_of(each, _noted) for each in opened["functions"])

    async def next_turn(self, transcript: Transcript) -> Turn | None:
        if transcript.turns:
            return None
        system = [said["content"] for said in self._said if said["role"] == "system"]
        *before, last = (said for said in self._said if said["role"] != "system")
        return Turn(
            text=last["content"],
            tools=self._tools,
            context=ONLY_THESE_TOOLS,
            instructions="\n".join(system) or None,
            history=tuple(map(_message, before)),
            limits=Limits(steps=1),
        )

    async def grade(self, transcript: Transcript) -> Grade:
        replies = [m for m in transcript.messages if isinstance(m, AssistantMessage)]
        calls = [(call.name, call.arguments) for m in replies[-1:] for call in m.tool_calls]
        asked: JsonObject = {"do": "grade", "case": self._case, "calls": [list(c) for c in calls]}
        verdict = await self._child.ask(asked)
        return Grade(
            passed=verdict["valid"],
            error=verdict["error_type"],
            idle_turns=int(self._idle),
            overcalled=int(self._idle and bool(calls)),
            details={"calls": [{name: arguments} for name, arguments in calls]},
        )


async def _noted(**_: Any) -> str:
    return "Noted."


def _message(said: JsonObject) -> Message:
    if said["role"] == "assistant":
        return AssistantMessage(said["content"])
    return UserMessage(said["content"])


if TYPE_CHECKING:
    _: type[Suite] = BfclSingleSuite
    _session: type[Session] = _SingleSession
