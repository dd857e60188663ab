from __future__ import annotations

from typing import Any

import pytest

from agentkit.gemma4.exact import (
    MAX_DEPTH,
    Reading,
    bare_value,
    conform,
    quoted_value,
    read_exactly,
)
from agentkit.messages import JsonObject
from agentkit.schema.shape import ANYTHING, Shape
from tests.gemma4.replies import same

Q = "\ufdd0"


def read(text: str, shape: Shape = ANYTHING) -> Reading:
    return read_exactly(text, 0, Q, shape)


def test_the_syntax_of_the_template_is_read() -> None:
    text = f"a:{Q}x,y:}}{Q},b:[1,{{c:null}},[]],d:{{}},e:-1.5,f:true}}"
    assert read(text).arguments == {
        "a": "x,y:}",
        "b": [1, {"c": None}, []],
        "d": {},
        "e": -1.5,
        "f": True,
    }


def test_reading_ends_with_the_closing_brace() -> None:
    assert read("n:1} and text") == Reading({"n": 1}, 4)


@pytest.mark.parametrize(
    "text",
    [
        "path=x}",
        "path:x}",
        'path:"x"}',
        "path:'x'}",
        f"a:{Q}b{Q}c{Q}}}",
        f"a:{Q}b{Q}c:1}}",
        "n:1,n:2}",
        "n:007}",
        "flag:True}",
        f"a:x{Q}}}",
    ],
)
def test_whatever_is_not_in_the_syntax_is_not_read(text: str) -> None:
    assert read(text) == Reading()


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", "key"),
        ("a", "key"),
        ("a:", "value"),
        ("a:1", "value"),
        ("a:tr", "value"),
        (f"a:{Q}b", "string"),
        (f"a:{Q}b{Q}", "value"),
        ("a:[1,", "value"),
        ("a:{b", "key"),
        (f"a:{Q}b{Q}c", None),
    ],
)
def test_where_a_text_ends_too_early_is_told(text: str, cut: str | None) -> None:
    assert read(text).cut == cut


def test_the_schema_gives_values_their_types() -> None:
    shape = Shape.of({"properties": {"zip": {"type": "string"}, "n": {"type": "integer"}}})
    assert read(f"zip:123,n:{Q}5{Q}}}", shape).arguments == {"zip": "123", "n": 5}


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ("{a:", "}")])
def test_nesting_is_read_as_deep_as_it_is_bounded_and_no_deeper(opened: str, closed: str) -> None:
    def nested(levels: int) -> JsonObject | None:
        return read("a:" + opened * (levels - 1) + opened[0] + closed * levels + "}").arguments

    assert nested(MAX_DEPTH) is not None
    assert nested(MAX_DEPTH + 1) is None


@pytest.mark.parametrize(
    ("key", "taken"), [("'a'", False), ("''", False), ("a'", True), ("'a", True)]
)
def test_a_key_in_the_quotes_of_another_language_is_taken_where_any_key_is(
    key: str, taken: bool
) -> None:
    closed = Shape.of({"properties": {"a": {"type": "integer"}}, "additionalProperties": False})
    assert (read(f"{key}:1}}", closed).arguments is not None) is taken
    assert read(f"{key}:1}}").arguments == {key: 1}


def test_places_of_a_tuple_have_their_own_types() -> None:
    pair = {"prefixItems": [{"type": "string"}, {"type": "integer"}, {"type": "string"}]}
    shape = Shape.of({"properties": {"p": {"type": "array", **pair}}})
    assert read("p:[1,2,3]}", shape).arguments == {"p": ["1", 2, "3"]}


# --- single values -----------------------------------------------------------------------------


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
