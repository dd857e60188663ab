from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from agentkit.gemma4.render import Generation, render_declaration, sorted_pairs
from tests.gemma4 import strategies as some
from tests.gemma4.official import needs_templates, official

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
