from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.errors import (
    ModelProtocolError,
    ModelResponseTooLargeError,
    ModelUnreadableError,
)
from agentkit.events import ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.messages import (
    AssistantMessage,
    FinishReason,
    JsonObject,
    ModelResponse,
    ToolCall,
    Usage,
)
from agentkit.wire import (
    ReplyDecoder,
    read_call,
)
from tests.servers import call_chunks, chunk, text_chunks, whole


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


def test_an_answer_that_says_nothing_at_all_is_told_apart_from_a_cut_one() -> None:
    with pytest.raises(ModelUnreadableError, match="before it said anything"):
        ReplyDecoder().finish(1)


def test_of_several_choices_in_one_chunk_the_first_by_its_index_is_read() -> None:
    second, first = chunk({"content": "no"}), chunk({"content": "yes"}, "stop")
    second["choices"][0]["index"] = 1
    second["choices"] += first["choices"]
    assert response_of(second).message.content == "yes"


def test_chunks_in_one_list_are_a_reply() -> None:
    decoder = ReplyDecoder()
    decoder.feed(json.dumps([chunk({"content": "a"}), chunk({"content": "b"}, "stop")]).encode())
    assert decoder.finish(1).message.content == "ab"


def test_the_reply_of_another_protocol_is_not_called_an_error() -> None:
    ollama = b'{"model": "m", "message": {"role": "assistant", "content": "hi"}, "done": true}'
    decoder = ReplyDecoder()
    decoder.feed(ollama)
    with pytest.raises(ModelUnreadableError, match="no chat completion"):
        decoder.finish(1)


@pytest.mark.parametrize("reason", ["abort", "error", "USER_CANCEL", "network_error"])
def test_a_reply_that_the_server_gave_up_is_no_answer(reason: str) -> None:
    with pytest.raises(ModelProtocolError, match=reason):
        response_of(chunk({"content": "half an ans"}, reason))


@pytest.mark.parametrize("reason", ["length", "repetition", "content_filter"])
def test_reasons_that_mean_what_they_say_are_kept(reason: FinishReason) -> None:
    assert response_of(chunk({"content": "x"}, reason)).finish_reason == reason


@pytest.mark.parametrize("reason", ["length", "content_filter", "abort"])
def test_a_plain_end_behind_a_reason_does_not_take_it_back(reason: str) -> None:
    decoder = decoder_of(*call_chunks(("read", {"path": "a.py"}))[:-2], chunk({}, reason))
    decoder.feed(json.dumps(chunk({}, "stop")).encode())
    assert decoder.reply.finish == reason


def test_a_choice_whose_place_is_left_out_now_and_then_is_one_choice() -> None:
    first, second = chunk({"content": "a"}), chunk({"content": "b"}, "stop")
    del first["choices"][0]["index"]
    assert response_of(first, second).message.content == "ab"


@pytest.mark.parametrize("ids", [("", ""), ("a", "a")])
def test_what_may_be_a_name_in_two_pieces_is_no_call(ids: tuple[str, str]) -> None:
    pieces = [
        chunk({"tool_calls": [{"index": 0, "id": i, "function": {"name": n, "arguments": a}}]})
        for i, n, a in zip(ids, ("look", "look_up"), ("", "{}"), strict=True)
    ]
    calls = response_of(*pieces, chunk({}, "tool_calls")).message.tool_calls
    assert [call.malformed is None for call in calls] == [False, False]


def call_pieces(*pieces: tuple[int, str, str, str]) -> list[dict[str, Any]]:
    """A reply whose chunks have this index, id, name and piece of arguments each."""
    made = [
        chunk({"tool_calls": [{"index": at, "id": i, "function": {"name": n, "arguments": a}}]})
        for at, i, n, a in pieces
    ]
    return [*made, chunk({}, "tool_calls")]


def test_a_new_id_in_the_middle_of_arguments_begins_no_call() -> None:
    pieces = [
        (0, "r1", "look", ""),
        (0, "r2", "", '{"a":'),
        (0, "r3", "", " "),
        (0, "r4", "", "1}"),
    ]
    reply = response_of(*call_pieces(*pieces, (1, "r5", "look", ""), (1, "r6", "", '{"a":2}')))
    assert [call.arguments for call in reply.message.tool_calls] == [{"a": 1}, {"a": 2}]
    assert [call.name for call in reply.message.tool_calls] == ["look", "look"]


def test_calls_that_all_have_the_same_id_are_told_apart_by_their_index() -> None:
    for later in ("", "x"):
        pieces = [(0, "x", "look", ""), (0, later, "", '{"a":1}')]
        pieces += [(1, "x", "look", ""), (1, later, "", '{"a":1}')]
        reply = response_of(*call_pieces(*pieces))
        assert [call.name for call in reply.message.tool_calls] == ["look", "look"]
        assert [call.arguments for call in reply.message.tool_calls] == [{"a": 1}, {"a": 1}]


