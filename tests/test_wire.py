from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.errors import ModelProtocolError
from agentkit.events import ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.messages import (
    AssistantMessage,
    AudioPart,
    FinishReason,
    ImagePart,
    JsonObject,
    Message,
    ModelRequest,
    ModelResponse,
    ModelSettings,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolMessage,
    Usage,
    UserMessage,
    VideoPart,
)
from agentkit.wire import MessageEncoder, ReplyDecoder, count_calls, encode_request, read_call
from tests.servers import call_chunks, chunk, text_chunks, whole

READ = {"name": "read", "description": "Read a file.", "parameters": {"type": "object"}}


def messages(*given: Message) -> Any:
    return json.loads(MessageEncoder(lambda message: message).encode(given))


def body(
    settings: ModelSettings | None = None,
    *,
    declarations: Sequence[JsonObject] = (),
    choice: ToolChoice | None = None,
    stream: bool = False,
    extra: JsonObject | None = None,
) -> Any:
    request = ModelRequest(
        [UserMessage("hi")],
        settings=settings or ModelSettings(),
        tool_choice=choice or ToolChoice(),
    )
    return json.loads(
        encode_request(
            request,
            model="gemma",
            messages=b"[]",
            declarations=declarations,
            stream=stream,
            extra=extra or {},
        )
    )


# --- requests ----------------------------------------------------------------------------------


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    assert body() == {
        "messages": [],
        "model": "gemma",
        "stop_token_ids": [1, 50, 106],
        "return_token_ids": True,
    }


def test_every_setting_has_its_field() -> None:
    settings = ModelSettings(
        temperature=0.0,
        top_p=0.9,
        top_k=40,
        seed=0,
        max_tokens=100,
        stop=("END",),
        thinking=False,
        extra_body={"cache_salt": "tenant"},
    )
    assert body(settings) == {
        "messages": [],
        "model": "gemma",
        "stop_token_ids": [1, 50, 106],
        "return_token_ids": True,
        "temperature": 0.0,
        "top_p": 0.9,
        "top_k": 40,
        "seed": 0,
        "max_tokens": 100,
        "stop": ["END"],
        "chat_template_kwargs": {"enable_thinking": False},
        "cache_salt": "tenant",
    }


def test_a_stream_asks_for_its_usage() -> None:
    sent = body(stream=True)
    assert sent["stream"] is True
    assert sent["stream_options"] == {"include_usage": True}


def test_without_tools_no_tool_field_is_sent() -> None:
    assert not {"tools", "tool_choice", "logit_bias"} & set(body(choice=ToolChoice("none")))


def test_tools_are_sent_as_functions_and_auto_is_left_unsaid() -> None:
    sent = body(declarations=[READ])
    assert sent["tools"] == [{"type": "function", "function": READ}]
    assert "tool_choice" not in sent


def test_forbidding_calls_keeps_the_tools_and_bans_the_token_that_begins_a_call() -> None:
    sent = body(declarations=[READ], choice=ToolChoice("none"))
    assert sent["tools"] == [{"type": "function", "function": READ}]
    assert sent["tool_choice"] == "none"
    assert sent["logit_bias"] == {"48": -100}


def test_a_persons_extra_fields_win_over_the_models_own() -> None:
    settings = ModelSettings(extra_body={"structured_outputs": {"json": {}}})
    sent = body(settings, extra={"structured_outputs": {"regex": "x"}, "priority": 1})
    assert sent["structured_outputs"] == {"json": {}}
    assert sent["priority"] == 1


