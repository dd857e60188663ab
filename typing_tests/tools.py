"""Read by mypy and pyright, never run: a decorated function keeps its own type."""

from __future__ import annotations

from typing import Any, Literal, assert_type

from agentkit.toolset import (
    RunContext,
    Tool,
    ToolContext,
    ToolOutput,
    Toolset,
    ToolSource,
    combined,
    dynamic,
    tool,
)


@tool
def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


assert_type(add(1, b=2), int)
add("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
add(1, c=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


@tool(effect="idempotent", timeout=10, retries=2, labels={"writes"}, lock="order_id")
async def refund(
    ctx: ToolContext[str], order_id: int, reason: Literal["damaged", "late"]
) -> ToolOutput:
    """Refunds."""
    assert_type(ctx.deps, str)
    assert_type(ctx.idempotency_key, str)
    return ToolOutput(order_id, for_user=reason)


async def use(ctx: ToolContext[str]) -> None:
    """Awaiting a decorated coroutine function gives its own result."""
    assert_type(await refund(ctx, 1, "late"), ToolOutput)
    await refund(ctx, 1, "lost")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert_type(await ctx.ask("Sure?"), str)


class Shop:
    """A decorated method, bound and not."""

    @tool
    def count(self, shelf: str) -> int:
        """Counts."""
        return len(shelf)

    @staticmethod
    @tool
    def double(n: int) -> int:
        """Doubles."""
        return 2 * n


assert_type(Shop().count("a"), int)
assert_type(Shop.double(2), int)
Shop().count(3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

tool(effect="twice")  # type: ignore[call-overload] # pyright: ignore[reportArgumentType, reportCallIssue]
tool(labels={"network"})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType, reportCallIssue]


@dynamic
def by_rights(context: RunContext[Any]) -> list[Tool[..., Any]]:
    """Tools of one run."""
    return [refund] if context.deps else []


fixed = Toolset([add, refund, Shop().count])
assert_type(fixed.prefixed("x_"), Toolset)
assert_type(fixed.filtered(lambda t: t.effect == "pure").renamed({"add": "plus"}), Toolset)
assert_type(by_rights.prefixed("x_"), ToolSource)
assert_type(fixed + by_rights, ToolSource)
assert_type(combined(fixed, by_rights), ToolSource)
