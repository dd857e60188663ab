from __future__ import annotations

import anyio
import pytest

from agentkit import Agent, Event, Limits, ModelConnectionError, RunStarted, tool
from agentkit.messages import ModelRequest, ToolMessage, UserMessage, text_of
from agentkit.testing import Reply, ScriptedModel, call, say

pytestmark = pytest.mark.anyio


@tool(effect="pure")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def results_of(model: ScriptedModel) -> list[str]:
    """Tool results in the last request, as the model read them."""
    messages = model.requests[-1].messages
    return [text_of(m.content) for m in messages if isinstance(m, ToolMessage)]


async def test_a_sub_agent_is_a_tool_with_its_own_conversation_and_a_shared_budget() -> None:
    inner = ScriptedModel([call("add", a=1, b=1), say("two")])
    helper = Agent(inner, tools=[add], observers=()).as_tool("helper", "Does sums.")
    outer = ScriptedModel([call("helper", task="1+1"), say("It is two.")])
    result = await Agent(outer, tools=[helper], observers=()).run("x")
    assert result.output == "It is two."
    assert results_of(outer) == ["two"]
    assert result.steps == 4
    short = ScriptedModel([call("helper", task="1+1"), say("never")])
    inner_again = Agent(
        ScriptedModel([call("add", a=1, b=1), say("two")]), tools=[add], observers=()
    )
    stopped = await Agent(
        short,
        tools=[inner_again.as_tool("helper", "Does sums.")],
        limits=Limits(steps=2),
        observers=(),
    ).run("x")
    assert stopped.stop_reason == "steps"


def answer(request: ModelRequest) -> Reply:
    """Answers with the task; `fail` gets a broken connection, `talk` no end."""
    task = next(text_of(m.content) for m in request.messages if isinstance(m, UserMessage))
    if task == "fail":
        raise ModelConnectionError("the server is gone")
    if task == "talk":
        return call("add", a=1, b=len(request.messages))
    return say(f"{task} is done")


async def fanned(*tasks: str, at_once: int = 4) -> tuple[str, list[Event]]:
    seen: list[Event] = []
    watch = [lambda _, event: seen.append(event)]
    worker = Agent(
        ScriptedModel([answer] * 12), tools=[add], limits=Limits(steps=2), observers=watch
    )
    many = worker.as_fan_out("each", "Does several things.", at_once=at_once)
    outer = ScriptedModel([call("each", tasks=list(tasks)), say("All done.")])
    result = await Agent(outer, tools=[many], observers=()).run("x")
    assert result.output == "All done."
    (joined,) = results_of(outer)
    return joined, seen


async def test_tasks_fan_out_and_their_answers_are_joined_in_order() -> None:
    joined, seen = await fanned("a", "b", "c")
    assert joined == "## 1. a\na is done\n\n## 2. b\nb is done\n\n## 3. c\nc is done"
    runs = [event.run_id for event in seen if isinstance(event, RunStarted)]
    assert len(set(runs)) == 3


async def test_a_task_that_fails_or_finds_no_end_says_so_in_its_place() -> None:
    joined, _ = await fanned("a", "fail", "talk", at_once=1)
    first, second, third = joined.split("\n\n")
    assert first == "## 1. a\na is done"
    assert second == "## 2. fail\nError: the server is gone"
    assert third.startswith("## 3. talk\nError: stopped without an answer: stopped after 2 steps")


async def test_no_more_tasks_are_at_work_than_allowed() -> None:
    at_work, most = 0, 0

    @tool
    async def work() -> str:
        """Works."""
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await anyio.lowlevel.checkpoint()
        at_work -= 1
        return "ok"

    def step(request: ModelRequest) -> Reply:
        return call("work") if len(request.messages) == 1 else say("done")

    worker = Agent(ScriptedModel([step] * 12), tools=[work], observers=())
    many = worker.as_fan_out("each", "Does several things.", at_once=2)
    outer = ScriptedModel([call("each", tasks=list("abcdef")), say("All done.")])
    await Agent(outer, tools=[many], observers=()).run("x")
    assert most == 2


def test_a_fan_out_of_nothing_at_a_time_is_refused() -> None:
    with pytest.raises(ValueError, match="at_once is 0"):
        Agent(ScriptedModel([])).as_fan_out("each", "Does several things.", at_once=0)
