"""An editor who has several things looked up at the same time, and pays for no more than that.

    python examples/sub_agents.py http://localhost:8000/v1 "Compare our lamps and our kettles."

Each task is a run of its own, with its own conversation and limits. What it spends is in the total,
and it never may do more than the run that asked for it.
"""

from __future__ import annotations

import asyncio
import sys

from agentkit import Agent, Limits, Model, RunResult, SubRunEvent, ToolStarted, VLLMModel, tool
from agentkit.events import RunFinished

CATALOGUE = {
    "lamp": "Brass, 40 W, 39 EUR, three left.",
    "kettle": "Steel, 1.7 l, 24.90 EUR, twelve left.",
}


@tool(effect="pure", labels=set())
def catalogue(item: str) -> str:
    """What the catalogue says of an item.

    Args:
        item: What it is, in the singular.
    """
    return CATALOGUE.get(item, "not in the catalogue")


def agent(model: Model) -> Agent:
    """The editor, with researchers at hand."""
    researcher = Agent(
        model,
        instructions="Look one item up and tell what matters of it in a sentence.",
        tools=[catalogue],
    )
    look_up = researcher.as_fan_out(
        "look_up", "Has several items looked up at the same time.", limits=Limits(steps=4)
    )
    return Agent(model, instructions="You compare items in two sentences.", tools=[look_up])


async def ask(model: Model, question: str) -> RunResult[str]:
    """Runs the editor, and shows what the researchers do meanwhile."""
    async for event in agent(model).stream(question):
        match event:
            case SubRunEvent(inner=ToolStarted(call=call)):
                print(f"  a researcher calls {call.name} {call.arguments}")
            case RunFinished(result=result):
                print(result.output)
                print(f"{result.steps} steps, {result.usage.input_tokens:,} tokens read")
                return result
            case _:
                pass
    raise AssertionError("a stream ends with RunFinished")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    asyncio.run(ask(VLLMModel(sys.argv[1]), sys.argv[2]))
