from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from agentkit import Agent, Event, Limits, ModelSettings, RunStarted, tool
from agentkit.events import ModelCalled, ModelEvent, ModelFinished, dump_event, load_event
from agentkit.messages import Message, ModelRequest, ToolChoice, ToolDefinition
from agentkit.policy import history_problems
from agentkit.testing import ScriptedModel, call, calls, cut, say

pytestmark = pytest.mark.anyio


@tool(effect="pure")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def requests_of(events: Sequence[Event]) -> list[ModelRequest]:
    """The requests as the events tell them, after a way through JSON."""
    messages: list[Message] = []
    tools: tuple[ToolDefinition, ...] = ()
    found: list[ModelRequest] = []
    for event in (load_event(dump_event(event)) for event in events):
        if isinstance(event, RunStarted):
            messages, tools = list(event.messages), ()
        if isinstance(event, ModelCalled):
            messages[event.same :] = event.messages
            tools = tools if event.tools is None else event.tools
            request = ModelRequest(tuple(messages), tools, event.settings, event.tool_choice)
            found.append(request)
    return found


async def watched(agent: Agent[Any, Any], **options: Any) -> list[Event]:
    return [event async for event in agent.stream("go", **options)]


def called(events: Sequence[Event]) -> list[ModelCalled]:
    return [event for event in events if isinstance(event, ModelCalled)]


async def test_every_request_can_be_put_together_again_from_the_events() -> None:
    script = [calls(("add", {"a": n, "b": 1}), ("add", {"a": n, "b": 2})) for n in range(5)]
    model = ScriptedModel([*script, say("Done.")])
    agent = Agent(model, tools=[add], instructions="Add.", observers=())
    events = await watched(agent, settings=ModelSettings(seed=1))
    assert requests_of(events) == model.requests
    assert all(not history_problems(request.messages) for request in model.requests)


async def test_only_what_is_new_in_a_request_is_told() -> None:
    model = ScriptedModel([call("add", a=1, b=1), call("add", a=2, b=2), say("Done.")])
    events = called(await watched(Agent(model, tools=[add], observers=())))
    assert [(event.same, len(event.messages)) for event in events] == [(1, 0), (1, 2), (3, 2)]
    assert [event.tools is None for event in events] == [False, True, True]


async def test_a_second_try_and_a_forced_answer_are_told_too() -> None:
    model = ScriptedModel([cut(say("Cut")), say("Five."), call("final_answer", answer=5)])
    agent = Agent(model, output_type=int, observers=())
    events = await watched(agent)
    assert [event.step for event in called(events)] == [1, 1, 1]
    assert called(events)[2].tool_choice == ToolChoice("required", "final_answer", 1)
    assert requests_of(events) == model.requests


async def test_times_are_those_of_the_reply() -> None:
    class Whole(ScriptedModel):
        async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
            async for event in super().generate(request):
                if isinstance(event, ModelFinished):
                    yield event

    (event,) = called(await watched(Agent(Whole([say("Whole")]), observers=())))
    assert event.first_token is None
    (event,) = called(await watched(Agent(ScriptedModel([say("In pieces")]), observers=())))
    assert event.first_token is not None
    assert 0 <= event.first_token <= event.seconds


async def test_what_a_run_was_given_of_its_own_is_told() -> None:
    agent = Agent(ScriptedModel([say("Hi.")] * 2), settings=ModelSettings(top_k=1), observers=())
    first, *_ = await watched(agent, settings=ModelSettings(seed=3), limits=Limits(steps=4))
    assert isinstance(first, RunStarted)
    assert first.settings == ModelSettings(seed=3)
    assert first.limits is not None
    assert first.limits["steps"] == 4
    first, *_ = await watched(agent)
    assert isinstance(first, RunStarted)
    assert (first.settings, first.limits) == (None, None)
