from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

import anyio
import pytest

from agentkit import Agent, StepRestarted
from agentkit.events import Event, ModelEvent, ModelFinished, ReasoningDelta, TextDelta
from agentkit.messages import (
    AssistantMessage,
    FinishReason,
    ModelResponse,
    ModelSettings,
    TextPart,
    ToolCall,
    ToolChoice,
    Usage,
    UserMessage,
    text_of,
)
from agentkit.policy import bounded_thoughts, second_try, unusable
from agentkit.policy.guard import noted, reminded
from agentkit.testing import ScriptedModel, say

CALL = (ToolCall("1", "f"),)
SETTINGS = ModelSettings(max_tokens=1000, thinking=True)


def response(
    finish: FinishReason,
    content: str | None = None,
    calls: tuple[ToolCall, ...] = (),
    reasoning: str | None = None,
) -> ModelResponse:
    return ModelResponse(AssistantMessage(content, calls, reasoning), finish, Usage(5, 1000))


REQUIRED = ToolChoice("required")
CUT = "the reply was cut by its bound of tokens in"


@pytest.mark.parametrize(
    ("reply", "reason", "words"),
    [
        (response("length", None, CALL), "truncated", f"{CUT} a call"),
        (response("length", "half an ans"), "truncated", f"{CUT} the answer"),
        (response("length", "", (), "hm hm"), "truncated", f"{CUT} the reasoning"),
        (response("length", "half", CALL, "hm hm"), "truncated", f"{CUT} a call"),
        (response("repetition", "la la la"), "loop", "the reply repeated itself without end"),
        (response("stop", " \n"), "empty", "the reply held nothing"),
        (response("stop", "\u200b", (), "hm"), "empty", "the reply held nothing"),
        (response("stop", "", (), "hm hm"), "empty", "the reply held only reasoning"),
        (
            response("content_filter", "yes"),
            "content_filter",
            "the server withheld a part of the reply",
        ),
        (
            response("malformed_call", "yes"),
            "malformed_call",
            "the reply began a call where none can be",
        ),
        (
            response("tool_calls", None, (ToolCall("call_0", ""),)),
            "malformed_call",
            "the reply held a call without a name",
        ),
    ],
)
def test_a_reply_that_is_no_step_forward_is_named(
    reply: ModelResponse, reason: str, words: str
) -> None:
    assert unusable(reply) == (reason, words)


@pytest.mark.parametrize(
    ("choice", "reason", "words"),
    [
        (
            ToolChoice("required", "g"),
            "no_call",
            "a call of g was required, and the reply calls f",
        ),
        (
            ToolChoice("required", among=("g", "h")),
            "no_call",
            "a call of g or h was required, and the reply calls f",
        ),
        (ToolChoice("none"), "malformed_call", "the reply holds a call, and none was allowed"),
    ],
)
def test_a_call_that_was_not_asked_for_is_told_with_the_one_that_was(
    choice: ToolChoice, reason: str, words: str
) -> None:
    assert unusable(response("tool_calls", None, CALL), choice=choice) == (reason, words)


def test_a_text_where_a_call_was_required_is_told() -> None:
    told = unusable(response("stop", "yes"), choice=REQUIRED)
    assert told == ("no_call", "a call was required, and the reply is text")


def test_a_call_in_a_wrong_form_is_asked_for_again_with_a_note_of_what_is_wrong() -> None:
    *before, last = reminded([UserMessage("Hi."), UserMessage("Go on.")])
    assert before == [UserMessage("Hi.")]
    said = text_of(last.content)
    assert said.startswith(
        "Go on.\n\n(Your last reply was a tool call in a wrong form, so nothing "
    )
    assert said.endswith(")")


def test_a_note_stands_at_the_end_of_what_was_said_last_and_behind_a_reply_nowhere() -> None:
    task = UserMessage("Go on.")
    parts = UserMessage((TextPart("Go on."),))
    assert noted([task], "Now.") == (UserMessage("Go on.\n\nNow."),)
    assert noted([task, parts], "Now.") == (
        task,
        UserMessage((TextPart("Go on."), TextPart("\n\nNow."))),
    )
    replied = (task, AssistantMessage("Yes."))
    assert noted(replied, "Now.") == replied


def test_an_answer_and_a_call_are_steps_forward() -> None:
    assert unusable(response("stop", "yes")) is None
    assert unusable(response("tool_calls", None, CALL)) is None


def reason_of(reply: ModelResponse, choice: ToolChoice) -> str | None:
    problem = unusable(reply, choice=choice)
    return None if problem is None else problem[0]


def test_a_text_is_no_step_forward_where_a_call_was_required() -> None:
    assert reason_of(response("stop", "yes"), REQUIRED) == "no_call"
    assert reason_of(response("tool_calls", None, CALL), REQUIRED) is None
    assert second_try(response("stop", "yes"), SETTINGS, REQUIRED).thinking is False


