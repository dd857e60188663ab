from __future__ import annotations

from typing import Any

import pytest

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
