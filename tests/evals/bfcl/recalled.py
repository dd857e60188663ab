"""Agents that are asked what they were told before, and answer almost right."""

from __future__ import annotations

from typing import Any, Final

from agentkit_evals.core import Case, Trial, Turn
from agentkit_evals.subject import AgentMaker

from agentkit import Agent
from agentkit.testing import Reply, ScriptedModel, call, say

ANSWERS: Final = (
    "{}",
    "I looked it up, and it is {}.",
    "{{'answer': '{}', 'context': 'You said so.'}}",
    "x{}x",
    "I do not know",
    "",
    None,
)
"""What is said in the end, around the right answer; None is calls without end."""


def recalled(case: Case, kind: int) -> AgentMaker:
    """An agent that keeps nothing, and knows the answer all the same.

    Args:
        case: With an answer.
        kind: Which of `ANSWERS`.
    """
    wanted = ANSWERS[kind]

    def make(_trial: Trial, number: int, turn: Turn) -> Agent[Any, Any]:
        script: list[Reply] = [say("Noted.")]
        if number == len(case.gold or ()) - 1:
            looking = [call("core_memory_retrieve", key=f"key_{n}") for n in range(30)]
            said = [] if wanted is None else [say(wanted.format(case.answer))]
            script = [*looking[:2], *said * 3] if said else looking  # no words are asked for again
        return Agent(ScriptedModel(script), toolsets=[turn.tools], observers=())

    return make