def test_a_conversation_on_the_wire() -> None:
    call = ToolCall("call_0", "read", {"path": "é.py", "n": 1})
    assert messages(
        SystemMessage("Be brief."),
        UserMessage("Read it."),
        AssistantMessage(None, (call,), reasoning="I must look."),
        ToolMessage("call_0", "read", "print(1)"),
        AssistantMessage("It prints 1."),
    ) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Read it."},
        {
            "role": "assistant",
            "content": None,
            "reasoning": "I must look.",
            "tool_calls": [
                {
                    "id": "call_0",
                    "type": "function",
                    "function": {"name": "read", "arguments": '{"path":"é.py","n":1}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "print(1)"},
        {"role": "assistant", "content": "It prints 1."},
    ]


def test_reasoning_goes_back_only_after_the_last_user_message() -> None:
    old, new = (AssistantMessage("x", reasoning=thought) for thought in ("old", "new"))
    _, first, _, second = messages(UserMessage("a"), old, UserMessage("b"), new)
    assert "reasoning" not in first
    assert second["reasoning"] == "new"


def test_text_beside_calls_is_not_sent() -> None:
    message = AssistantMessage("Let me look.", (ToolCall("call_0", "read"),))
    assert messages(message)[0]["content"] is None


def test_parts_on_the_wire() -> None:
    content = (
        TextPart("What is this?"),
        ImagePart("data:image/png;base64,AA=="),
        AudioPart("UklG", "wav"),
        VideoPart("https://example.invalid/v.mp4"),
    )
    assert messages(UserMessage(content))[0]["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://example.invalid/v.mp4"}},
    ]


def test_half_a_surrogate_pair_becomes_a_question_mark_everywhere() -> None:
    call = ToolCall("call_0", "re\udcffad", {"path": "\udcff", "\ud800": 1})
    user, assistant = messages(UserMessage("a\udcff"), AssistantMessage(None, (call,), "b\udcff"))
    assert user["content"] == "a?"
    assert assistant["reasoning"] == "b?"
    assert assistant["tool_calls"][0]["function"] == {
        "name": "re?ad",
        "arguments": '{"path":"?","?":1}',
    }


def test_a_message_is_encoded_once_however_often_it_is_sent() -> None:
    seen: list[Message] = []

    def escape(message: Message) -> Message:
        seen.append(message)
        return message

    encoder = MessageEncoder(escape)
    first, second = UserMessage("a"), UserMessage("b")
    encoder.encode([first])
    encoder.encode([first, second])
    assert seen == [first, second]


def test_the_encoder_forgets_the_oldest_message_beyond_its_limit_and_still_sends_it() -> None:
    encoder = MessageEncoder(lambda message: message, limit=2)
    many = [UserMessage(str(n)) for n in range(5)]
    for _ in range(2):
        assert [m["content"] for m in json.loads(encoder.encode(many))] == list("01234")


def test_the_same_message_before_and_after_a_user_message_is_sent_both_ways() -> None:
    encoder = MessageEncoder(lambda message: message)
    thought = AssistantMessage("x", reasoning="why")
    assert "reasoning" in json.loads(encoder.encode([thought]))[0]
    assert "reasoning" not in json.loads(encoder.encode([thought, UserMessage("a")]))[0]


# --- replies -----------------------------------------------------------------------------------


def decoder_of(*chunks: JsonObject, max_tokens: int | None = None) -> ReplyDecoder:
    decoder = ReplyDecoder(max_tokens)
    for piece in chunks:
        decoder.feed(json.dumps(piece).encode())
    return decoder


def response_of(*chunks: JsonObject, max_tokens: int | None = None) -> ModelResponse:
    return decoder_of(*chunks, max_tokens=max_tokens).finish(0)


CONVERSATIONS = {
    "text": text_chunks("It is sunny in Turin."),
    "a call": call_chunks(("read", {"path": "a.py"})),
    "two calls": call_chunks(("read", {"path": "a.py"}), ("list", {})),
    "a thought and text": [
        chunk({"reasoning": "Let me "}),
        chunk({"reasoning": "think."}),
        chunk({"content": "Yes."}),
        chunk({}, "stop"),
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}},
    ],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_reply_is_the_same_streamed_and_whole(name: str) -> None:
    chunks = CONVERSATIONS[name]
    assert response_of(*chunks) == response_of(whole(chunks))


