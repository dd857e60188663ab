"""A conversation that one agent hands over to another, whole.

    python examples/hand_over.py http://localhost:8000/v1 "My teapot came broken."

The reception has a tool that names the desk to go on with. The next run is that desk's, over the
same conversation, and so are all later ones until somebody hands over again. There is no machinery:
a conversation is a list of messages, and `history=` goes on from it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentkit import Agent, Model, ToolContext, VLLMModel, tool
from agentkit.messages import Message

Desk = Literal["reception", "repairs", "orders"]


@dataclass
class Line:
    """Who is speaking to the customer."""

    desk: Desk = "reception"


@tool(labels=set(), lock=True)
def hand_over(context: ToolContext[Line], to: Desk) -> str:
    """Hand the conversation over to another desk.

    Args:
        context: Knows who is speaking.
        to: The desk that knows about what the customer asks.
    """
    context.deps.desk = to
    return f"From here on the desk for {to} speaks to the customer. Say that in one sentence."


@tool(effect="idempotent")
def book_repair(item: str) -> str:
    """Book the repair of an item."""
    return f"The {item} will be fetched tomorrow."


def desks(model: Model) -> dict[Desk, Agent]:
    """An agent for each desk; all can hand over."""
    about: dict[Desk, str] = {
        "reception": "You greet the customer and hand over to the desk that can help.",
        "repairs": "You are the desk for repairs. Book repairs; hand over what is none.",
        "orders": "You are the desk for orders. Tell what is known; hand over what is no order.",
    }
    tools = {"repairs": [book_repair]}
    return {
        desk: Agent(model, instructions=text, tools=[hand_over, *tools.get(desk, [])])
        for desk, text in about.items()
    }


async def converse(model: Model, questions: Sequence[str]) -> tuple[Message, ...]:
    """Answers one question after the other, each at the desk that has the conversation then."""
    agents, line = desks(model), Line()
    messages: tuple[Message, ...] = ()
    for question in questions:
        asked = question
        for _ in range(len(agents)):  # desks that send a customer in circles are stopped
            speaking = line.desk
            result = await agents[speaking].run(asked, history=messages, deps=line)
            messages = result.messages
            print(f"[{speaking}] {result.output}")
            if line.desk == speaking:
                break
            asked = "You have the conversation now. Go on with what the customer asked last."
    return messages


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    asyncio.run(converse(VLLMModel(sys.argv[1]), sys.argv[2:]))