def test_a_call_of_another_tool_is_not_the_one_that_was_required() -> None:
    reply = response("tool_calls", None, CALL)
    for wrong in (ToolChoice("required", name="g"), ToolChoice("required", among=("g", "h"))):
        assert reason_of(reply, wrong) == "no_call"
        assert second_try(reply, SETTINGS, wrong).thinking is False
    for right in (ToolChoice("required", name="f"), ToolChoice("required", among=("g", "f"))):
        assert reason_of(reply, right) is None


def test_a_call_is_no_step_forward_where_none_was_allowed() -> None:
    assert reason_of(response("tool_calls", None, CALL), ToolChoice("none")) == "malformed_call"
    assert reason_of(response("stop", "yes"), ToolChoice("none")) is None


UNUSABLE = [
    response("stop", "yes"),  # where a call was required
    response("stop", ""),
    response("stop", "", (), "hm hm"),
    response("tool_calls", None, CALL),  # where another one was required, or none allowed
    *(
        response(finish, content, calls, reasoning)
        for finish in ("length", "repetition", "malformed_call")
        for content, calls, reasoning in [
            *(("half", (), None), ("half", (), "hm"), ("", (), "hm hm"), ("", (), None)),
            *((None, CALL, None), (None, CALL, "hm")),
        ]
    ),
]
CHOICES = [
    *(ToolChoice(), REQUIRED, ToolChoice("required", name="g"), ToolChoice("none")),
]


@pytest.mark.parametrize("thinking", [None, True, False])
@pytest.mark.parametrize(("temperature", "seed"), [(0.0, None), (1.0, 7), (None, 7), (0.0, 7)])
def test_what_would_bring_the_same_reply_is_never_asked_again(
    thinking: bool | None, temperature: float | None, seed: int | None
) -> None:
    before = ModelSettings(thinking=thinking, temperature=temperature, seed=seed, max_tokens=256)
    for choice in CHOICES:
        for reply in UNUSABLE:
            if unusable(reply, choice=choice) is None:
                continue
            after = second_try(reply, before, choice)
            # Without a seed only what is greedy comes again; a `thinking` of None may be False.
            sampled = after.temperature != 0.0 and after.seed is None
            other = replace(after, thinking=None) != replace(before, thinking=None)
            turned = thinking not in (None, after.thinking)
            assert sampled or other or turned, (reply, choice, after)


def test_a_thought_that_came_with_thinking_off_gets_more_room() -> None:
    without = ModelSettings(thinking=False, max_tokens=1000)
    assert second_try(response("length", "", (), "hm hm"), without).max_tokens == 2000


def test_a_cut_reply_gets_twice_the_room() -> None:
    assert second_try(response("length", "half"), SETTINGS).max_tokens == 2000
    unbounded = ModelSettings()  # what it had written when the server cut it
    assert second_try(response("length", "half"), unbounded).max_tokens == 2000
    narrow = ModelSettings(max_tokens=10)
    assert second_try(response("length", "half"), narrow).max_tokens == 512


@pytest.mark.parametrize("finish", ["repetition", "content_filter", "stop"])
def test_a_reply_that_would_come_again_is_asked_for_at_another_temperature(
    finish: FinishReason,
) -> None:
    changed = second_try(response(finish, "la la"), replace(SETTINGS, temperature=0.0, seed=7))
    assert changed.temperature == 1.0
    assert (changed.seed is None) == (finish != "repetition")
    assert changed.thinking is (finish != "repetition")


def test_a_call_in_a_wrong_place_is_asked_for_without_a_thought() -> None:
    changed = second_try(response("malformed_call", "x"), SETTINGS)
    assert changed == replace(SETTINGS, thinking=False)


def test_a_temperature_that_was_set_is_kept_for_a_call_in_a_wrong_form() -> None:
    assert second_try(response("stop", "x"), replace(SETTINGS, temperature=0.4)).temperature == 0.4


@pytest.mark.parametrize("finish", ["length", "repetition"])
def test_a_call_that_would_not_end_is_asked_for_without_the_grammar_and_with_another_seed(
    finish: FinishReason,
) -> None:
    changed = second_try(response(finish, None, CALL), replace(SETTINGS, seed=7))
    assert (changed.grammar, changed.seed) == (False, 8)
    assert second_try(response(finish, "text"), SETTINGS).grammar is None


def test_a_thought_that_used_up_the_reply_is_not_thought_again() -> None:
    changed = second_try(response("length", "", (), "hm hm"), SETTINGS)
    assert (changed.thinking, changed.max_tokens) == (False, 1000)


def test_an_empty_reply_is_asked_for_with_the_other_way_of_thinking() -> None:
    assert second_try(response("stop", ""), SETTINGS).thinking is False
    without = ModelSettings(thinking=False)
    assert second_try(response("stop", ""), without).thinking is True
    assert second_try(response("stop", "", (), "thought"), without).thinking is False


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
