"""Tools of public MCP servers: the structure of their schemas as published, names and words ours.

One file a server in `tests/corpus/mcp`, with the server's name and licence.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from agentkit.messages import ToolDefinition

FOLDER = Path(__file__).with_name("corpus") / "mcp"


@cache
def load() -> tuple[ToolDefinition, ...]:
    """Every tool, by the name of its server's file and its own place in it."""
    servers = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.iterdir())]
    return tuple(
        ToolDefinition(tool["name"], tool["description"], tool["inputSchema"])
        for server in servers
        for tool in server["tools"]
    )
