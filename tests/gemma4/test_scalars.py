from __future__ import annotations

from typing import Any

import pytest

from agentkit.gemma4.exact import bare_value, conform, quoted_value
from agentkit.schema.shape import ANYTHING, Shape
from tests.gemma4.replies import same


def shape(*types: str) -> Shape:
    return Shape.of({"type": list(types)}) if types else ANYTHING


@pytest.mark.parametrize(
    ("text", "types", "value"),
    [
        ("5", (), 5),
        ("-0.5e3", (), -500.0),
        ("007", (), "007"),
        ("+5", (), "+5"),
        ("true", (), True),
        ("True", (), "True"),
        ("null", (), None),
        ("foo bar", (), "foo bar"),
        ("5", ("string",), "5"),
        ("true", ("string",), "true"),
        ("null", ("string",), None),
        ("5", ("string", "integer"), 5),
        ("5", ("number",), 5),
        ("10.0", ("integer",), 10),
        ("10.0", ("number",), 10.0),
        ("10.5", ("integer",), 10.5),
        ("1e3", ("integer",), 1000),
        ("+5", ("integer",), 5),
        ("5.", ("number",), 5.0),
        ("٣", ("integer",), "٣"),
        ("False", ("boolean",), False),
        ("None", ("integer", "null"), None),
        ("foo", ("integer",), "foo"),
        ("1e999", (), "1e999"),
        ("9" * 5000, ("integer",), "9" * 5000),
    ],
)
def test_a_bare_word_is_what_its_schema_lets_it_be(
    text: str, types: tuple[str, ...], value: Any
) -> None:
    assert same(bare_value(text, shape(*types)), value)


def test_an_enum_that_lists_the_word_null_keeps_it_a_word() -> None:
    assert bare_value("null", Shape.of({"enum": ["null", "none"]})) == "null"


@pytest.mark.parametrize(
    ("text", "types", "value"),
    [
        ("5", (), "5"),
        ("5", ("string", "integer"), "5"),
        ("null", ("string", "null"), "null"),
        (" 5 ", ("integer",), 5),
        ("true", ("boolean",), True),
        ("null", ("integer", "null"), None),
        ("", ("integer",), ""),
        ('{"a": 1}', ("object",), {"a": 1}),
        ('["a"]', ("array",), ["a"]),
        ('["a"]', ("object",), '["a"]'),
        ("{broken", ("object",), "{broken"),
        ("[" * 99 + "]" * 99, ("array",), "[" * 99 + "]" * 99),
        ("[" * 100_000, ("array",), "[" * 100_000),
    ],
)
def test_a_quoted_text_is_a_string_wherever_strings_may_stand(
    text: str, types: tuple[str, ...], value: Any
) -> None:
    assert same(quoted_value(text, shape(*types)), value)


def test_decoded_json_is_brought_to_the_schema_all_the_way_down() -> None:
    schema = Shape.of(
        {
            "properties": {
                "n": {"type": "integer"},
                "zip": {"type": "string"},
                "list": {"items": {"type": "boolean"}},
            }
        }
    )
    given = {"n": "5", "zip": 123, "list": ["true", False], "free": "5"}
    assert conform(given, schema) == {
        "n": 5,
        "zip": "123",
        "list": [True, False],
        "free": "5",
    }
