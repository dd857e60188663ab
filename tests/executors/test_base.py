from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from agentkit.errors import ToolError
from agentkit.executors import Executor, LocalExecutor, RetryingExecutor, RoutingExecutor
from agentkit.messages import ToolCall, ToolResult
from agentkit.toolset import Effect, ToolContext, ToolOptions, ValidatedCall, make_tool


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


def attempts_at(error: Exception, effect: Effect, retries: int) -> tuple[list[int], ToolResult]:
    """Which attempts a tool saw that always fails, and what came of it."""
    seen: list[int] = []

    def flaky(ctx: ToolContext[Any]) -> None:
        seen.append(ctx.attempt)
        raise error

    made = make_tool(flaky, options=ToolOptions(effect="pure", retries=retries))
    options = ToolOptions(effect=effect)
    object.__setattr__(options, "retries", retries)  # as a set of tools made elsewhere might
    object.__setattr__(made, "options", options)
    call = ToolCall("c1", "flaky", {})
    checked = made.validate(call)
    assert isinstance(checked, ValidatedCall)
    executor = RetryingExecutor(LocalExecutor())
    return seen, anyio.run(executor.execute, checked, ToolContext(None, "r", 1, call))


@pytest.mark.parametrize("retries", [0, 2])
def test_a_failure_is_tried_again_as_often_as_declared(retries: int) -> None:
    seen, result = attempts_at(ToolError("not yet", retry=True), "pure", retries)
    assert seen == list(range(1, retries + 2))
    assert (result.kind, result.attempts, result.content) == (
        "error",
        retries + 1,
        "Error: not yet",
    )


def test_a_bug_may_pass_and_a_plain_no_does_not() -> None:
    assert attempts_at(ValueError("a race"), "idempotent", 1)[0] == [1, 2]
    assert attempts_at(ToolError("no such order"), "idempotent", 1)[0] == [1]


def test_what_runs_once_is_never_tried_again_whatever_it_declares() -> None:
    assert attempts_at(ToolError("not yet", retry=True), "once", 3)[0] == [1]


def test_an_attempt_that_was_ended_in_time_is_tried_again_and_one_that_goes_on_is_not() -> None:
    seen: list[int] = []
    over = threading.Event()

    async def slow(ctx: ToolContext[Any]) -> str:
        seen.append(ctx.attempt)
        if ctx.attempt < 3:
            await anyio.sleep_forever()
        return "at last"

    def stuck(ctx: ToolContext[Any]) -> None:
        seen.append(ctx.attempt)
        over.wait(30)

    def result(function: Any) -> ToolResult:
        seen.clear()
        options = ToolOptions(effect="idempotent", retries=2, timeout=0.05)
        call = ToolCall("c1", function.__name__, {})
        checked = make_tool(function, options=options).validate(call)
        assert isinstance(checked, ValidatedCall)
        executor = RetryingExecutor(LocalExecutor())
        return anyio.run(executor.execute, checked, ToolContext(None, "r", 1, call))

    try:
        assert (result(slow).content, seen) == ("at last", [1, 2, 3])
        assert (result(stuck).kind, seen) == ("timeout", [1])
    finally:
        over.set()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_attempt_is_not_tried_again(backend: str) -> None:
    started: list[int] = []

    async def endless() -> None:
        started.append(1)
        await anyio.sleep_forever()

    made = make_tool(endless, options=ToolOptions(effect="pure", retries=5))
    checked = made.validate(ToolCall("c1", "endless", {}))
    assert isinstance(checked, ValidatedCall)

    async def main() -> bool:
        with anyio.move_on_after(0.05) as scope:
            await RetryingExecutor(LocalExecutor()).execute(checked, ToolContext(None, "r"))
        return scope.cancelled_caught

    assert anyio.run(main, backend=backend)
    assert started == [1]