def test_the_pieces_of_a_reply_can_be_shown_as_they_come() -> None:
    decoder = ReplyDecoder()
    pieces = [
        chunk({"reasoning": "Hm."}),
        chunk({"content": "Hi"}),
        chunk({"tool_calls": [{"index": 0, "function": {"name": "read"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
    ]
    assert [event for p in pieces for event in decoder.feed(json.dumps(p).encode())] == [
        ReasoningDelta("Hm."),
        TextDelta("Hi"),
        ToolCallDelta(0, "read", ""),
        ToolCallDelta(0, "read", "{}"),
    ]


def test_the_older_name_of_reasoning_is_read() -> None:
    reply = response_of(chunk({"reasoning_content": "Hm.", "content": "Hi"}, "stop"))
    assert reply.message == AssistantMessage("Hi", reasoning="Hm.")


def test_chunks_without_id_or_name_go_on_with_the_call_of_their_index() -> None:
    reply = response_of(
        chunk({"tool_calls": [{"index": 1, "function": {"name": "list"}}]}),
        chunk({"tool_calls": [{"index": 0, "id": None, "function": {"name": "read"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"name": None, "arguments": '{"p'}}]}),
        chunk({"tool_calls": [{"index": 1, "function": None}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '":1}'}}]}),
        chunk({}, "tool_calls"),
    )
    assert reply.message.tool_calls == (
        ToolCall("call_0", "read", {"p": 1}),
        ToolCall("call_1", "list", {}),
    )


def test_calls_are_numbered_by_their_place_in_the_conversation() -> None:
    decoder = decoder_of(*call_chunks(("read", {}), ("list", {})))
    assert [call.id for call in decoder.finish(7).message.tool_calls] == ["call_7", "call_8"]


def test_text_beside_calls_is_shown_but_not_kept() -> None:
    reply = response_of(chunk({"content": "Let me look."}), *call_chunks(("read", {})))
    assert reply.message.content is None


def test_usage_is_the_servers_with_details_where_it_gives_them() -> None:
    reply = response_of(
        chunk({"content": "x"}, "stop"),
        {
            "choices": [],
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "prompt_tokens_details": {"cached_tokens": 64},
                "completion_tokens_details": {"reasoning_tokens": 8},
            },
        },
    )
    assert reply.usage == Usage(100, 20, 64, 8)


def test_usage_that_is_not_given_is_nought() -> None:
    null = {"prompt_tokens": 1, "completion_tokens": None, "prompt_tokens_details": None}
    assert response_of(chunk({"content": "x"}, "stop")).usage == Usage()
    reply = response_of(chunk({"content": "x"}, "stop"), {"choices": [], "usage": null})
    assert reply.usage == Usage(1)


def test_token_ids_are_collected_from_all_chunks() -> None:
    first: dict[str, Any] = chunk({"content": "x"}) | {"prompt_token_ids": [2, 3]}
    first["choices"][0]["token_ids"] = [10]
    second = chunk({"content": "y"}, "stop")
    second["choices"][0]["token_ids"] = [11, 106]
    reply = decoder_of(first, second).reply
    assert (reply.prompt_token_ids, reply.token_ids) == ([2, 3], [10, 11, 106])


# --- whether a reply is whole ------------------------------------------------------------------


def test_a_stream_without_a_finish_reason_was_cut() -> None:
    with pytest.raises(ModelProtocolError, match="without a finish reason"):
        response_of(*call_chunks(("read", {"path": "a.py"}))[:-2])


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_a_reply_that_the_server_gave_up_is_no_answer(reason: str) -> None:
    with pytest.raises(ModelProtocolError, match=reason):
        response_of(chunk({"content": "half an ans"}, reason))


@pytest.mark.parametrize("reason", ["length", "repetition", "content_filter"])
def test_reasons_that_mean_what_they_say_are_kept(reason: FinishReason) -> None:
    assert response_of(chunk({"content": "x"}, reason)).finish_reason == reason


def ended(finish: str, *, produced: int, last: int | None, calls: bool = True) -> FinishReason:
    pieces = call_chunks(("read", {"path": "a.py"}))[:-2] if calls else [chunk({"content": "x"})]
    end = chunk({}, finish)
    if last is not None:
        end["choices"][0]["token_ids"] = [7] * (produced - 1) + [last]
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": produced}}
    return response_of(*pieces, end, usage, max_tokens=10).finish_reason


def test_a_cut_call_that_claims_to_be_whole_is_found_by_its_last_token() -> None:
    assert ended("tool_calls", produced=10, last=7) == "length"


def test_a_call_that_fills_the_limit_exactly_and_stops_is_whole() -> None:
    assert ended("tool_calls", produced=10, last=50) == "tool_calls"


def test_without_token_ids_a_reply_that_fills_the_limit_counts_as_cut() -> None:
    assert ended("tool_calls", produced=10, last=None) == "length"
    assert ended("stop", produced=10, last=None, calls=False) == "length"


def test_a_reply_below_the_limit_is_whole_whatever_its_last_token() -> None:
    assert ended("tool_calls", produced=9, last=7) == "tool_calls"


def test_the_reason_says_whether_there_are_calls_not_what_the_server_claims() -> None:
    assert ended("stop", produced=3, last=50) == "tool_calls"
    assert ended("tool_calls", produced=3, last=106, calls=False) == "stop"


# --- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " \n", "{}", "{ }", "null"])
def test_no_arguments_are_an_empty_object(text: str) -> None:
    assert read_call("c", "f", text) == ToolCall("c", "f", {})


@pytest.mark.parametrize(
    "text",
    ['{"a": 1', '{"a": NaN}', "[1]", '"x"', "call:f{a:1}", '{"a": "\\ud800"}', "[" * 5000],
)
def test_text_that_is_no_json_object_is_kept_as_malformed(text: str) -> None:
    assert read_call("c", "f", text) == ToolCall("c", "f", {}, malformed=text)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=30))
