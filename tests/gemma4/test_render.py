from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.gemma4.render import (
    Declaration,
    Generation,
    render,
    render_call,
    render_declaration,
    render_value,
    sorted_pairs,
)
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
from tests.gemma4 import strategies as some
from tests.gemma4.official import needs_templates, official
from tests.gemma4.replies import extends

WEATHER: Declaration = {
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {
            "unit": {"type": "string", "enum": ["C", "F"]},
            "City": {"type": "string", "description": "Where."},
        },
        "required": ["City"],
    },
}
ASKED: list[Message] = [SystemMessage("Be brief."), UserMessage("Rain in Oslo?")]
CALLED = AssistantMessage(tool_calls=(ToolCall("1", "weather", {"City": "Oslo"}),), reasoning="Hm.")
ANSWERED = ToolMessage("1", "weather", "Wet.")


@pytest.mark.slow
@needs_templates
@settings(max_examples=200, deadline=None)
@given(some.conversations, st.lists(some.declarations, max_size=3), some.generations)
def test_a_prompt_equals_the_official_template_byte_for_byte(
    messages: list[Message], tools: list[dict[str, Any]], generation: Generation
) -> None:
    rendered = render(messages, tools, generation)
    assert rendered == official(generation.variant, messages, tools, generation)


def test_a_first_prompt_holds_instructions_tools_and_the_cue_of_large_models() -> None:
    assert render(ASKED, [WEATHER]) == (
        "<bos><|turn>system\nBe brief. "
        '<|tool>declaration:weather{description:<|"|>The weather of a city.<|"|>,'
        'parameters:{properties:{City:{description:<|"|>Where.<|"|>,type:<|"|>STRING<|"|>},'
        'unit:{enum:[<|"|>C<|"|>,<|"|>F<|"|>],type:<|"|>STRING<|"|>}},'
        'required:[<|"|>City<|"|>],type:<|"|>OBJECT<|"|>}}<tool|><turn|>\n'
        "<|turn>user\nRain in Oslo?<turn|>\n"
        "<|turn>model\n<|channel>thought\n<channel|>"
    )


def test_a_tool_step_stays_in_the_models_turn_and_cues_the_thought() -> None:
    prompt = render([*ASKED, CALLED, ANSWERED], [], Generation(thinking=True, variant="small"))
    assert prompt.endswith(
        "<|turn>model\n<|channel>thought\nHm.\n<channel|>"
        '<|tool_call>call:weather{City:<|"|>Oslo<|"|>}<tool_call|>'
        '<|tool_response>response:weather{value:<|"|>Wet.<|"|>}<tool_response|>'
        "<|channel>thought\n"
    )


def test_a_later_user_message_takes_the_thought_away_unless_it_is_preserved() -> None:
    messages: list[Message] = [*ASKED, CALLED, ANSWERED, AssistantMessage("Yes."), ASKED[1]]
    assert "Hm." not in render(messages)
    assert "Hm." in render(messages, [], Generation(preserve_thinking=True))


def test_media_of_a_tools_answer_stand_behind_it() -> None:
    seen = ToolMessage("1", "weather", (TextPart("a"), ImagePart("data:,"), TextPart("b")))
    assert '{value:<|"|>ab<|"|>}<tool_response|><|image|>' in render([*ASKED, CALLED, seen])


def test_a_description_that_is_missing_prints_none_as_through_vllm() -> None:
    assert render_declaration({"name": "f"}) == (
        '<|tool>declaration:f{description:<|"|>None<|"|>}<tool|>'
    )


def test_values_have_the_spelling_of_the_template() -> None:
    assert render_value({"b": [1, 2.0, 1e20], "A": None, "c": True}) == (
        "{A:null,b:[1,2.0,1e+20],c:true}"
    )
    assert render_call("f", {"k": "v"}) == '<|tool_call>call:f{k:<|"|>v<|"|>}<tool_call|>'


def test_each_step_of_a_tool_loop_only_adds_to_the_prompt_before_it() -> None:
    for generation in (Generation(), Generation(thinking=True), Generation(variant="small")):
        log: list[Message] = list(ASKED)
        before = render(log, [WEATHER], generation)
        for _ in range(3):
            log += [CALLED, ANSWERED]
            after = render(log, [WEATHER], generation)
            assert extends(before, after)
            before = after


def test_a_changed_tool_list_does_not_extend_the_prompt_before_it() -> None:
    assert not extends(render(ASKED, []), render([*ASKED, CALLED, ANSWERED], [WEATHER]))


# --- declarations ------------------------------------------------------------------------------


Q = '<|"|>'


@pytest.mark.slow
@needs_templates
@settings(max_examples=150, deadline=None)
@given(some.declarations)
def test_a_declaration_equals_the_official_one(tool: dict[str, Any]) -> None:
    prompt = official("large", [], [tool], Generation(prompt=False))
    assert prompt == f"<bos><|turn>system\n{render_declaration(tool)}<turn|>\n"


def test_every_kind_of_property_has_its_place() -> None:
    tool = {
        "name": "f",
        "description": "D",
        "parameters": {
            "type": "object",
            "properties": {
                "list": {"type": "array", "items": {"type": "string", "enum": ["a"]}},
                "inner": {
                    "type": "object",
                    "properties": {"n": {"type": "integer", "nullable": True}},
                    "required": ["n"],
                },
            },
        },
    }
    assert render_declaration(tool) == (
        f"<|tool>declaration:f{{description:{Q}D{Q},parameters:{{properties:{{"
        f"inner:{{properties:{{n:{{nullable:true,type:{Q}INTEGER{Q}}}}},"
        f"required:[{Q}n{Q}],type:{Q}OBJECT{Q}}},"
        f"list:{{items:{{enum:[{Q}a{Q}],type:{Q}STRING{Q}}},type:{Q}ARRAY{Q}}}"
        f"}},type:{Q}OBJECT{Q}}}}}<tool|>"
    )


def test_pairs_are_sorted_without_regard_to_case_and_ties_stay() -> None:
    assert sorted_pairs({"b": 1, "B": 2, "A": 3}) == [("A", 3), ("b", 1), ("B", 2)]
