"""An agent with the tools of an MCP server, beside a function of its own.

    python examples/mcp_client.py http://localhost:8000/v1 "What does order 17 hold?"

The server here is the order desk of these examples, published by `agentkit mcp serve`. Any other
goes in its place: a command line, or the URL of one that runs already. On the command line the same
needs no code:

    agentkit run --mcp .mcp.json --allow ask --model http://localhost:8000/v1 "What is in order 17?"
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from agentkit import Agent, Model, RunResult, VLLMModel, tool
from agentkit.mcp import McpToolset

DESK = Path(__file__).with_name("order_desk.py")
SERVER = [sys.executable, "-m", "agentkit", "mcp", "serve", str(DESK)]


@tool(effect="pure", labels=set())
def opening_hours() -> str:
    """When the shop is open."""
    return "Monday to Friday, 9 to 18"


async def ask(model: Model, question: str) -> RunResult[str]:
    """Connects to the server for as long as the question takes."""
    # What a server's tools can reach is yours to say: it is a stranger.
    async with McpToolset(SERVER, labels={"reads_private"}) as desk:
        agent = Agent(model, tools=[opening_hours], toolsets=[desk.prefixed("desk_")])
        return await agent.run(question)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(asyncio.run(ask(VLLMModel(sys.argv[1]), sys.argv[2])).output)
