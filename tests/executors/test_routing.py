from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio

from agentkit.executors import Executor, LocalExecutor, RoutingExecutor
from agentkit.messages import ToolCall, ToolResult
from agentkit.toolset import ToolContext, ToolOptions, ValidatedCall, make_tool


@dataclass
class Named:
    """Says its name instead of running anything."""

    name: str

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        return ToolResult(call.call.id, f"{self.name} at step {context.step}")


def test_each_call_goes_where_the_rule_says() -> None:
    def look() -> None:
        """Looks."""

    def act() -> None:
        """Acts."""

    from_rule: dict[bool, Executor] = {True: Named("apart"), False: Named("here")}
    routing = RoutingExecutor(lambda call: from_rule["exec" in call.tool.options.labels])
    tools = [make_tool(look), make_tool(act, options=ToolOptions(labels={"exec"}))]
    said: list[str] = []
    for made in tools:
        call = made.validate(ToolCall("c1", made.name, {}))
        assert isinstance(call, ValidatedCall)
        result = anyio.run(routing.execute, call, ToolContext(None, "r"))
        said.append(str(result.content))
    assert said == ["here at step 0", "apart at step 0"]


def test_an_executor_may_be_chosen_for_good() -> None:
    def look() -> str:
        """Looks."""
        return "seen"

    call = make_tool(look).validate(ToolCall("c1", "look", {}))
    assert isinstance(call, ValidatedCall)
    local = LocalExecutor()
    result = anyio.run(RoutingExecutor(lambda _: local).execute, call, ToolContext(None, "r"))
    assert result.content == "seen"
