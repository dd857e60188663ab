"""The `Executor` protocol: one validated call in, one `ToolResult` out."""

from __future__ import annotations

from typing import Any, Protocol

from agentkit.messages import ToolResult
from agentkit.toolset import ToolContext, ValidatedCall


class Executor(Protocol):
    """Runs one call that passed validation and policy."""

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """Runs the call and returns what the model will read.

        A tool's failure, whatever it is, comes back as a result with a kind. The only exceptions
        that leave are those of cancellation, and then nothing of the call is left running that
        could have been stopped; and an `AgentKitError` where the call could not even be tried:
        the tool cannot run there, or its intent could not be made durable.
        """
        ...
