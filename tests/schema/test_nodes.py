from __future__ import annotations

import pytest

from agentkit.schema.nodes import ANY, NEVER, Node, conjunction, same, walk, widened
from agentkit.schema.read import read


@pytest.mark.parametrize(
    ("one", "two", "equal"),
    [(1, 1.0, True), (1, True, False), (0, False, False), ("1", 1, False), (None, "null", False)],
)
def test_values_are_the_same_as_json_schema_has_it(one: object, two: object, equal: bool) -> None:
    assert (same(one) == same(two)) == equal


@pytest.mark.parametrize(
    ("schema", "kinds"),
    [
        ({}, set()),
        ({"minLength": 1}, {"string"}),
        ({"minimum": 1}, {"number"}),
        ({"format": "int32"}, {"number"}),
        ({"items": {}}, {"array"}),
        ({"required": ["a"]}, {"object"}),
        ({"enum": ["a", 1, None]}, {"string", "integer"}),
        ({"anyOf": [{"type": "string"}, {"minimum": 1}]}, {"string", "number"}),
        ({"type": ["string", "null"]}, {"string"}),
    ],
)
def test_a_type_left_out_is_told_by_the_other_keywords(
    schema: dict[str, object], kinds: set[str]
) -> None:
    assert set(read(schema).kinds) == kinds


def test_a_conjunction_with_anything_changes_nothing() -> None:
    node = read({"type": "string", "maxLength": 3})
    assert conjunction((ANY, node)) is node
    assert conjunction(()) is ANY
    assert conjunction((node, NEVER)).never


def test_members_come_in_the_order_in_which_the_template_prints_them() -> None:
    node = read({"properties": {"b": {}, "A": {}, "a": {}, "C": {}}, "required": ["ghost"]})
    assert list(node.members()) == ["A", "a", "b", "C", "ghost"]


def test_widening_allows_null_in_every_branch_that_decides() -> None:
    union = read({"anyOf": [{"type": "integer"}, {"type": "string"}]})
    assert not union.nullable
    assert widened(union).nullable
    assert widened(read({"minimum": 1})).types == {"number", "null"}
    assert widened(read({"enum": ["a"]})).choices == ("a", None)


def test_walking_sees_each_node_once_also_those_that_keywords_hold() -> None:
    shared = {"$ref": "#/$defs/s"}
    root = read(
        {
            "properties": {"a": shared, "b": shared},
            "not": {"const": 1},
            "$defs": {"s": {"type": "string"}},
        }
    )
    nodes = list(walk(root))
    assert len({id(node) for node in nodes}) == len(nodes)
    assert any(node.choices == (1,) for node in nodes)


def test_nodes_are_told_apart_by_identity() -> None:
    assert Node() != Node()
