"""An agent as a tool of another: one task, or several at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeAlias

import anyio
from pydantic import Field

from agentkit.agent.state import RunOptions
from agentkit.errors import AgentKitError, ToolError
from agentkit.events import RunResult
from agentkit.toolset import Label, Tool, ToolContext, ToolOptions, make_tool

__all__ = ["delegate", "fan_out"]

Start: TypeAlias = Callable[[str, RunOptions], Awaitable[RunResult[Any]]]
"""Begins a run of the agent that does the work."""

_MOST_TASKS = 16

Tasks = Annotated[list[str], Field(min_length=1, max_length=_MOST_TASKS)]


def delegate(start: Start, name: str, description: str, reads: frozenset[Label]) -> Tool[..., Any]:
    """A tool that gives one task to an agent and returns its answer.

    Args:
        start: Begins the run.
        name: Of the tool.
        description: When to use it.
        reads: What an answer may tell of. What the agent does besides is decided call by call.
    """

    async def one(context: ToolContext[Any], task: str) -> Any:
        result = await start(task, _options(context, name, ""))
        if result.stop_reason == "answer":
            return result.output
        raise ToolError(f"{name} stopped without an answer: {result.explanation}")

    one.__doc__ = f"{description}\n\nArgs:\n    task: What to do, in full.\n"
    return make_tool(one, name=name, description=description, options=ToolOptions(labels=reads))


def fan_out(
    start: Start, name: str, description: str, at_once: int, reads: frozenset[Label]
) -> Tool[..., Any]:
    """A tool that gives each of several tasks to a run of its own and joins the answers.

    Raises:
        ValueError: `at_once` is below 1.
    """
    if at_once < 1:
        raise ValueError(f"at_once is {at_once}; nothing would ever run below 1")

    async def several(context: ToolContext[Any], tasks: Tasks) -> str:
        answers = [""] * len(tasks)
        limiter = anyio.CapacityLimiter(at_once)

        async def work(position: int, task: str) -> None:
            async with limiter:
                answers[position] = await _answer(task, _options(context, name, f"-{position}"))

        async with anyio.create_task_group() as group:
            for position, task in enumerate(tasks):
                group.start_soon(work, position, task)
        sections = zip(tasks, answers, strict=True)
        return "\n\n".join(
            f"## {number}. {task}\n{answer}" for number, (task, answer) in enumerate(sections, 1)
        )

    async def _answer(task: str, options: RunOptions) -> str:
        """One task's answer; what goes wrong with it does not end the others."""
        try:
            result = await start(task, options)
        except AgentKitError as error:
            return f"Error: {error}"
        if result.stop_reason == "answer":
            return str(result.said)
        return f"Error: stopped without an answer: {result.explanation}"

    several.__doc__ = f"{description}\n\nArgs:\n    tasks: What to do, each task in full.\n"
    return make_tool(several, name=name, description=description, options=ToolOptions(labels=reads))


def _options(context: ToolContext[Any], name: str, suffix: str) -> RunOptions:
    key = context.idempotency_key[:8]
    return RunOptions(deps=context.deps, run_id=f"{context.run_id}.{name}-{key}{suffix}")
