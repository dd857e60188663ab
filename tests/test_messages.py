from __future__ import annotations

import json

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.messages import (
    AssistantMessage,
    AudioPart,
    ImagePart,
    Message,
    ModelSettings,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
    VideoPart,
    dump_messages,
    load_messages,
    next_call_number,
    text_of,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
parts = st.one_of(
    st.builds(TextPart, texts),
    st.builds(ImagePart, texts),
    st.builds(AudioPart, texts, st.sampled_from(["wav", "mp3"])),
    st.builds(VideoPart, texts),
)
contents = st.one_of(texts, st.lists(parts, max_size=3).map(tuple))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
calls = st.builds(
    ToolCall, texts, texts, st.dictionaries(texts, values, max_size=3), st.none() | texts
)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(SystemMessage, texts),
    st.builds(UserMessage, contents),
    st.builds(
        AssistantMessage,
        st.none() | texts,
        st.lists(calls, max_size=2).map(tuple),
        st.none() | texts,
    ),
    st.builds(ToolMessage, texts, texts, contents, st.booleans()),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(messages, max_size=5))
def test_a_conversation_comes_back_from_json_as_it_was(conversation: list[Message]) -> None:
    assert load_messages(dump_messages(conversation)) == conversation


def test_the_json_of_a_conversation_is_plain_and_names_the_roles() -> None:
    call = ToolCall("call_0", "read", {"path": "a.py"})
    text = dump_messages([UserMessage("hi"), AssistantMessage(None, (call,))])
    user, assistant = json.loads(text)
    assert user == {"content": "hi", "role": "user"}
    assert assistant["tool_calls"][0]["arguments"] == {"path": "a.py"}


@pytest.mark.parametrize(
    "text", ["", "{}", '[{"role": "user"}]', '[{"role": "wizard", "content": "x"}]', "[1]"]
)
def test_text_that_is_no_conversation_is_refused(text: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        load_messages(text)


def test_messages_cannot_be_changed() -> None:
    message = UserMessage("hi")
    with pytest.raises(AttributeError):
        message.content = "bye"  # type: ignore[misc]  # that this is refused is the point


def test_the_text_of_a_content_leaves_other_parts_out() -> None:
    assert text_of((TextPart("a"), ImagePart("data:,"), TextPart("b"))) == "ab"
    assert text_of("plain") == "plain"
    assert text_of(None) == ""


def test_settings_say_something_over_those_below_and_keep_the_rest() -> None:
    base = ModelSettings(temperature=0.5, seed=1, extra_body={"a": 1, "b": 1})
    over = ModelSettings(temperature=0.0, thinking=False, extra_body={"b": 2})
    assert over.over(base) == ModelSettings(
        temperature=0.0, seed=1, thinking=False, extra_body={"a": 1, "b": 2}
    )


def test_settings_that_say_nothing_change_nothing() -> None:
    base = ModelSettings(
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        seed=1,
        max_tokens=9,
        stop=("x",),
        thinking=True,
        extra_body={"a": 1},
    )
    assert ModelSettings().over(base) == base
    assert base.over(ModelSettings()) == base


def test_usage_adds_up_field_by_field() -> None:
    assert Usage(1, 2, 3, 4) + Usage(10, 20, 30, 40) == Usage(11, 22, 33, 44)


def test_half_of_a_surrogate_pair_does_not_keep_a_conversation_from_being_written() -> None:
    half = [UserMessage("What is in report\udcff.txt?")]
    assert load_messages(dump_messages(half)) == [UserMessage("What is in report?.txt?")]


def test_an_id_of_thousands_of_digits_is_no_number() -> None:
    foreign = AssistantMessage(None, (ToolCall(f"call_{'9' * 5_000}", "a"),))
    assert next_call_number([foreign]) == 0


def test_the_next_call_is_numbered_beyond_all_that_are_there() -> None:
    two = AssistantMessage(None, (ToolCall("call_3", "a"), ToolCall("other", "b")))
    assert next_call_number([UserMessage("x"), two]) == 4
    assert next_call_number([UserMessage("x")]) == 0
