from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agentkit.messages import (
    AssistantMessage,
    AudioPart,
    ImagePart,
    JsonObject,
    Message,
    ModelRequest,
    ModelSettings,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolMessage,
    UserMessage,
    VideoPart,
)
from agentkit.wire import (
    MessageEncoder,
    constrains_itself,
    encode_detokenize,
    encode_request,
)

READ = {"name": "read", "description": "Read a file.", "parameters": {"type": "object"}}


def messages(*given: Message) -> Any:
    return json.loads(MessageEncoder(lambda message: message).encode(given))


def body(
    settings: ModelSettings | None = None,
    *,
    declarations: Sequence[JsonObject] = (),
    choice: ToolChoice | None = None,
    stream: bool = False,
    grammar: JsonObject | None = None,
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
            held=None if grammar is None else {"structured_outputs": grammar},
        )
    )


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
    sent = body(settings, grammar={"structural_tag": "x"})
    assert sent["structured_outputs"] == {"json": {}}


def test_a_persons_own_template_arguments_stand_beside_ours() -> None:
    settings = ModelSettings(
        thinking=True, extra_body={"chat_template_kwargs": {"preserve_thinking": True}}
    )
    assert body(settings)["chat_template_kwargs"] == {
        "enable_thinking": True,
        "preserve_thinking": True,
    }


def test_a_person_may_take_our_template_arguments_out() -> None:
    settings = ModelSettings(thinking=True, extra_body={"chat_template_kwargs": None})
    assert body(settings)["chat_template_kwargs"] is None


def test_a_grammar_is_sent_beside_the_tools() -> None:
    assert body(grammar={"structural_tag": "x"})["structured_outputs"] == {"structural_tag": "x"}


def test_a_caller_who_holds_the_reply_to_something_gets_no_second_constraint() -> None:
    assert constrains_itself(ModelSettings(extra_body={"response_format": {"type": "text"}}))
    assert constrains_itself(ModelSettings(extra_body={"structured_outputs": {"json": {}}}))
    assert not constrains_itself(ModelSettings(extra_body={"priority": 1}))


def test_the_text_of_tokens_is_asked_for_by_model_and_ids() -> None:
    assert json.loads(encode_detokenize("gemma", [1, 2])) == {"model": "gemma", "tokens": [1, 2]}


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
