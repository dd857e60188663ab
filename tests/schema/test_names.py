from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agentkit.messages import ToolDefinition
from agentkit.schema.lower import aliases_of, lower, with_both_names
from agentkit.schema.read import read

names = st.sampled_from(["type", "type_", "required", "a:b", "a_b", "plain", "x y", "", "{", "é"])


@given(st.lists(names, unique=True))
def test_every_alias_is_new_and_stands_bare(members: list[str]) -> None:
    aliases = aliases_of(read({"properties": {name: {} for name in members}}))
    shown = [aliases.get(name, name) for name in members]
    assert len(set(shown)) == len(shown)
    assert not {"type", "description", "properties", "required", "nullable", ""} & set(shown)
    assert not any(set(name) & set(':,{}[]" ') for name in shown)


@given(st.dictionaries(names, st.integers(), max_size=6))
def test_renaming_arguments_loses_none(values: dict[str, int]) -> None:
    schema = {"properties": {name: {"type": "integer"} for name in values}}
    tool = lower(ToolDefinition("f", "", schema))
    assert tool.restore(tool.rename(values)) == values
    assert sorted(tool.rename(values).values()) == sorted(values.values())


def test_names_are_mapped_back_through_branches_and_references() -> None:
    cat = {"properties": {"kind": {"const": "cat"}, "type": {}}}
    schema = {
        "properties": {
            "pets": {"type": "array", "items": {"anyOf": [cat, {"$ref": "#/$defs/Dog"}]}}
        },
        "$defs": {"Dog": {"properties": {"nullable": {}}}},
    }
    tool = lower(ToolDefinition("f", "", schema))
    original = {"pets": [{"kind": "cat", "type": 1}, {"nullable": 2}]}
    assert tool.rename(original) == {"pets": [{"kind": "cat", "type_": 1}, {"nullable_": 2}]}
    assert tool.restore(tool.rename(original)) == original


def test_a_schema_takes_both_names_where_it_names_members_and_nowhere_else() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "type": {"enum": ["type"], "default": "type"},
            "properties": {"type": "object", "properties": {"type": {"$ref": "#/$defs/type"}}},
        },
        "required": ["type"],
        "$defs": {"type": {"type": "string"}},
    }
    both = with_both_names(schema, {"type": "type_", "properties": "properties_"})
    kind = {"enum": ["type"], "default": "type"}
    reference = {"$ref": "#/$defs/type"}
    inner = {"type": "object", "properties": {"type": reference, "type_": reference}}
    assert both == {
        "type": "object",
        "properties": {"type": kind, "type_": kind, "properties": inner, "properties_": inner},
        "required": [],
        "$defs": {"type": {"type": "string"}},
    }
