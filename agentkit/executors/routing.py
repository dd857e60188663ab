"""Which executor runs which call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentkit.executors.base import Executor
from agentkit.executors.local import LocalExecutor
from agentkit.messages import ToolResult
from agentkit.toolset import ToolContext, ValidatedCall


class RoutingExecutor:
    """Hands each call to the executor that a rule chooses.

    Args:
        rule: A function of the call, such as
            `lambda call: process if "exec" in call.tool.options.labels else local`.
    """

    def __init__(self, rule: Callable[[ValidatedCall], Executor]) -> None:
        self._rule = rule

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        """Runs the call; see `Executor.execute`."""
        return await self._rule(call).execute(call, context)


if TYPE_CHECKING:
    _: Executor = RoutingExecutor(lambda _call: LocalExecutor())
