"""Agents whose model says what a script says, and a record of every tool that ran."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from agentkit import Tool, Toolset
from tests.reading.damage import Meant
from tests.reading.schemas import JsonObject, SchemaTool


def recording(tools: Iterable[SchemaTool], ran: list[Meant]) -> Toolset:
    """Tools that do nothing but write down how they were called."""
    return Toolset(_recorder(tool, ran.append) for tool in tools)


def _recorder(tool: SchemaTool, note: Callable[[Meant], None]) -> Tool[..., Any]:
    def function(**arguments: Any) -> str:
        note(Meant(tool.name, arguments))
        return "done"

    return Tool.from_schema(tool.name, f"Does {tool.name}.", tool.schema, function)


def offered_names(body: JsonObject) -> list[str]:
    """The tools that a request offers."""
    return [tool["function"]["name"] for tool in body.get("tools") or ()]


def tool_results(body: JsonObject) -> list[str]:
    """What the tools of a request's history answered."""
    found: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            content = message["content"]
            parts = [content] if isinstance(content, str) else [p.get("text", "") for p in content]
            found.append("".join(parts))
    return found
