from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agentkit.messages import JsonObject
from agentkit.schema.feedback import Problem, feedback
from agentkit.schema.foreign import ForeignArguments, why_unusable

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 1},
        "why": {"enum": ["late", "damaged"]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "maybe": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "item": {"$ref": "#/$defs/item"},
        "sure": {"type": "boolean"},
    },
    "required": ["n"],
    "$defs": {
        "item": {
            "type": "object",
            "properties": {"sku": {"type": "string"}, "count": {"type": "integer"}},
            "required": ["sku"],
            "additionalProperties": False,
        }
    },
}


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ({"n": 3}, {"n": 3}),
        ({"n": "3"}, {"n": 3}),
        ({"n": 3, "why": '"late"'}, {"n": 3, "why": "late"}),
        ({"n": 3, "tags": '["a"]'}, {"n": 3, "tags": ["a"]}),
        ({"n": 3, "maybe": "2.5"}, {"n": 3, "maybe": 2.5}),
        ({"n": 3, "maybe": None}, {"n": 3, "maybe": None}),
        ({"n": 3, "why": None}, {"n": 3}),
        ({"n": 3, "sure": "True"}, {"n": 3, "sure": True}),
        (
            {"n": 3, "item": '{"sku": "a", "count": "2"}'},
            {"n": 3, "item": {"sku": "a", "count": 2}},
        ),
        ({"n": 3, "item": {"sku": "a", "count": None}}, {"n": 3, "item": {"sku": "a"}}),
    ],
)
def test_what_can_only_mean_one_thing_is_read_as_that(
    arguments: dict[str, Any], values: dict[str, Any]
) -> None:
    assert ForeignArguments(SCHEMA).check(arguments) == values


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "n: is missing, want an integer."),
        ({"n": 0}, "n: got 0, want at least 1."),
        ({"n": True}, "n: got true, want an integer."),
        ({"n": None}, "n: got null, want an integer."),
        ({"n": 1, "why": "lost"}, 'why: got "lost", want "late" or "damaged".'),
        ({"n": 1, "tags": "a"}, 'tags: got "a", want a list.'),
        ({"n": 1, "tags": ["a", 2]}, "tags[1]: got 2, want a string."),
        ({"n": 1, "tags": ["a", "b", "c"]}, 'tags: got ["a","b","c"], want at most 2 items.'),
        ({"n": 1, "maybe": "x"}, 'maybe: got "x", want a number or null.'),
        ({"n": 1, "item": {"count": 1}}, "item.sku: is missing, want a string."),
        (
            {"n": 1, "item": {"sku": "a", "cuont": 1}},
            "item.cuont: is not a parameter (did you mean count?).",
        ),
        ({"n": 1, "tgas": []}, "tgas: is not a parameter (did you mean tags?)."),
    ],
)
def test_what_is_wrong_is_said_in_the_same_words(arguments: dict[str, Any], says: str) -> None:
    found = ForeignArguments(SCHEMA).check(arguments)
    assert isinstance(found, list)
    assert feedback("t", found) == f"Error: t was not run. {says}"


def test_an_open_schema_takes_other_keys() -> None:
    open_schema = {**SCHEMA, "additionalProperties": True}
    assert ForeignArguments(open_schema).check({"n": 1, "x": 2}) == {"n": 1, "x": 2}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (SCHEMA, None),
        ({}, None),
        ([], "does not describe an object"),
        ({"type": "array"}, "does not describe an object"),
        ({"type": "object", "properties": {"a": {"type": 5}}}, "not valid JSON Schema"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema: object, why: str | None) -> None:
    found = why_unusable(schema)
    assert found is why is None or (why is not None and found is not None and why in found)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["[1]", "null", '"a"']),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["sku", "x"]), inner)
    ),
    max_leaves=5,
)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*SCHEMA["properties"], "x"]), VALUES, max_size=4))
def test_whatever_comes_is_read_or_refused_and_left_untouched(arguments: dict[str, Any]) -> None:
    before = repr(arguments)
    found = ForeignArguments(SCHEMA).check(arguments)
    assert repr(arguments) == before
    if isinstance(found, dict):
        assert ForeignArguments(SCHEMA).check(found) == found


_PARTS: JsonObject = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a", "e"],
    "allOf": [{"properties": {"b": {}}}, {"$ref": "#/$defs/more"}],
    "if": {"required": ["b"]},
    "then": {"properties": {"d": {}}},
    "$defs": {"more": {"properties": {"c": {}}}},
}


def test_a_member_may_be_named_in_any_part_that_sees_the_whole_object() -> None:
    arguments = ForeignArguments(_PARTS)
    values: JsonObject = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
    assert arguments.check(values) == values
    refused = arguments.check({**values, "f": 6})
    assert [str(p) for p in cast("list[Problem]", refused)] == [
        "f: is not a parameter; there is a, e, b, d, c"
    ]


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ({"a": 1, "c": 3}, True),
        ({"a": 1, "b": 2, "d": 4}, True),
        ({"a": 1, "d": 4}, False),  # `then` looks at `d` only where `b` is
        ({"a": 1, "f": 6}, False),
    ],
)
def test_what_nothing_has_looked_at_is_found_through_references_too(
    value: JsonObject, right: bool
) -> None:
    inner: JsonObject = {**_PARTS, "required": ["a"], "unevaluatedProperties": False}
    schema = {
        "type": "object",
        "properties": {"it": {"$ref": "#/$defs/it"}},
        "$defs": {"it": inner},
    }
    inner["allOf"] = [{"properties": {"b": {}}}, {"$ref": "#/$defs/it/$defs/more"}]
    assert Draft202012Validator(schema).is_valid({"it": value}) is right
    assert isinstance(ForeignArguments(schema).check({"it": value}), dict) is right


def test_items_that_nothing_has_looked_at_are_found_through_references_too() -> None:
    schema = {
        "type": "object",
        "properties": {
            "row": {"$ref": "#/$defs/head", "unevaluatedItems": False, "contains": {"const": 0}}
        },
        "$defs": {"head": {"prefixItems": [{"type": "string"}]}},
    }
    for row in (["a", 0], ["a", 0, 0], ["a", 0, 1], [1, 0]):
        right = Draft202012Validator(schema).is_valid({"row": row})
        assert isinstance(ForeignArguments(schema).check({"row": row}), dict) is right


@pytest.mark.parametrize(
    ("step", "value", "fits"),
    [
        (0.01, 4.35, True),
        (0.01, 4.355, False),
        (0.01, 10**400, True),
        (0.3, 10**400, False),
        (3, 1e300, False),
        (1e-300, 1e300, True),
        (2, True, True),
    ],
)
def test_a_multiple_is_one_in_the_digits_that_were_written(
    step: float, value: float, fits: bool
) -> None:
    arguments = ForeignArguments({"type": "object", "properties": {"a": {"multipleOf": step}}})
    assert isinstance(arguments.check({"a": value}), dict) == fits


def test_a_key_that_matches_a_pattern_is_not_blamed_beside_one_that_does_not() -> None:
    schema = {
        "properties": {"a": {}},
        "patternProperties": {"^x_": {}},
        "additionalProperties": False,
    }
    problems = ForeignArguments(schema).check({"x_one": 1, "bad": 2})
    assert problems == [Problem("bad", None, "is not a parameter; there is a")]
