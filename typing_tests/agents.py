"""Read by mypy and pyright, never run: 40 statements about agents that must pass.

Those that must fail are in `wrong_agents.txt`, which `tests/test_typing.py` reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, assert_type

from agentkit import Agent, RunContext, Tool, ToolContext, Toolset, tool
from agentkit.events import Event, PartialOutput, RunEvent, RunFinished, RunResult
from agentkit.messages import ImagePart, Message, StopReason, TextPart
from agentkit.policy import Approval, Approve, PausedRun
from agentkit.testing import ScriptedModel, say


@dataclass
class Shop:
    """What tools may ask for."""

    name: str


@dataclass
class Report:
    """An answer."""

    title: str


@dataclass
class Refusal:
    """Another one."""

    why: str


@tool(effect="pure")
def price(context: ToolContext[Shop], item: str) -> int:
    """Looks up a price."""
    assert_type(context.deps, Shop)
    return len(context.deps.name + item)


@tool
async def order(context: ToolContext[Shop], item: str) -> str:
    """Orders."""
    return context.deps.name + item


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def plain(item: str) -> str:
    """Says it again."""
    return item


def greeting(context: RunContext[Shop]) -> str:
    """Instructions."""
    return context.deps.name


async def slow_greeting(context: RunContext[Shop]) -> str:
    """Instructions that wait."""
    return context.deps.name


def report(title: str, year: int) -> Report:
    """An output function."""
    return Report(f"{title} {year}")


class Till:
    """Tools as methods."""

    @tool
    def count(self, context: ToolContext[Shop], shelf: str) -> int:
        """Counts."""
        return len(shelf + context.deps.name)


model = ScriptedModel([say("Hello.")])
shop = Shop("tea")

needs_shop: Tool[..., int, Shop] = price
needs_nothing: Tool[..., int, object] = add
fits_any_deps: Tool[..., int, Shop] = add
assert_type(add(1, 2), int)
assert_type(Till().count(ToolContext(shop, "r"), "a"), int)

chat = Agent(model)
assert_type(chat.run_sync("Hi").output, str)
assert_type(chat.run_sync("Hi", deps=shop).output, str)
chat.run_sync((TextPart("What is this?"), ImagePart("https://example.com/a.png")))

seller: Agent[Shop, str] = Agent(model, tools=[price, order, add, plain])
seller.run_sync("Tea?", deps=shop)
greeted: Agent[Shop, str] = Agent(model, instructions=greeting)
greeted.run_sync("Tea?", deps=shop)
Agent[Shop, str](model, instructions=slow_greeting, tools=[price])
Agent[Shop](model, tools=[Till().count]).run_sync("?", deps=shop)
inferred = Agent(model, tools=[price])
assert_type(inferred, Agent[Shop, str])
assert_type(Agent(model, instructions=greeting), Agent[Shop, str])

assert_type(Agent(model, output_type=Report).run_sync("?").output, Report)
assert_type(Agent(model, output_type=Report | Refusal).run_sync("?").output, Report | Refusal)
assert_type(Agent(model, output_type=int | None).run_sync("?").output, int | None)
assert_type(Agent(model, output_type=list[Report]).run_sync("?").output, list[Report])
assert_type(Agent(model, output_type=dict[str, int]).run_sync("?").output, dict[str, int])
assert_type(Agent(model, output_type=Literal["a", "b"]).run_sync("?").output, Literal["a", "b"])
assert_type(Agent(model, output_type=report).run_sync("?").output, Report)
typed: Agent[Shop, Report] = Agent(model, tools=[price], output_type=Report)
assert_type(typed.override(model=model), Agent[Shop, Report])
assert_type(typed.as_tool("report", "Reports."), Tool[..., Any])

result = typed.run_sync("?", deps=shop)
assert_type(result, RunResult[Report])
assert_type(result.stop_reason, StopReason)
assert_type(result.messages, tuple[Message, ...])
assert_type(result.said, Report | str)
assert_type(result.paused, PausedRun | None)
Toolset([price, add, Till().count])


async def use() -> None:
    """What is awaited and streamed."""
    assert_type(await typed.run("?", deps=shop), RunResult[Report])
    assert_type(await chat.run_many(["a", "b"]), list[RunResult[str]])
    async for event in typed.stream("?", deps=shop):
        assert_type(event, RunEvent | RunFinished[Report])
        if isinstance(event, RunFinished):
            assert_type(event.result.output, Report)
        elif isinstance(event, PartialOutput):
            assert_type(event.step, int)
    if result.paused is not None:
        assert_type(result.paused.waiting, tuple[Approval, ...])
        decisions = {approval.id: Approve() for approval in result.paused.waiting}
        assert_type(await typed.resume(result.paused, decisions, deps=shop), RunResult[Report])
    assert_type(await typed.resume("run-1", deps=shop), RunResult[Report])


def watch(run_id: str, event: Event) -> None:
    """An observer."""
    if isinstance(event, RunFinished):
        print(run_id, event.result.said)  # noqa: T201 - an example


Agent(model, observers=[watch])
asked: Callable[[str], Awaitable[str]] | None = None
Agent(model, ask=asked, output_type=report, tools=[add], policy="ask")
