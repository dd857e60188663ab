"""MCP servers as toolsets, over stdio and streamable HTTP (package `mcp`, extra `mcp`).

```python
async with McpToolset(["uvx", "mcp-server-time"]) as clock:
    agent = Agent(model, toolsets=[clock.prefixed("clock_")])
```

A server is a stranger: its descriptions are cut and stripped of invisible characters, and what its
schemas refer to outside of themselves is not fetched. What it says of calling its tools twice is
believed only if you say so (`trusted=True`); what it says of their reach adds to your labels, and
takes none away. Its tools are listed anew at the beginning of each run and stay the same until it
ends: one that the server has changed since is not run. What is wrong with one tool, or with one
part of a result, costs that one and no more. A connection that breaks is opened again; a call is
repeated only where its effect allows it.
"""

from agentkit.errors import install

try:
    from agentkit.mcp.toolset import McpToolset, Servers, callable_name, tame
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in ("mcp", "mcp_types", "httpx2"):
        raise
    raise ImportError(f"MCP needs the extra `mcp`: {install('mcp')}", name=error.name) from error

__all__ = ["McpToolset", "Servers", "callable_name", "tame"]
