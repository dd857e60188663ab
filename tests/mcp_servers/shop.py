"""A small MCP server for the tests, written with the official package.

`python shop.py` speaks stdio; `python shop.py PORT` speaks streamable HTTP on the loopback.
"""

from __future__ import annotations

import base64
import os
import sys
from typing import Literal

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel

server = MCPServer("shop")


class Receipt(BaseModel):
    """What a refund comes to."""

    order_id: int
    reason: str


@server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
def find(city: str, days: int = 1) -> str:
    """Finds shops in a city."""
    return f"{city}: {days}"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def current_weather(city: str) -> str:
    """The weather of a city right now."""
    return f"{len(city)} degrees, sunny"


@server.tool(annotations=ToolAnnotations(idempotent_hint=True, open_world_hint=False))
def refund(order_id: int, reason: Literal["damaged", "late"]) -> Receipt:
    """Refunds an order."""
    return Receipt(order_id=order_id, reason=reason)


@server.tool(annotations=ToolAnnotations(destructive_hint=True, open_world_hint=True))
def danger() -> str:
    """Does what its annotations say."""
    return "done"


@server.tool()
def picture() -> Image:
    """Draws."""
    return Image(data=base64.b64decode("iVBORw0KGgo="), format="png")


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("no such shop")


@server.tool()
async def slow(ctx: Context, steps: int) -> str:
    """Reports its progress."""
    for step in range(steps):
        await ctx.report_progress(step + 1, steps, f"step {step + 1}")
    return "finished"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def process_id() -> int:
    """Names the server's process."""
    return os.getpid()


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def die_once(marker: str) -> str:
    """Ends the server's process at the first call, and answers at the second."""
    if not os.path.exists(marker):
        with open(marker, "w") as file:
            file.write("x")
        os._exit(1)
    return "alive"


@server.tool()
def die() -> str:
    """Ends the server's process."""
    os._exit(1)


@server.tool()
def grow(name: str) -> CallToolResult:
    """Adds a tool to the server."""

    def grown() -> str:
        """Was not there before."""
        return "grown"

    server.add_tool(grown, name=name)
    return CallToolResult(content=[TextContent(text="done")])


_outside = Tool.from_function(grow, name="outside")
_outside.parameters["properties"] = {"a": {"$ref": "https://example.org/schema.json"}}
server._tool_manager._tools["outside"] = _outside  # pyright: ignore[reportPrivateUsage] # no public way in for such a schema


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run("stdio")
