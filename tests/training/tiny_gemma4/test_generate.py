from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest

from agentkit.gemma4.parse import parse
from agentkit.messages import AssistantMessage, ToolMessage, UserMessage
from training.tiny_gemma4.draw import Draw, HeldOutDraw, heldout, mentions_heldout, plain
from training.tiny_gemma4.generate import Dialogue, completion, dialogue, prompt, sample
from training.tiny_gemma4.grammar import GRAMMARS
from training.tiny_gemma4.phrasings import PHRASINGS
from training.tiny_gemma4.skills import SKILLS

MAIN_INTENTS = ("find_definition", "search_text", "list_files", "list_root", "first_line")


@cache
def trained_on() -> list[Dialogue]:
    draw = Draw(11)
    return [dialogue(draw) for _ in range(400)]


@cache
def held_out() -> list[Dialogue]:
    draw = HeldOutDraw(11)
    return [dialogue(draw) for _ in range(400)]


@pytest.mark.slow
def test_what_is_held_out_is_never_generated() -> None:
    draw = Draw(12)
    for _ in range(300):
        made = sample(draw)
        assert not mentions_heldout(made.prompt + made.completion)


def test_a_held_out_name_is_noticed_only_as_a_word_of_its_own() -> None:
    assert mentions_heldout("Where is ToolDefinition defined?")
    assert mentions_heldout('"Retry-After"')
    assert not mentions_heldout("Where is MyToolDefinitions defined?")


def test_the_names_of_the_demonstrations_questions_are_held_out() -> None:
    held = heldout()
    assert "ToolDefinition" in held["identifiers"]
    assert "examples" in held["folders"]
    assert "Retry-After" in held["texts"]


@pytest.mark.parametrize("intent", MAIN_INTENTS)
def test_five_phrasings_of_each_main_intent_are_held_out(intent: str) -> None:
    kept = {plain(text) for text in heldout()[f"phrasings.{intent}"]}
    draw = Draw(13)
    generated = {plain(draw.phrase(intent)) for _ in range(3000)}
    assert len(kept) >= 5
    assert not kept & generated
    assert not kept & {plain(text) for text in PHRASINGS[intent]}
    assert len(generated) > 100 or intent == "list_root"


@pytest.mark.parametrize("intent", GRAMMARS)
def test_a_phrasing_holds_its_placeholder_once_and_nothing_unresolved(intent: str) -> None:
    draw = Draw(14)
    placeholders = {"find_definition": "{name}", "search_text": '"{text}"'}
    placeholders |= {"list_files": "{folder}", "first_line": "{path}", "line_count": "{path}"}
    for _ in range(500):
        made = draw.phrase(intent)
        assert not re.search(r"[<>|]", made)
        if intent in placeholders:
            assert made.count(placeholders[intent]) == 1


@pytest.mark.slow
def test_held_out_dialogues_use_held_out_names_and_phrasings() -> None:
    questions = [
        str(message.content)
        for made in held_out()
        if made.kind == "one call"
        for message in made.messages
        if isinstance(message, UserMessage)
    ]
    names = [
        name for key in ("identifiers", "paths", "texts", "folders") for name in heldout()[key]
    ]
    named = sum(any(name in text for name in names) for text in questions)
    assert len(questions) > 100
    assert named > len(questions) / 2


def test_every_kind_of_dialogue_occurs() -> None:
    kinds = Counter(made.kind for made in held_out())
    assert set(kinds) == {
        "one call",
        "one call, other tools",
        "two calls in a row",
        "two calls at once",
        "no tool",
        "error, second try",
        "error result",
        "two questions",
    }


def test_no_placeholder_is_left() -> None:
    for made in trained_on():
        for message in made.messages:
            if isinstance(message, UserMessage):
                assert not re.search(r"\{(name|other|text|folder|path|n|word)\}", str(message))


def test_each_call_is_of_a_declared_tool_and_each_call_has_its_result() -> None:
    for made in trained_on():
        declared = {tool["name"] for tool in made.tools}
        calls = [c for m in made.messages if isinstance(m, AssistantMessage) for c in m.tool_calls]
        results = [m.call_id for m in made.messages if isinstance(m, ToolMessage)]
        assert {call.name for call in calls} <= declared
        assert [call.id for call in calls] == results
        assert len(made.tools) <= 5 or len(made.messages) > 6


def test_a_completion_read_back_is_the_message() -> None:
    for made in trained_on()[:150]:
        schemas = {tool["name"]: tool["parameters"] for tool in made.tools}
        for at in made.model_calls():
            message = made.messages[at]
            assert isinstance(message, AssistantMessage)
            cued = made.thinking and isinstance(made.messages[at - 1], ToolMessage)
            parsed = parse(completion(made, at), schemas, in_reasoning=cued)
            assert [(c.name, c.arguments) for c in parsed.calls] == [
                (c.name, c.arguments) for c in message.tool_calls
            ]
            assert parsed.text == (message.content or "")
            assert (parsed.reasoning or None) == message.reasoning
            assert parsed.stop is not None


def test_a_prompt_goes_on_with_what_was_completed_before_it() -> None:
    """But for the empty thought, which the template shows only where the model is to speak."""
    for made in trained_on()[:150]:
        calls = made.model_calls()
        for before, after in pairwise(calls):
            if after - before > 1 and isinstance(made.messages[after - 1], ToolMessage):
                said = prompt(made, before) + completion(made, before)
                said = said.replace("<|channel>thought\n<channel|>", "")
                assert prompt(made, after).startswith(said.removesuffix("<|tool_response>"))


def test_the_same_seed_draws_the_same_dialogues() -> None:
    assert sample(Draw(3)) == sample(Draw(3))


def test_the_tools_cover_the_types() -> None:
    types = {s["type"] for skill in SKILLS for s in skill.properties.values()}
    assert types == {"string", "integer", "number", "boolean", "array", "object"}
    assert any("enum" in s for skill in SKILLS for s in skill.properties.values())
