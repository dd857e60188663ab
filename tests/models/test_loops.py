"""Replies that go on for ever are noticed while they come."""

from __future__ import annotations

from typing import Any

import pytest

from agentkit.events import ModelFinished, TextDelta
from agentkit.models import VLLMModel
from tests.models.asking import events_of, response_of
from tests.servers import says, serving, streamed, text_chunks


def repeating(*, tokens: bool) -> list[dict[str, Any]]:
    """A reply of the same three words over and over, cut by its bound at last."""
    made = text_chunks("and so on, " * 1_000)
    ids = {"and ": [700], "so ": [701], "on, ": [702]}
    for choice in (choice for piece in made for choice in piece["choices"]):
        if tokens:
            choice["token_ids"] = ids.get(choice["delta"].get("content"), [])
        choice["finish_reason"] = choice["finish_reason"] and "length"
    return made


@pytest.mark.anyio
@pytest.mark.parametrize("tokens", [True, False])
async def test_a_reply_that_repeats_itself_is_left_long_before_its_bound(tokens: bool) -> None:
    with serving(streamed(repeating(tokens=tokens))) as server:
        async with VLLMModel(server.url) as model:
            events = await events_of(model)
    finished = events[-1]
    assert isinstance(finished, ModelFinished)
    assert finished.response.finish_reason == "repetition"
    shown = sum(isinstance(event, TextDelta) for event in events)
    assert shown < 700
    assert (finished.response.usage.output_tokens > 500) is tokens


@pytest.mark.anyio
async def test_a_whole_reply_that_was_cut_in_a_loop_says_so() -> None:
    with serving(streamed(repeating(tokens=False))) as server:
        async with VLLMModel(server.url, stream=False) as model:
            assert (await response_of(model)).finish_reason == "repetition"


def named(*names: str) -> list[dict[str, Any]]:
    """A reply that never gets beyond the name of its call, which comes in these pieces."""
    functions: list[dict[str, Any]] = [
        {"index": 0, "function": {"name": name, "arguments": ""}} for name in names
    ]
    functions[0]["id"] = "call"
    made = [{"choices": [{"index": 0, "delta": {"tool_calls": [each]}}]} for each in functions]
    return [*made, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}]


@pytest.mark.anyio
@pytest.mark.parametrize("names", [["call" * 2_000], ["call"] * 2_000])
async def test_a_call_whose_name_never_ends_is_a_loop(names: list[str]) -> None:
    with serving(streamed(named(*names))) as server:
        async with VLLMModel(server.url) as model:
            reply = await response_of(model)
        assert len(server.requests) == 1
    assert reply.finish_reason == "repetition"
    assert len(reply.message.tool_calls[0].name) <= 1_000


@pytest.mark.anyio
async def test_a_reply_that_ends_by_itself_is_never_a_loop() -> None:
    text = "0, " * 3_000
    with serving(says(text)) as server:
        async with VLLMModel(server.url, stream=False) as model:
            reply = await response_of(model)
    assert (reply.finish_reason, reply.message.content) == ("stop", text)