def test_what_follows_the_mark_of_the_end_is_no_part_of_a_reply() -> None:
    decoder = decoder_of(chunk({"content": "Hello"}), chunk({}, "stop"))
    decoder.feed(b"[DONE]")
    assert decoder.feed(json.dumps(chunk({"content": "!!"})).encode()) == []
    assert decoder.finish(1).message.content == "Hello"


def test_a_reply_that_is_json_in_json_is_read() -> None:
    reply = json.dumps(json.dumps(whole([chunk({"content": "Hello"}), chunk({}, "stop")])))
    for text in (reply.encode(), b"\xef\xbb\xbf" + reply.encode()):
        decoder = ReplyDecoder()
        decoder.feed(text)
        assert decoder.finish(1).message.content == "Hello"


def test_an_error_that_says_nothing_beside_a_reply_is_none() -> None:
    ended = chunk({"content": "Hello"}, "stop")
    assert response_of({**ended, "error": {"code": 0, "message": ""}}).message.content == "Hello"


def test_a_refusal_is_what_the_model_said() -> None:
    assert response_of(chunk({"refusal": "I can not."}, "stop")).message.content == "I can not."


def test_a_character_that_is_cut_in_two_between_chunks_of_arguments_is_whole() -> None:
    def piece(arguments: str, name: str | None = None) -> JsonObject:
        function = {"arguments": arguments, **({"name": name} if name else {})}
        return chunk({"tool_calls": [{"index": 0, "function": function}]})

    whole = response_of(
        piece('{"q": "', "find"), piece("\ud83d"), piece('\ude00 x"}'), chunk({}, "tool_calls")
    )
    assert whole.message.tool_calls == (ToolCall("call_0", "find", {"q": "😀 x"}),)


def test_a_character_that_is_cut_off_at_the_end_is_shown_as_one_that_is_missing() -> None:
    decoder = decoder_of(chunk({"content": "half \ud83d"}), chunk({}, "stop"))
    message = decoder.finish(0).message
    assert message.content == "half \ufffd"
    assert decoder.withheld(message) == "\ufffd"


def test_arguments_that_are_no_object_make_a_malformed_call() -> None:
    call = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": [1]}}]}
    assert response_of(chunk(call, "tool_calls")).message.tool_calls[0].malformed == "[1]"


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
        b'{"choices": [3]}',
        b'{"choices": [{"delta": "x"}]}',
        b'{"choices": [{"delta": {"content": 5}}]}',
        b'{"choices": [{"delta": {"reasoning": {"a": 1}}}]}',
        b'{"choices": [{"delta": {"tool_calls": 1}}]}',
        b'{"choices": [{"delta": {"tool_calls": [{"function": {"name": 1}}]}}]}',
        b'{"choices": [{"finish_reason": {}, "delta": {"finish": 1}}], "usage": []}',
        b'{"choices": [{"finish_reason": 1}]}',
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


@pytest.mark.slow
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


# --- size --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x" * 100},
        {"reasoning": "x" * 100},
        {"tool_calls": [{"index": 0, "function": {"arguments": "x" * 100}}]},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "é" * 50}}]},
    ],
)
def test_what_a_reply_says_is_bounded_in_bytes_reasoning_and_calls_too(delta: JsonObject) -> None:
    decoder = ReplyDecoder(max_bytes=2_000)
    payload = json.dumps({"choices": [{"delta": delta}]}).encode()
    for _ in range(14):  # a call has a price of its own
        decoder.feed(payload)
    with pytest.raises(ModelResponseTooLargeError, match="more than 2,000 bytes"):
        _feed_often(decoder, payload, 7)


def _feed_often(decoder: ReplyDecoder, payload: bytes, times: int) -> None:
    for _ in range(times):
        decoder.feed(payload)


def test_token_ids_count_too() -> None:
    decoder = ReplyDecoder(max_bytes=2_000)
    with pytest.raises(ModelResponseTooLargeError):
        decoder.feed(json.dumps({"choices": [{"token_ids": list(range(251))}]}).encode())


def test_many_small_pieces_add_up_to_the_same_text() -> None:
    decoder = ReplyDecoder()
    for n in range(10_000):
        decoder.feed(json.dumps({"choices": [{"delta": {"content": f"{n},"}}]}).encode())
    decoder.feed(b'{"choices": [{"finish_reason": "stop"}]}')
    assert decoder.finish(0).message.content == "".join(f"{n}," for n in range(10_000))


@pytest.mark.parametrize("ids", [[{}], ["1"], "12", [True], {"a": 1}])
def test_token_ids_that_are_none_are_no_chat_completion(ids: object) -> None:
    with pytest.raises(ModelProtocolError, match="no chat completion"):
        ReplyDecoder().feed(json.dumps({"choices": [{"token_ids": ids}]}).encode())
