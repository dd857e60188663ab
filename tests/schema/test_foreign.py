from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentkit.schema.feedback import feedback
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
