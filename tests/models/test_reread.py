from __future__ import annotations

import pytest

from agentkit.gemma4.tokens import IDS
from agentkit.messages import AssistantMessage, ModelResponse, ToolCall
from agentkit.models.reread import has_calls, with_leaks, without_thoughts
from agentkit.wire import Reply

CALL = ToolCall("call_0", "add", {"a": 1})


def response(
    text: str | None = None, *calls: ToolCall, thought: str | None = None
) -> ModelResponse:
    return ModelResponse(AssistantMessage(text, calls, thought), "tool_calls" if calls else "stop")


@pytest.mark.parametrize(
    ("reply", "given", "expected"),
    [
        (Reply(finish="stop"), response("hi"), False),
        (Reply(finish="stop"), response(None, CALL), True),
        (Reply(finish="tool_calls"), response("hi"), True),
        (Reply(finish="stop", token_ids=[IDS["<|tool_call>"], 7]), response("hi"), True),
        (Reply(finish="stop", token_ids=[7]), response("<|tool_call>call:add{}"), False),
    ],
)
def test_a_call_is_one_by_its_tokens_or_its_server(
    reply: Reply, given: ModelResponse, expected: bool
) -> None:
    assert has_calls(reply, given) is expected


def test_a_thought_in_the_text_moves_to_the_reasoning() -> None:
    cleaned = without_thoughts(response("<|channel>thought\nhm<channel|>Yes.", thought="first"))
    assert cleaned.message == AssistantMessage("Yes.", (), "first\nhm")


def test_a_response_without_leaks_is_left_alone() -> None:
    for given in (response("Yes."), response(None, CALL, thought="hm")):
        assert without_thoughts(given) is given
        assert with_leaks(given, ()) is given


def test_leaked_calls_take_the_place_of_the_text() -> None:
    given = with_leaks(response("<|tool_call>call:add{a:1}<tool_call|>"), (CALL,))
    assert given == response(None, CALL)


def test_leaked_calls_of_a_cut_reply_stay_cut() -> None:
    cut = ModelResponse(AssistantMessage("call:add{a:1}"), "length")
    assert with_leaks(cut, (CALL,)).finish_reason == "length"
