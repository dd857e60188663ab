"""Unusable replies, and what to change for the second try."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentkit.messages import (
    AssistantMessage,
    FinishReason,
    ModelResponse,
    ModelSettings,
    ToolCall,
    Usage,
)
from agentkit.policy import second_try, unusable

CALL = (ToolCall("1", "f"),)
SETTINGS = ModelSettings(max_tokens=1000, thinking=True)


def response(
    finish: FinishReason,
    content: str | None = None,
    calls: tuple[ToolCall, ...] = (),
    reasoning: str | None = None,
) -> ModelResponse:
    return ModelResponse(AssistantMessage(content, calls, reasoning), finish, Usage(5, 1000))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (response("length", None, CALL), "truncated"),
        (response("length", "half an ans"), "truncated"),
        (response("length", "", (), "hm hm"), "truncated"),
        (response("repetition", "la la la"), "loop"),
        (response("stop", " \n"), "empty"),
        (response("stop", "", (), "only a thought"), "empty"),
    ],
)
def test_a_reply_that_is_no_step_forward_is_named(reply: ModelResponse, reason: str) -> None:
    problem = unusable(reply)
    assert problem is not None
    assert problem[0] == reason


def test_an_answer_and_a_call_are_steps_forward() -> None:
    assert unusable(response("stop", "yes")) is None
    assert unusable(response("tool_calls", None, CALL)) is None


def test_a_cut_reply_gets_twice_the_room() -> None:
    assert second_try(response("length", "half"), SETTINGS).max_tokens == 2000


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
