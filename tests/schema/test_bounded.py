"""Schemas of strangers: right where they can be checked, bounded where they cannot.

The judge of what is right is jsonschema's own validator, which has no bounds.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agentkit.messages import JsonObject
from agentkit.schema.feedback import MOST_PROBLEMS
from agentkit.schema.foreign import BoundedValidator, ForeignArguments, bounded, why_unusable
from agentkit.schema.nodes import linear_pattern

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["a", "ab", "b1", "", "é", 1.0]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=8,
)
schemas: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(
        [
            True,
            {"type": "string"},
            {"type": ["integer", "null"]},
            {"enum": [1, "a", [1]]},
            {"const": True},
            {"pattern": "^a"},
            {"pattern": "[0-9]$"},
            {"minimum": 1},
            {"maxLength": 1},
            {"uniqueItems": True},
            {"required": ["a"]},
            {"properties": {"a": {"type": "string"}}, "unevaluatedProperties": False},
            {"prefixItems": [{"type": "integer"}], "unevaluatedItems": False},
        ]
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries(
            {
                "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
                "patternProperties": st.dictionaries(st.sampled_from(["^a", "b|c"]), inner),
                "additionalProperties": inner | st.just(False),
            }
        ),
    ),
    max_leaves=5,
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(schemas, values)
def test_it_says_what_an_unbounded_validator_says(schema: Any, value: Any) -> None:
    wanted = Draft202012Validator(schema).is_valid(value)
    with bounded(schema):
        assert BoundedValidator(schema).is_valid(value) == wanted


EXPLODING = [
    "^(a+)+$",
    "^(a|a)*b$",
    "(a*)*b",
    "(.*)*=",
    r"^(\w+\s?)*!$",
    "(?:a?){500}a{500}b",
    "a{0,1000}a{0,1000}b",
    "([a-z]+)*[A-Z]",
    "((a{0,100}){0,100}){0,100}b",
    "(?=(a+))*b",
    r"(a)\1*b",
    "(((((a*)*)*)*)*)*b",
]


@pytest.mark.parametrize("pattern", EXPLODING)
def test_a_pattern_that_explodes_is_answered_at_once(pattern: str) -> None:
    schema: JsonObject = {"properties": {"t": {"pattern": pattern}}}
    started = time.process_time()
    ForeignArguments(schema).check({"t": "a" * 100_000})
    assert time.process_time() - started < 1.0


UNIONS: JsonObject = {f"u{n}": {"anyOf": [{"$ref": f"#/$defs/u{n + 1}"}] * 2} for n in range(40)}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x": {"$ref": "#/$defs/u0"}}, "$defs": {**UNIONS, "u40": {"type": "null"}}},
        {"properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"properties": {"x": {"$ref": "#/$defs/gone"}}},
        {"properties": {"x": {"allOf": [{"$ref": "#"}, {"$ref": "#/$defs/a/b/c"}]}}},
        {"properties": {"x": {"uniqueItems": True}}},
        {"properties": {"x": {"unevaluatedItems": False, "$ref": "#/properties/x"}}},
        {"properties": {"x": {"items": {"oneOf": [{"pattern": p} for p in EXPLODING]}}}},
    ],
)
def test_schemas_that_explode_or_lead_nowhere_take_arguments_in_bounded_time(
    schema: JsonObject,
) -> None:
    assert why_unusable({"type": "object", **schema}) is None
    started = time.process_time()
    for value in ([{"n": n} for n in range(8_000)], "a" * 100_000, [["a" * 1_000] * 100]):
        ForeignArguments(schema).check({"x": value})
    assert time.process_time() - started < 3.0


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        (r"^\p{L}+$", "Šárka", "a1"),
        (r"(?<y>\d{4})", "in 2026", "202"),
        ("^\\u0041\\u{42}$", "AB", "ab"),
        (r"^\\u0041$", r"\u0041", "A"),
        ("^a$", "a", "a\n"),
    ],
)
def test_patterns_of_other_dialects_are_checked(pattern: str, fits: str, does_not: str) -> None:
    arguments = ForeignArguments({"properties": {"t": {"type": "string", "pattern": pattern}}})
    assert arguments.unchecked == ()
    assert arguments.check({"t": fits}) == {"t": fits}
    assert isinstance(arguments.check({"t": does_not}), list)


def test_what_cannot_be_checked_is_told() -> None:
    schema: JsonObject = {
        "properties": {"a": {"pattern": "^(?!b)"}, "b": {"$ref": "#/$defs/gone"}, "c": {}}
    }
    arguments = ForeignArguments(schema)
    assert arguments.unchecked == (
        'the pattern "^(?!b)"',
        'the reference "#/$defs/gone", which leads nowhere',
    )
    assert arguments.check({"a": "b", "b": 1}) == {"a": "b", "b": 1}


def test_a_hundred_kilobytes_of_plain_arguments_are_checked_whole() -> None:
    row = {"type": "object", "properties": {"n": {"type": "integer"}, "t": {"type": "string"}}}
    schema: JsonObject = {"properties": {"rows": {"type": "array", "items": row}}}
    rows: list[JsonObject] = [{"n": n, "t": "some text"} for n in range(3_500)]
    assert len(json.dumps(rows)) > 100_000
    assert ForeignArguments(schema).check({"rows": rows}) == {"rows": rows}
    rows[-1]["n"] = "many"
    assert isinstance(ForeignArguments(schema).check({"rows": rows}), list)


def test_a_long_list_of_values_out_of_a_long_list_is_checked_in_linear_time() -> None:
    listed = {"items": {"enum": list(range(10_000))}}
    arguments = ForeignArguments({"type": "object", "properties": {"a": listed}})
    start = time.perf_counter()
    assert arguments.check({"a": [9_999.0] * 15_000}) == {"a": [9_999.0] * 15_000}
    assert isinstance(arguments.check({"a": [9_999] * 1_000 + [True]}), list)
    assert time.perf_counter() - start < 5  # some 50 seconds where each value is looked for


def test_what_is_missing_or_unknown_is_told_in_bounded_time() -> None:
    names = [f"p{number}" for number in range(2_000)]
    arguments = ForeignArguments(
        {
            "properties": {name: {"type": "string"} for name in names},
            "required": names,
            "additionalProperties": False,
        }
    )
    started = time.process_time()
    problems = arguments.check({f"q{number}": 1 for number in range(20_000)})
    assert isinstance(problems, list)
    assert len(problems) <= 2 * MOST_PROBLEMS
    assert isinstance(arguments.check({}), list)
    assert time.process_time() - started < 3.0


@pytest.mark.slow
def test_many_patterns_and_many_lists_are_looked_at_in_bounded_time() -> None:
    patterns = {f"^a{number}_": {"type": "string"} for number in range(1_000)}
    lists = {"anyOf": [{"enum": [number, "a"]} for number in range(1_000)]}
    keys = ForeignArguments({"patternProperties": patterns})
    values = ForeignArguments({"properties": {"x": lists}})
    started = time.process_time()
    keys.check({f"b{number}": "x" for number in range(1_000)})
    values.check({"x": [{"k": number} for number in range(20_000)]})
    assert time.process_time() - started < 5.0


def test_without_the_library_nothing_is_matched_and_nothing_explodes() -> None:
    assert linear_pattern("a" * 20_000) is None  # as for any pattern that is too much
