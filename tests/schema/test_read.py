from __future__ import annotations

from typing import Any

from agentkit.schema.nodes import ANY, Node, walk
from agentkit.schema.read import MAX_LEVELS, MAX_NODES, read


def at(root: Node, *names: str) -> Node:
    for name in names:
        root = root.properties[name]
    return root


def first(node: Node, keyword: str) -> Any:
    return node.all(keyword)[0].value


def test_a_reference_keeps_what_stands_beside_it() -> None:
    root = read(
        {
            "properties": {"a": {"$ref": "#/$defs/s", "maxLength": 5}},
            "$defs": {"s": {"type": "string", "minLength": 2}},
        }
    )
    node = at(root, "a")
    assert (first(node, "minLength"), first(node, "maxLength")) == (2, 5)
    assert node.all("minLength")[0].path == "/$defs/s"
    assert node.origin == "s"


def test_references_are_found_by_anchor_id_and_escaped_pointer() -> None:
    root = read(
        {
            "$id": "https://example.com/root.json",
            "properties": {
                "anchor": {"$ref": "#here"},
                "id": {"$ref": "item.json"},
                "pointer": {"$ref": "#/$defs/a~1b"},
            },
            "$defs": {
                "x": {"$anchor": "here", "minimum": 1},
                "y": {"$id": "item.json", "minimum": 2},
                "a/b": {"minimum": 3},
            },
        }
    )
    names = ("anchor", "id", "pointer")
    assert [first(at(root, name), "minimum") for name in names] == [1, 2, 3]


def test_a_reference_that_leads_nowhere_says_so() -> None:
    node = at(read({"properties": {"x": {"$ref": "https://example.com/y.json"}}}), "x")
    assert first(node, "$ref") == "https://example.com/y.json"


def test_a_recursive_definition_is_cut_at_its_depth() -> None:
    schema = {"properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}}
    for depth in (0, 1, 3):
        node, levels = read(schema, depth=depth), 0
        while not node.cut:
            node, levels = node.properties["next"], levels + 1
        assert levels == depth + 1


def test_schemas_that_fan_out_without_end_are_read_in_bounded_time() -> None:
    names = [f"D{number}" for number in range(12)]
    fan = {name: {"$ref": f"#/$defs/{name}"} for name in names}
    root = read({"properties": fan, "$defs": {name: {"properties": fan} for name in names}})
    assert sum(1 for _ in walk(root)) <= 2 * MAX_NODES


def test_a_recursive_schema_with_too_many_nodes_is_cut_at_the_same_depth_everywhere() -> None:
    fan: dict[str, Any] = {f"p{number}": {"$ref": "#/$defs/T"} for number in range(12)}
    root = read({"properties": fan, "$defs": {"T": {"properties": fan}}})

    def depth(node: Node) -> int:
        return 0 if node.cut else 1 + max(map(depth, node.properties.values()))

    assert {depth(node) for node in root.properties.values()} == {depth(root) - 1}
    assert all(node.cut in ("", "recursive") for node in walk(root))


def test_a_definition_behind_any_number_of_references_is_read() -> None:
    names = {f"D{number}": {"$ref": f"#/$defs/D{number + 1}"} for number in range(3_000)}
    last = {"D3000": {"type": "integer", "minimum": 3}}
    schema = {"properties": {"x": {"$ref": "#/$defs/D0"}}, "$defs": {**names, **last}}
    node = at(read(schema), "x")
    assert node.types == {"integer"}
    assert first(node, "minimum") == 3
    assert not node.cut


def test_references_that_lead_deeper_without_end_are_cut_and_what_stands_above_is_read() -> None:
    def chain(length: int) -> dict[str, object]:
        inner = [{"properties": {"n": {"$ref": f"#/$defs/D{at + 1}"}}} for at in range(length)]
        names = {f"D{at}": each for at, each in enumerate([*inner, {"type": "string"}])}
        return {"properties": {"n": {"$ref": "#/$defs/D0"}}, "$defs": names}

    for length in (10, 600, 5_000):
        node, levels = read(chain(length)), 0
        while "n" in node.properties:
            node, levels = node.properties["n"], levels + 1
        assert node.cut == ("" if length == 10 else "size")
        assert levels == 11 if length == 10 else 40 < levels <= MAX_LEVELS


def test_references_in_a_circle_that_says_nothing_are_cut() -> None:
    names = {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}
    node = at(read({"properties": {"x": {"$ref": "#/$defs/A"}}, "$defs": names}), "x")
    assert node.cut == "recursive"


def test_conjunctions_meet() -> None:
    node = read({"allOf": [{"type": ["integer", "string"]}, {"type": "number", "minimum": 3}]})
    assert node.types == {"integer"}
    assert read({"allOf": [{"type": "string"}, {"type": "integer"}]}).never
    choices = read({"allOf": [{"enum": ["a", "b", 1]}, {"enum": ["b", 1.0, True]}]})
    assert choices.choices == ("b", 1)


def test_a_closed_object_takes_no_members_from_its_neighbours() -> None:
    closed = {"properties": {"a": {}}, "additionalProperties": False}
    node = read({"allOf": [closed, {"properties": {"a": {"minimum": 1}, "b": {}}}]})
    assert list(node.members()) == ["a"]


def test_null_is_folded_into_the_other_branch() -> None:
    node = read({"anyOf": [{"type": "integer"}, {"type": "null"}]})
    assert node.types == {"integer", "null"}
    assert node.nullable
    assert not node.unions


def test_branches_that_are_lists_of_values_become_one_list() -> None:
    node = read({"oneOf": [{"const": "a", "title": "A"}, {"enum": ["b", "c"]}]})
    assert node.choices == ("a", "b", "c")


def test_openapi_and_older_drafts_are_understood() -> None:
    assert read({"type": "string", "nullable": True}).types == {"string", "null"}
    tuple_ = read({"items": [{"type": "string"}], "additionalItems": False})
    assert [node.types for node in tuple_.prefix] == [frozenset({"string"})]
    assert tuple_.items is not None
    assert tuple_.items.never
    needed = read({"dependencies": {"a": ["b"]}})
    assert first(needed, "dependentRequired") == {"a": ["b"]}


def test_members_that_match_a_pattern_obey_it() -> None:
    node = read(
        {"properties": {"ab": {"type": "integer"}}, "patternProperties": {"^a": {"minimum": 1}}}
    )
    assert first(at(node, "ab"), "minimum") == 1


def test_what_is_no_schema_allows_everything() -> None:
    odd: object
    for odd in (True, {}, None, [], "x", {"type": 5, "properties": [], "required": True}):
        assert read(odd).types == ANY.types