def test_reading_arguments_never_raises_and_always_gives_an_object(text: str) -> None:
    call = read_call("c", "f", text)
    assert isinstance(call.arguments, dict)
    assert not (call.malformed and call.arguments)


def test_the_number_of_the_next_call_counts_all_earlier_ones() -> None:
    two = AssistantMessage(None, (ToolCall("call_0", "a"), ToolCall("call_1", "b")))
    assert count_calls([UserMessage("x"), two, two]) == 4


# --- garbage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no json",
        b"[]",
        b"null",
        b"3",
        b'"x"',
        b"{}",
        b'{"choices": null}',
        b'{"choices": [3]}',
        b'{"choices": [{"delta": "x"}]}',
        b'{"choices": [{"delta": {"content": 5}}]}',
        b'{"choices": [{"delta": {"content": ["x"]}}]}',
        b'{"choices": [{"delta": {"reasoning": {"a": 1}}}]}',
        b'{"choices": [{"delta": {"tool_calls": 1}}]}',
        b'{"choices": [{"delta": {"tool_calls": [{"index": "0"}]}}]}',
        b'{"choices": [{"delta": {"tool_calls": [{"function": {"name": 1}}]}}]}',
        b'{"choices": [{"message": {"tool_calls": [{"function": {"arguments": {"a": 1}}}]}}]}',
        b'{"choices": [{"finish_reason": {}, "delta": {"finish": 1}}], "usage": []}',
        b'{"choices": [{"finish_reason": 1}]}',
        b'{"choices": [], "usage": {"prompt_tokens": "5"}}',
        b'{"choices": [], "prompt_token_ids": 5}',
        b'{"choices": [{"token_ids": 5}]}',
        b"[" * 10_000,
        b"\xff\xfe",
    ],
)
def test_a_payload_that_is_no_chat_completion_is_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(ModelProtocolError, match="no chat completion"):
        ReplyDecoder().feed(payload)


_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["stop", "length", "tool_calls"]),
)
_fields = st.sampled_from(
    [
        "index",
        "delta",
        "message",
        "content",
        "reasoning",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "finish_reason",
        "token_ids",
        "usage",
        "prompt_tokens",
        "choices",
        "id",
        "prompt_tokens_details",
        "cached_tokens",
        "prompt_token_ids",
    ]
)
_garbage = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_fields, inner, max_size=4),
    max_leaves=6,
)


@st.composite
def nearly_chunks(draw: st.DrawFn) -> Any:
    """A chunk of the right shape in which one place holds garbage."""
    call = {
        "index": draw(st.one_of(st.integers(0, 2), _garbage)),
        "function": draw(st.dictionaries(st.sampled_from(["name", "arguments"]), _garbage)),
    }
    delta = draw(st.dictionaries(_fields, _garbage, max_size=2))
    choice = {"delta": {"tool_calls": [call], **delta}, "finish_reason": draw(_leaves)}
    return {"choices": [choice], **draw(st.dictionaries(_fields, _garbage, max_size=2))}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(nearly_chunks(), _garbage), max_size=3))
def test_whatever_json_a_server_sends_only_a_protocol_error_comes_of_it(pieces: list[Any]) -> None:
    decoder = ReplyDecoder(max_tokens=5)
    try:
        for piece in pieces:
            decoder.feed(json.dumps(piece).encode())
        reply = decoder.finish(0)
    except ModelProtocolError:
        return
    assert isinstance(reply.usage + Usage(1), Usage)
    assert all(isinstance(call.arguments, dict) for call in reply.message.tool_calls)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_whatever_bytes_a_server_sends_only_a_protocol_error_comes_of_it(payload: bytes) -> None:
    with suppress(ModelProtocolError):
        ReplyDecoder().feed(payload)


def shown_while_streaming(*pieces: str) -> str:
    decoder = ReplyDecoder()
    events = [
        event
        for piece in pieces
        for event in decoder.feed(json.dumps({"choices": [{"delta": {"content": piece}}]}).encode())
    ]
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["Yes ", "and <", "b> no"], "Yes and <b> no"),
        (["Yes <|chan", "nel>thought\nhm<channel|>No."], "Yes "),
        (["Yes <|tool_", "call>call:f{}"], "Yes "),
        (["thou", "ght", "\nhm<channel|>No."], ""),
        (["thou", "gh it rains"], "though it rains"),
        (["A thought\n"], "A thought\n"),
    ],
)
def test_what_may_be_a_leak_is_not_shown_while_it_streams(pieces: list[str], shown: str) -> None:
    assert shown_while_streaming(*pieces) == shown
