from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio

from agentkit import Agent, ModelSettings, StepRestarted
from agentkit.events import Event, ModelEvent, ModelFinished, ReasoningDelta, TextDelta
from agentkit.messages import AssistantMessage, ModelResponse
from agentkit.policy import bounded_thoughts
from agentkit.testing import ScriptedModel, say

ANSWER = ModelFinished(ModelResponse(AssistantMessage("done"), "stop"))


class Stream:
    """Events of a reply, and whether their reader closed it before its end."""

    def __init__(self, *events: ModelEvent) -> None:
        self._events = events
        self.left = False

    async def events(self) -> AsyncGenerator[ModelEvent, None]:
        try:
            for event in self._events:
                yield event
        except GeneratorExit:
            self.left = True
            raise


def bounded(stream: Stream, most: int | None) -> list[ModelEvent]:
    async def collect() -> list[ModelEvent]:
        return [event async for event in bounded_thoughts(stream.events(), most)]

    return anyio.run(collect)


def test_a_thought_within_its_bound_is_left_alone() -> None:
    events: list[ModelEvent] = [
        ReasoningDelta("a" * 39),
        ReasoningDelta("a"),
        TextDelta("done"),
        ANSWER,
    ]
    for most in (None, 10):
        stream = Stream(*events)
        assert bounded(stream, most) == events
        assert not stream.left


def test_a_thought_beyond_its_bound_is_left_in_mid_stream_as_a_cut_reply() -> None:
    stream = Stream(ReasoningDelta("a" * 40), ReasoningDelta("b"), TextDelta("never"), ANSWER)
    *shown, last = bounded(stream, 10)
    assert shown == [ReasoningDelta("a" * 40), ReasoningDelta("b")]
    assert isinstance(last, ModelFinished)
    assert last.response.finish_reason == "length"
    assert last.response.usage.output_tokens == 10
    assert last.response.message.content is None
    assert stream.left


def test_a_reply_begun_again_thinks_from_nothing() -> None:
    again = StepRestarted("the connection broke", attempt=2)
    events: list[ModelEvent] = [
        ReasoningDelta("a" * 30),
        again,
        ReasoningDelta("a" * 30),
        TextDelta("done"),
        ANSWER,
    ]
    assert bounded(Stream(*events), 10) == events


def test_a_run_asks_again_without_a_thought() -> None:
    seen: list[Event] = []
    model = ScriptedModel([say("never", reasoning="hm " * 100), say("done")])
    agent = Agent(model, observers=[lambda _, event: seen.append(event)])
    settings = ModelSettings(thinking=True, thinking_tokens=50)
    result = agent.run_sync("hi", settings=settings)
    assert result.output == "done"
    assert [request.settings.thinking for request in model.requests] == [True, False]
    assert [event.reason for event in seen if isinstance(event, StepRestarted)]
