from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.gemma4.tokens import CONTROL_LITERALS, IDS
from agentkit.messages import ToolCall
from agentkit.testing import call, calls, cut, say
from agentkit.testing.faults.served import (
    Served,
    ServedCall,
    detokenize,
    encode,
    prompt_tokens,
    served,
    tokenize,
)
from agentkit.wire import ReplyDecoder

STREAMS = Path(__file__).parents[1] / "streams"
STREAMED = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "return_token_ids": True,
    "max_tokens": 500,
}
WHOLE = {"return_token_ids": True, "max_tokens": 500}

texts = st.lists(st.sampled_from(CONTROL_LITERALS) | st.text(max_size=8), max_size=6).map("".join)


def chunks(reply: Served) -> list[dict[str, Any]]:
    events = encode(reply, STREAMED, model="m", number=0)
    assert events[-1] == b"data: [DONE]\n\n"
    return [json.loads(event.removeprefix(b"data: ")) for event in events[:-1]]


def decoded(reply: Served, request: dict[str, Any]) -> ReplyDecoder:
    decoder = ReplyDecoder(request["max_tokens"])
    for piece in encode(reply, request, model="m", number=0):
        payload = piece.removeprefix(b"data: ").strip()
        if payload != b"[DONE]":
            decoder.feed(payload)
    return decoder


@given(texts.filter(lambda text: "\ufffd" not in text))
def test_tokens_and_texts_are_each_others_inverse(text: str) -> None:
    assert detokenize(tokenize(text)) == text


def test_control_tokens_have_the_ids_of_gemma_4() -> None:
    assert tokenize("<|tool_call>a<tool_call|>")[::2] == [IDS["<|tool_call>"], IDS["<tool_call|>"]]


@given(texts)
def test_a_prompt_counts_as_many_tokens_as_its_text_has(text: str) -> None:
    shown = [{"role": "user", "content": text}]
    assert prompt_tokens({"messages": shown}) == len(tokenize(json.dumps(shown)))


@pytest.mark.parametrize("request_", [STREAMED, WHOLE], ids=["streamed", "whole"])
@given(
    text=st.text(),
    reasoning=st.text(),
    arguments=st.lists(st.dictionaries(st.text(), st.text() | st.integers()), max_size=3),
)
def test_a_reply_arrives_as_it_was_said(
    request_: dict[str, Any], text: str, reasoning: str, arguments: list[dict[str, Any]]
) -> None:
    wanted = tuple(ServedCall("f", json.dumps(a)) for a in arguments)
    reply = decoded(Served(text=text, reasoning=reasoning, calls=wanted), request_).reply
    assert str(reply.text) == text
    assert str(reply.reasoning) == reasoning
    got = [json.loads(str(made.arguments) or "{}") for made in reply.calls]
    assert got == arguments


def test_the_token_ids_are_what_the_model_wrote_stop_token_included() -> None:
    reply = served(calls(("add", {"a": 1}), ("now", {}), reasoning="hm"))
    native = (
        "<|channel>thought\nhm<channel|><|tool_call>call:add{a:1}<tool_call|>"
        "<|tool_call>call:now{}<tool_call|><|tool_response>"
    )
    for request in (STREAMED, WHOLE):
        assert detokenize(decoded(reply, request).reply.token_ids) == native


def test_token_ids_and_usage_come_only_to_those_who_ask() -> None:
    events = encode(served(say("hi")), {"stream": True}, model="m", number=0)
    assert not any(b"token_ids" in event or b"usage" in event for event in events)


def test_a_cut_reply_has_used_up_its_room_and_has_no_stop_token() -> None:
    for request in (STREAMED, WHOLE):
        decoder = decoded(served(cut(say("half an ans"))), request)
        assert decoder.finish(0).finish_reason == "length"
        assert decoder.reply.usage is not None
        assert decoder.reply.usage.output_tokens == 500
        assert decoder.reply.token_ids[-1] not in (1, 50, 106)


def test_a_whole_reply_with_a_cut_call_says_tool_calls_as_vllm_does() -> None:
    reply = served(cut(call("order", item="pai")))
    (body,) = encode(reply, WHOLE, model="m", number=0)
    assert json.loads(body)["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks(reply)[-2]["choices"][0]["finish_reason"] == "length"


def test_malformed_arguments_go_out_as_the_text_they_are() -> None:
    reply = call("add")
    broken = ToolCall("", "add", malformed="{'a'")
    made = served(type(reply)(type(reply.message)(None, (broken,)), "tool_calls"))
    assert made.calls[0].arguments == "{'a'"


def shape(value: Any) -> Any:
    """The keys of a JSON value, to any depth."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(item) for item in value[:1]] if isinstance(value, list) else None


def missing(ours: Any, real: Any, path: str = "") -> list[str]:
    """Fields that we send and the real server did not."""
    if isinstance(ours, dict) and isinstance(real, dict):
        unknown = [f"{path}.{key}" for key in ours.keys() - real.keys()]
        return unknown + [
            found
            for key in ours.keys() & real.keys()
            for found in missing(ours[key], real[key], f"{path}.{key}")
        ]
    if isinstance(ours, list) and isinstance(real, list) and ours and real:
        return missing(ours[0], real[0], f"{path}[]")
    return []


def test_chunks_have_the_fields_that_a_real_server_sent() -> None:
    recorded = (STREAMS / "thought_call.sse").read_bytes().split(b"\n\n")
    real = [json.loads(e.removeprefix(b"data: ")) for e in recorded if e.startswith(b"data: {")]
    ours = chunks(served(calls(("add", {"a": 17, "b": 25}), reasoning="I need the sum.")))
    for kind in ("role", "reasoning", "tool_calls"):
        sent = next(c for c in ours if kind in c["choices"][0]["delta"])
        seen = next(c for c in real if kind in c["choices"][0]["delta"])
        assert missing(shape(sent), shape(seen)) == []
    for position in (-2, -1):  # the finish reason, and the usage
        assert missing(shape(ours[position]), shape(real[position])) == []
