"""A team whose members speak in turn: a writer and a critic, until the critic is content.

    python examples/taking_turns.py http://localhost:8000/v1 "A notice that the lift is broken."

Each member has its own conversation, in which the others' words are what a user says. Who speaks
next and when it ends is the program's to say, in a loop that can be read.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Literal

from agentkit import Agent, Limits, Model, RunResult, VLLMModel
from agentkit.messages import Message


@dataclass
class Verdict:
    """What the critic thinks.

    Attributes:
        content: Whether the text can stay as it is.
        advice: What to change, in one sentence.
    """

    content: Literal["yes", "no"]
    advice: str = ""


async def write(model: Model, task: str, *, rounds: int = 4) -> str:
    """The last draft, after as many rounds as the critic wants, or all there are."""
    limits = Limits(steps=5)
    writer = Agent(model, instructions="You write short notices. Answer with the notice alone.")
    critic = Agent(
        model,
        instructions="You judge notices: clear, polite, under forty words.",
        output_type=Verdict,
    )
    verdicts: tuple[Message, ...] = ()
    draft: RunResult[str] = await writer.run(task, limits=limits)
    for _ in range(rounds):
        print(f"[writer] {draft.output}")
        verdict = await critic.run(f"Task: {task}\nNotice: {draft.output}", history=verdicts)
        verdicts = verdict.messages
        if verdict.stop_reason != "answer" or verdict.output.content == "yes":
            break
        print(f"[critic] {verdict.output.advice}")
        draft = await writer.run(verdict.output.advice, history=draft.messages, limits=limits)
    return draft.output


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    asyncio.run(write(VLLMModel(sys.argv[1]), " ".join(sys.argv[2:])))
