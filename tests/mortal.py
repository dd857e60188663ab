"""A process that dies inside a tool, as abruptly as one process can play it to itself."""

from __future__ import annotations

from typing import Any

from agentkit.executors import LocalExecutor
from agentkit.messages import ToolResult
from agentkit.toolset import ToolContext, ValidatedCall


class Killed(BaseException):
    """The process is gone: no handler of the library takes it for a failure."""


class Mortal(LocalExecutor):
    """An executor that dies where a tool raises `Killed`; of itself it would go on."""

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """Runs the call, or dies of it."""
        result = await super().execute(call, context)
        if result.content == f"Error: {Killed.__name__}":
            raise Killed
        return result
