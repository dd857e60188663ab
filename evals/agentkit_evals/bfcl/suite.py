"""BFCL's multi-turn categories: a user who asks for one thing after another, and a small world.

Protocol: no system prompt; a reply without calls ends the user's turn; a turn of more than 20 steps
with calls ends the conversation. A case is passed if after every turn the world's state equals that
after the gold calls, and the results of the agent's calls contain those of the gold calls. A call
of a function that is not offered (yet) gets an error as its result. Upstream grades calls whether
or not they were offered, so such a call is graded as if it had been made. The package is
`bfcl-eval` (Apache-2.0); it is imported in child processes only, see `child.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agentkit import Limits, Tool, ToolError, Toolset
from agentkit.messages import JsonObject
from agentkit_evals.bfcl.category import (
    LIMITS,
    ONLY_THESE_TOOLS,
    STEPS,
    BfclCategory,
    gold_calls,
)
from agentkit_evals.bfcl.tools import tool_of
from agentkit_evals.core import (
    Case,
    EvalError,
    GoldCall,
    Grade,
    Session,
    Suite,
    SuiteError,
    Transcript,
    Trial,
    Turn,
)
from agentkit_evals.isolated import Child

CATEGORIES: Final = ("base", "miss_param", "miss_func", "long_context", "composite")
"""The multi-turn categories, 200 cases each. Upstream scores all but `composite`."""


class BfclSuite(BfclCategory):
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
        super().__init__(f"multi_turn_{short}", "child.py")

    async def cases(self) -> Sequence[Case]:
        """All 200 cases, with the backends that they need as tags; see `Suite.cases`.

        A few of `composite` have no gold calls: upstream's text there cannot be read as a call.
        """
        listed = await self._list()
        return [
            _case(name, None if gold is None else gold_calls(gold), listed["tags"][name])
            for name, gold in listed["cases"].items()
        ]

    @asynccontextmanager
    async def open(self, trial: Trial) -> AsyncGenerator[Session]:
        """A world in a child process, for this trial alone."""
        async with self._pool.child() as child:
            opened = await child.ask({"do": "open", "case": trial.case.id})
            yield _BfclSession(child, opened["turns"])


def _case(name: str, gold: tuple[tuple[GoldCall, ...], ...] | None, tags: Sequence[str]) -> Case:
    # One call after the other, so many would take more steps than a turn may have.
    at_once = any(len(turn) >= STEPS for turn in gold or ())
    return Case(name, gold, tuple(tags), at_once=at_once)


class _BfclSession:
    def __init__(self, child: Child, turns: Sequence[JsonObject]) -> None:
        self._child = child
        self._turns = turns
        self._tools: dict[str, Tool[..., Any]] = {}

    async def next_turn(self, transcript: Transcript) -> Turn | None:
        """The user's next message, which does not depend on the agent; None after the last."""
        number = len(transcript.turns)
        ended = transcript.turns and transcript.turns[-1].stop_reason in LIMITS
        if number == len(self._turns) or ended:
            return None
        await self._child.ask({"do": "turn", "turn": number})
        turn = self._turns[number]
        for document in turn["new"]:
            made = world_tool(self._child, document)
            self._tools[made.name] = made
        return Turn(
            text=turn["text"],
            tools=Toolset(self._tools.values()),
            context=ONLY_THESE_TOOLS,
            limits=Limits(steps=STEPS),
        )

    async def grade(self, transcript: Transcript) -> Grade:
        """Upstream's own verdict."""
        called = [
            [[call.name, call.arguments, call.kind != "unknown_tool"] for call in turn.calls]
            for turn in transcript.turns
        ]
        verdict = await self._child.ask({"do": "grade", "called": called})
        return Grade(
            passed=verdict["valid"],
            error=verdict["error_type"],
            idle_turns=verdict["idle_turns"],
            overcalled=verdict["overcalled"],
            details={"executed": verdict["executed"]},
        )


def world_tool(child: Child, document: JsonObject) -> Tool[..., Any]:
    """The tool that calls a function of the world in a child process."""
    return tool_of(document, partial(_call, child, document["name"]))


async def _call(child: Child, name: str, /, **arguments: Any) -> str:
    try:
        answer = await child.ask({"do": "call", "name": name, "arguments": arguments})
    except SuiteError as error:
        # The session fails at its next question; until then the model reads the error.
        raise ToolError(str(error)) from error
    result: str = answer["result"]
    return result


if TYPE_CHECKING:
    _: Suite = BfclSuite()
