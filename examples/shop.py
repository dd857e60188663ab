"""A first agent: two functions, one question, a server.

    python examples/shop.py http://localhost:8000/v1 "How many rugs are left, and what do two cost?"
    agentkit run --agent examples/shop.py --model http://localhost:8000/v1 "Are there lamps?"
    agentkit tools show examples/shop.py:stock

`agentkit run` and `chat` take any file like this one: they look for the name `agent`.
"""

from __future__ import annotations

import sys

from agentkit import Agent, Model, VLLMModel, tool

LEFT = {"lamp": 3, "rug": 0, "kettle": 12}
PRICES = {"lamp": 39.0, "rug": 120.0, "kettle": 24.9}


@tool(effect="pure", labels=set())
def stock(item: str) -> int:
    """How many of an item are left.

    Args:
        item: What it is, in the singular: lamp, rug or kettle.
    """
    return LEFT[item]


@tool(effect="pure", labels=set())
def price(item: str, count: int = 1) -> float:
    """What some of an item cost, in EUR.

    Args:
        item: What it is, in the singular.
        count: How many.
    """
    return round(PRICES[item] * count, 2)


def agent(model: Model) -> Agent:
    """The shop assistant."""
    return Agent(
        model,
        instructions="You work in a shop. Look things up before you answer, and be brief.",
        tools=[stock, price],
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    result = agent(VLLMModel(sys.argv[1])).run_sync(sys.argv[2])
    print(result.output)
