from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.context import Count, CountTexts, TokenCounts, estimated_tokens
from agentkit.context.prompt import Prompt
from agentkit.gemma4.render import Generation
from agentkit.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from tests.context.driving import driven, encoded, form_of, prompt_text, tokens
from tests.gemma4.strategies import conversations


def without_media(messages: list[Message]) -> list[Message]:
    texts: list[Message] = []
    for message in messages:
        if isinstance(message, (UserMessage, ToolMessage)) and isinstance(message.content, tuple):
            parts = tuple(part for part in message.content if isinstance(part, TextPart))
            message = (
                UserMessage(parts)
                if isinstance(message, UserMessage)
                else ToolMessage(message.call_id, message.name, parts)
            )
        texts.append(message)
    return texts


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(conversations.map(without_media), st.booleans(), st.sampled_from(["large", "small"]))
def test_the_pieces_of_any_conversation_add_up_to_the_whole_at_each_of_its_messages(
    messages: list[Message], thinking: bool, variant: str
) -> None:
    form = form_of(
        generation=Generation(thinking=thinking, variant="large" if variant == "large" else "small")
    )
    prompt = Prompt()
    for length in range(len(messages) + 1):
        driven(prompt.update(messages[:length], form))
        assert prompt.exact
        assert prompt.tokens == tokens(prompt_text(messages[:length], form))


CALL = ToolCall("c", "read", {"path": "a"})
TALK: list[Message] = [
    SystemMessage("Be brief."),
    UserMessage("Look."),
    AssistantMessage(None, (CALL,), "a thought"),
    ToolMessage("c", "read", "text"),
]


@pytest.mark.parametrize(
    "results", [(), (ToolMessage("c", "read", "text"),)], ids=["open", "answered"]
)
def test_text_behind_calls_and_an_empty_message_is_counted(
    results: tuple[ToolMessage, ...],
) -> None:
    call, empty = AssistantMessage(None, (CALL,)), AssistantMessage(None)
    one = AssistantMessage("One.")
    messages: list[Message] = [UserMessage("Look."), call, *results, empty, one, empty]
    form, prompt = form_of(), Prompt()
    for length in range(len(messages) + 1):
        driven(prompt.update(messages[:length], form))
        assert prompt.tokens == tokens(prompt_text(messages[:length], form))


def test_only_what_is_new_is_asked_for() -> None:
    asked: list[str] = []

    def answer(wanted: Count) -> list[int] | None:
        assert isinstance(wanted, CountTexts)
        asked.extend(wanted.texts)
        return encoded(wanted)

    form = form_of()
    prompt = Prompt()
    driven(prompt.update(TALK, form), answer)
    asked.clear()
    again = ToolCall("d", "read", {"path": "b"})
    more = [*TALK, AssistantMessage(None, (again,)), ToolMessage("d", "read", "other")]
    driven(prompt.update(more, form), answer)
    assert len(asked) == 2
    assert "b" in asked[0]
    assert "other" in asked[1]


def test_the_ledger_names_each_part() -> None:
    form = form_of()
    prompt = Prompt()
    driven(prompt.update(TALK, form))
    assert set(prompt.parts) == {"instructions", "user", "assistant", "results", "format"}
    assert sum(prompt.parts.values()) == prompt.tokens
    assert set(prompt.by_message()) - {-1} == {0, 1, 2, 3} - {0}


def test_a_user_message_takes_the_thoughts_of_finished_turns_out_of_the_count() -> None:
    form = form_of(generation=Generation(thinking=True))
    prompt = Prompt()
    driven(prompt.update(TALK, form))
    before = prompt.by_message()[2]
    driven(prompt.update([*TALK, AssistantMessage("Done."), UserMessage("And now?")], form))
    assert prompt.by_message()[2] < before


def test_an_image_costs_what_the_profile_says_and_is_no_exact_count() -> None:
    form = form_of()
    prompt = Prompt()
    driven(prompt.update([UserMessage((TextPart("what is this?"), ImagePart("data:,")))], form))
    assert not prompt.exact
    assert form.profile is not None
    assert prompt.parts["user"] > form.profile.image_tokens


def test_without_anybody_to_count_it_is_an_estimate() -> None:
    prompt = Prompt()
    driven(prompt.update(TALK, form_of()), lambda _wanted: None)
    assert not prompt.exact
    assert prompt.tokens > 20


def test_what_was_counted_is_remembered_and_the_oldest_goes_first() -> None:
    counts = TokenCounts(limit=2)
    for number, text in enumerate(["a", "b", "c"]):
        counts.put(text, number)
    assert [counts.get(text) for text in ["a", "b", "c"]] == [None, 1, 2]


def test_half_surrogates_can_be_remembered_too() -> None:
    counts = TokenCounts()
    counts.put("\ud800", 3)
    assert counts.get("\ud800") == 3


@settings(max_examples=200, deadline=None)
@given(st.text("0123456789.,:;{}[]()<>/\n\t", max_size=60))
def test_an_estimate_of_numbers_and_marks_is_never_too_low(text: str) -> None:
    assert estimated_tokens(text) >= tokens(text)


def test_an_estimate_of_prose_is_on_the_safe_side_of_four_letters_to_a_token() -> None:
    prose = "The quick brown fox jumps over the lazy dog and runs away from it again " * 10
    assert len(prose) / 4 < estimated_tokens(prose) <= len(prose)


SCRIPTS = json.loads((Path(__file__).parents[1] / "golden" / "scripts.json").read_text())["tokens"]


@pytest.mark.parametrize("text", list(SCRIPTS))
def test_an_estimate_is_near_the_count_of_gemmas_own_vocabulary_in_each_script(text: str) -> None:
    assert SCRIPTS[text] <= estimated_tokens(text) <= 4 * SCRIPTS[text]
