from __future__ import annotations

import time
from typing import Any

import pytest

from agentkit.schema.ladder import fitted
from agentkit.schema.shape import ANYTHING, Shape


def types_of(shape: Shape) -> set[str] | None:
    return None if shape.types is None else set(shape.types)


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({"type": "string"}, {"string"}),
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"type": "integer", "nullable": True}, {"integer", "null"}),
        ({"enum": ["a", 1, None]}, {"string", "integer", "null"}),
        ({"const": True}, {"boolean"}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"string", "null"}),
        ({"oneOf": [{"type": "string"}, {}]}, None),
        ({"allOf": [{"type": ["string", "null"]}, {"type": "string"}]}, {"string"}),
        ({"properties": {"a": {}}}, {"object"}),
        ({"items": {}}, {"array"}),
        ({"$ref": "#/$defs/N", "$defs": {"N": {"type": "integer"}}}, {"integer"}),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "null"}}}, {"null"}),
        ({"$ref": "#/$defs/missing"}, None),
        ({"$ref": "#"}, None),
        ({"$ref": "http://elsewhere/x"}, None),
        ({}, None),
        (True, None),
        (None, None),
    ],
)
def test_the_types_a_schema_allows(schema: object, types: set[str] | None) -> None:
    assert types_of(Shape.of(schema)) == types


def test_children_are_found_through_references_unions_and_positions() -> None:
    node: dict[str, Any] = {
        "$defs": {"Node": {"properties": {"size": {"type": "integer"}}}},
        "anyOf": [{"$ref": "#/$defs/Node"}, {"properties": {"size": {"type": "null"}}}],
    }
    assert types_of(Shape.of(node).property("size")) == {"integer", "null"}
    assert Shape.of(node).names == {"size"}
    pair = Shape.of({"prefixItems": [{"type": "string"}], "items": {"type": "number"}})
    assert (types_of(pair.item(0)), types_of(pair.item(1))) == ({"string"}, {"number"})
    free = Shape.of({"properties": {}, "additionalProperties": {"type": "boolean"}})
    assert types_of(free.property("any")) == {"boolean"}
    assert ANYTHING.property("a").item(0) is ANYTHING


def test_a_schema_that_refers_to_itself_ends() -> None:
    loop = {"$defs": {"L": {"anyOf": [{"$ref": "#/$defs/L"}, {"type": "string"}]}}}
    shape = Shape.of({**loop, "$ref": "#/$defs/L"})
    assert shape.allows("string")
    tree = {
        "$defs": {"T": {"properties": {"next": {"$ref": "#/$defs/T"}, "n": {"type": "integer"}}}},
        "$ref": "#/$defs/T",
    }
    deep = Shape.of(tree).property("next").property("next").property("n")
    assert types_of(deep) == {"integer"}


def test_null_beside_a_recursive_definition_stays_null_however_deep() -> None:
    link = {"anyOf": [{"$ref": "#/$defs/T"}, {"type": "null"}]}
    node = {"type": "object", "properties": {"next": link, "n": {"type": "integer"}}}
    shape = Shape.of({"$defs": {"T": node}, "$ref": "#/$defs/T"})
    for _ in range(20):
        shape = shape.property("next")
        assert types_of(shape) == {"object", "null"}
    assert types_of(shape.property("n")) == {"integer"}


def test_an_alternative_that_is_the_union_itself_adds_nothing() -> None:
    union = {"anyOf": [{"$ref": "#/$defs/L"}, {"type": "string"}, {"$ref": "#/$defs/L"}]}
    shape = Shape.of({"$defs": {"L": union}, "properties": {"a": {"$ref": "#/$defs/L"}}})
    assert types_of(shape.property("a")) == {"string"}


def test_unions_of_each_other_are_read_in_bounded_time() -> None:
    unions = {
        f"N{i}": {"anyOf": [*({"$ref": f"#/$defs/N{j}"} for j in range(12)), {"type": "integer"}]}
        for i in range(12)
    }
    schema = {"$defs": unions, "properties": {"a": {"$ref": "#/$defs/N0"}}}
    started = time.thread_time()
    assert types_of(Shape.of(schema).property("a")) == {"integer"}
    assert fitted({"a": "5"}, Shape.of(schema)) in ({"a": "5"}, {"a": 5})
    assert time.thread_time() - started < 5  # without bounds it takes hours


def test_the_names_within_a_schema_are_those_of_members_however_deep() -> None:
    tree = {
        "type": "object",
        "properties": {"leaf": {"type": "string"}, "children": {"items": {"$ref": "#/$defs/Tree"}}},
        "additionalProperties": False,
    }
    schema: dict[str, Any] = {
        "properties": {
            "root": {"$ref": "#/$defs/Tree"},
            "properties": {"type": "object", "properties": {"type": {"type": "string"}}},
            "either": {"anyOf": [{"properties": {"one": {}}}, {"properties": {"two": {}}}]},
        },
        "$defs": {"Tree": tree},
    }
    names, takes_others = Shape.of(schema).names_within
    assert names == {"root", "leaf", "children", "properties", "type", "either", "one", "two"}
    assert not takes_others


@pytest.mark.parametrize(
    "place",
    [
        {"type": "object"},
        {"type": ["object", "null"]},
        {"properties": {"b": {}}, "additionalProperties": {"type": "string"}},
        {"properties": {"b": {}}, "additionalProperties": True},
    ],
)
def test_one_place_of_a_schema_that_takes_members_of_any_name_is_told(place: object) -> None:
    assert Shape.of({"properties": {"a": {"items": place}}}).names_within[1]


def test_a_part_of_a_large_schema_that_is_not_looked_at_may_have_any_names() -> None:
    definitions = {
        f"D{n}": {
            "type": "object",
            "properties": {
                f"p{n}_{k}": {"$ref": f"#/$defs/D{(7 * n + 3 * k) % 99}"} for k in range(6)
            },
        }
        for n in range(99)
    }
    schema = {"properties": {"a": {"$ref": "#/$defs/D1"}}, "$defs": definitions}
    started = time.process_time()
    names, takes_others = Shape.of(schema).names_within
    assert (takes_others, "p1_0" in names) == (True, True)
    assert time.process_time() - started < 5


def test_anchors_and_keywords_beside_a_reference_are_read() -> None:
    definition = {"$anchor": "count", "type": "integer"}
    schema = {
        "$defs": {"n": definition},
        "properties": {"a": {"$ref": "#count", "description": "how many", "enum": [1, 2]}},
    }
    shape = Shape.of(schema).property("a")
    assert (types_of(shape), shape.values) == ({"integer"}, (1, 2))


@pytest.mark.parametrize(
    ("value", "misfit"),
    [
        ({"n": 1}, 0),
        ({"n": 1, "list": ["a"]}, 0),
        ({}, 1),
        ({"n": "1"}, 1),
        ({"n": 1, "other": 2}, 1),
        ({"n": 1, "list": ["a", 2, 3]}, 2),
        ({"n": object()}, 1),
        ([], 1),
    ],
)
def test_misfit_counts_the_places_that_depart_from_the_schema(value: object, misfit: int) -> None:
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer"},
            "list": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["n"],
    }
    assert Shape.of(schema).misfit(value) == misfit
