"""MCP servers as toolsets, over stdio and streamable HTTP (package `mcp`, extra `mcp`).

```python
async with McpToolset(["uvx", "mcp-server-time"]) as clock:
    agent = Agent(model, toolsets=[clock.prefixed("clock_")])
```

A server is a stranger: its descriptions are cut and stripped of invisible characters, and external
references of its schemas are not fetched. What it says about calling a tool twice is believed only
if you say so (`trusted=True`); what it says about the reach of a tool adds labels to yours, and
takes none away. Its tools are listed anew at the beginning of each run and stay the same until the
run ends: a tool that the server has changed since is not run. A fault in one tool, or in one part
of a result, costs that one and no more. A connection that breaks is opened again; a call is
repeated only if its effect allows it.
"""

from agentkit.errors import install

try:
    from agentkit.mcp.toolset import McpToolset, Servers, callable_name, tame
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] not in ("mcp", "mcp_types", "httpx2"):
        raise
    raise ImportError(f"MCP needs the extra `mcp`: {install('mcp')}", name=error.name) from error

__all__ = ["McpToolset", "Servers", "callable_name", "tame"]
