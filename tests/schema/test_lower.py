from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.grammar import compile_tool
from agentkit.gemma4.tokens import TOOL_CLOSE, TOOL_OPEN
from agentkit.messages import ToolDefinition, UserMessage
from agentkit.schema.lower import LoweredTool, aliases_of, lower
from agentkit.schema.read import read
from agentkit.schema.shape import Shape
from agentkit.toolset import tool
from tests.gemma4.official import FILES, needs_templates, official
from tests.schema.accounting import occurrences
from tests.schema.corpus import everything, systematic, wild
from tests.schema.native import read_declaration
from tests.schema.signatures import WORKING


def signatures() -> list[ToolDefinition]:
    return [tool(case.function).definition for case in WORKING]


@cache
def all_tools() -> list[LoweredTool]:
    return [lower(definition) for definition in [*everything(), *signatures()]]


def lowered(**properties: Any) -> LoweredTool:
    return lower(ToolDefinition("demo", "A demo.", {"type": "object", "properties": properties}))


def shown(**properties: Any) -> Any:
    """The declared properties, for a test of one of them."""
    return lowered(**properties).declaration.parameters["properties"]


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every declared node below the top."""
    for child in schema.get("properties", {}).values():
        yield child
        yield from nodes(child)
    if "items" in schema:
        yield schema["items"]
        yield from nodes(schema["items"])


def as_printed(schema: dict[str, Any]) -> dict[str, Any]:
    """A declared schema as the template's author meant it to be printed: types in capitals."""
    printed = {**schema, "type": schema["type"].upper()}
    if "properties" in schema:
        printed["properties"] = {k: as_printed(v) for k, v in schema["properties"].items()}
    if "items" in schema:
        printed["items"] = as_printed(schema["items"])
    return printed


@pytest.mark.slow
@needs_templates
@pytest.mark.parametrize("template", FILES)
def test_every_template_prints_the_whole_declaration_and_nothing_else(template: str) -> None:
    escape = Escape()
    for tool_ in all_tools():
        declared = escape.escape_tool(tool_.declaration)
        wire = {
            "name": declared.name,
            "description": declared.description,
            "parameters": declared.parameters,
        }
        prompt = official(template, [UserMessage("x")], [wire])
        start = prompt.index(TOOL_OPEN)
        rendered = prompt[start : prompt.index(TOOL_CLOSE) + len(TOOL_CLOSE)]
        name, body = read_declaration(rendered)
        expected = as_printed(declared.parameters)
        if not expected["properties"]:
            del expected["properties"]
        assert name == declared.name
        assert body == {"description": declared.description, "parameters": expected}


@pytest.mark.slow
def test_every_node_has_one_type_and_a_description() -> None:
    types = {"string", "number", "integer", "boolean", "array", "object"}
    for tool_ in all_tools():
        declaration = tool_.declaration
        assert declaration.description
        for node in nodes(declaration.parameters):
            assert node["type"] in types, (declaration.name, node)
            assert node["description"].strip(), (declaration.name, node)


def test_only_keys_that_the_template_prints_are_declared() -> None:
    known = {"type", "description", "enum", "items", "nullable", "properties", "required"}
    for tool_ in all_tools():
        for node in nodes(tool_.declaration.parameters):
            assert node.keys() <= known
            assert all(isinstance(value, str) for value in node.get("enum", ()))
            assert not {"type", "description", "properties", "required", "nullable"} & set(
                node.get("properties", ())
            )


def test_every_constraint_of_the_source_is_accounted_for() -> None:
    total = 0
    for tool_ in all_tools():
        definition = tool_.definition
        accounted = {(loss.path, loss.keyword) for loss in tool_.losses}
        wanted = occurrences(definition.parameters)
        missing = {place for place in wanted - accounted if not _is_empty(definition, place)}
        assert not missing, (definition.name, missing)
        total += len(wanted)
    assert total > 2_000


def _is_empty(definition: ToolDefinition, place: tuple[str, str]) -> bool:
    """A union of one branch, and one with a branch that takes anything, limit nothing."""
    path, keyword = place
    union = re.fullmatch(r"(.*)/(anyOf|oneOf)/\d+", path)
    if union and keyword == "type":
        return _is_empty(definition, (union[1], union[2]))
    schema: Any = definition.parameters
    for part in path.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        schema = schema[int(key)] if isinstance(schema, list) else schema[key]
    if keyword not in ("anyOf", "oneOf"):
        return False
    real = [branch for branch in schema[keyword] if branch is not False]
    annotations = {"title", "description"}
    free = [b for b in real if b is True or (isinstance(b, dict) and b.keys() <= annotations)]
    return len(real) == 1 or bool(free)


def test_what_is_said_in_words_stands_in_the_declaration() -> None:
    for tool_ in all_tools():
        definition = tool_.definition
        text = json.dumps(tool_.declaration.parameters, ensure_ascii=False)
        text += tool_.declaration.description
        for loss in tool_.losses:
            if loss.fate == "words":
                quoted = json.dumps(loss.text, ensure_ascii=False)[1:-1]
                assert quoted[1:] in text or loss.text[1:] in text, (definition.name, loss)


def test_nothing_of_the_wild_corpus_is_hidden_but_what_leads_nowhere() -> None:
    hidden = {tool_.definition.name: tool_.hidden for tool_ in all_tools()}
    named = {name: [loss.keyword for loss in losses] for name, losses in hidden.items() if losses}
    assert named == {"mcp_remote_ref": ["$ref", "$ref"]}


@pytest.mark.slow
def test_lowering_is_deterministic_and_leaves_its_input_alone() -> None:
    for definition in wild():
        before = json.dumps(definition.parameters)
        once, twice = lower(definition), lower(definition)
        assert json.dumps(once.declaration.parameters) == json.dumps(twice.declaration.parameters)
        assert once.losses == twice.losses
        assert json.dumps(definition.parameters) == before


# --- the words ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "description"),
    [
        (
            {"type": "integer", "minimum": 1, "maximum": 7, "default": 1},
            "How many days ahead. Integer 1 to 7. Default: 1.",
        ),
        ({"type": "string", "default": "."}, 'How many days ahead. Default: ".".'),
        ({"type": "string", "minLength": 1, "maxLength": 20}, "1 to 20 characters."),
        ({"type": "string", "minLength": 1}, "Not empty."),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "More than 0 and at most 1."),
        ({"type": "string", "format": "date"}, "A date like 2026-07-31."),
        ({"type": "string", "pattern": "^a+$"}, "Matches the pattern ^a+$."),
        ({"type": "integer", "enum": [1, 2, 5]}, "One of 1, 2, 5."),
        ({"type": "integer", "enum": list(range(100))}, "An integer from 0 to 99."),
        ({"const": 3}, "Always 3."),
        ({"type": "integer", "multipleOf": 5}, "A multiple of 5."),
        ({"type": "array", "items": {}, "minItems": 1, "maxItems": 3}, "1 to 3 items."),
        ({"type": "array", "items": {}, "uniqueItems": True}, "No duplicates."),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "Either integer, or string."),
        ({"type": ["integer", "string"]}, "Integer or string."),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            "Any keys, each value: integer.",
        ),
        ({"type": "string", "not": {"const": "root"}}, 'Never "root".'),
        (
            {"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}]},
            "These items in order: 1. number, 2. string.",
        ),
        ({}, "Any JSON value."),
    ],
)
def test_what_the_template_drops_is_said_in_a_sentence(
    schema: dict[str, Any], description: str
) -> None:
    text = shown(x={"description": "How many days ahead", **schema})["x"]["description"]
    assert text in (description, f"How many days ahead. {description}")


def test_a_description_that_needs_no_addition_stays_as_written() -> None:
    assert shown(x={"type": "string", "description": " Path "})["x"]["description"] == "Path"


def test_a_parameter_without_description_is_described_by_its_name_and_limits() -> None:
    declared = shown(maxResults={"type": "integer", "minimum": 1})
    assert declared["maxResults"]["description"] == "Max results. At least 1."


def test_a_discriminated_union_becomes_one_object_and_a_sentence() -> None:
    cat = {"properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}}
    dog = {"properties": {"kind": {"const": "dog"}, "breed": {"type": "string"}}}
    pet = shown(
        pet={"oneOf": [{**cat, "required": ["kind"]}, {**dog, "required": ["kind", "breed"]}]}
    )["pet"]
    assert pet["description"] == (
        'Pet. With kind "cat": may have lives; with kind "dog": needs breed.'
    )
    assert list(pet["properties"]) == ["breed", "kind", "lives"]
    assert pet["properties"]["kind"]["enum"] == ["cat", "dog"]
    assert pet["required"] == ["kind"]


def test_an_optional_type_is_nullable() -> None:
    declared = shown(x={"anyOf": [{"type": "integer"}, {"type": "null"}]})["x"]
    assert (declared["type"], declared["nullable"]) == ("integer", True)


def test_a_recursive_definition_is_cut_and_the_cut_is_said() -> None:
    node = {
        "type": "object",
        "title": "Tree",
        "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
    }
    schema = {"$ref": "#/$defs/Tree", "$defs": {"Tree": node}}
    text = json.dumps(lower(ToolDefinition("t", "", schema)).declaration.parameters)
    assert text.count('"children"') == 3
    assert "Another Tree, of the same form." in text


def test_a_chain_of_definitions_is_shown_as_deep_as_it_is_read_and_the_rest_is_said() -> None:
    names: dict[str, object] = {
        f"D{at}": {"type": "object", "properties": {"n": {"$ref": f"#/$defs/D{at + 1}"}}}
        for at in range(600)
    }
    names["D600"] = {"type": "string"}
    schema = {"properties": {"n": {"$ref": "#/$defs/D0"}}, "$defs": names}
    text = json.dumps(lower(ToolDefinition("t", "", schema)).declaration.parameters)
    assert text.count('"n"') > 40
    assert text.count("whose form is too large to be shown.") == 1


def test_a_schema_without_a_type_at_the_top_gets_one() -> None:
    assert lower(ToolDefinition("t", "", {})).declaration.parameters == {
        "type": "object",
        "properties": {},
    }


# --- names -------------------------------------------------------------------------------------


def test_reserved_names_are_aliased_and_mapped_back_at_every_depth() -> None:
    inner = {"type": "object", "properties": {"type": {"type": "string"}, "ok": {}}}
    tool_ = lowered(
        type={"type": "string"},
        required={"type": "boolean"},
        many={"type": "array", "items": inner},
        by_name={"type": "object", "additionalProperties": inner},
        either={"anyOf": [inner, {"type": "integer"}]},
    )
    assert tool_.aliases == {"type": "type_", "required": "required_"}
    original = {
        "type": "a",
        "required": True,
        "many": [{"type": "b", "ok": 1}],
        "by_name": {"k": {"type": "c"}},
        "either": {"type": "d"},
    }
    written = tool_.rename(original)
    assert written["many"] == [{"type_": "b", "ok": 1}]
    assert tool_.restore(written) == original


def test_an_alias_that_is_taken_gets_a_number() -> None:
    tool_ = lowered(type={"type": "string"}, type_={"type": "string"})
    assert tool_.aliases == {"type": "type_2"}
    assert tool_.restore({"type_2": "a", "type_": "b"}) == {"type": "a", "type_": "b"}


def test_keys_of_a_free_dict_are_never_renamed() -> None:
    tool_ = lowered(type={"type": "string"}, data={"type": "object"})
    assert tool_.restore({"type_": "a", "data": {"type_": 1, "type": 2}}) == {
        "type": "a",
        "data": {"type_": 1, "type": 2},
    }


def test_names_that_would_break_the_native_syntax_are_aliased() -> None:
    tool_ = lowered(**{"filter[name]": {}, "a:b": {}, "": {}, "日本": {}, "x-y": {}})
    assert tool_.aliases == {"": "field", "a:b": "a_b", "filter[name]": "filter_name"}


def test_a_name_the_model_wrote_unaliased_is_kept() -> None:
    assert lowered(type={"type": "string"}).restore({"type": "a"}) == {"type": "a"}


@pytest.mark.parametrize("definition", systematic()[::9], ids=lambda d: d.name)
def test_renaming_and_restoring_are_each_others_inverse(definition: ToolDefinition) -> None:
    tool_ = lower(definition)
    value = {"it": {"type": "a", "description": "b", "x": 1}, "box": {"in": {"it": {"type": 1}}}}
    assert tool_.restore(tool_.rename(value)) == value


# --- names that the model is shown -------------------------------------------------------------


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


def test_calls_are_read_under_both_names_where_members_are_named_and_nowhere_else() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "type": {"enum": ["type"], "default": "type"},
            "properties": {"type": "object", "properties": {"type": {"$ref": "#/$defs/type"}}},
        },
        "required": ["type"],
        "$defs": {"type": {"type": "string"}},
        "additionalProperties": False,
    }
    tool = lower(ToolDefinition("f", "", schema))
    shape = tool.shape
    assert tool.aliases == {"type": "type_", "properties": "properties_"}
    assert shape.names == {"type", "type_", "properties", "properties_"}
    assert shape.property("type").values == shape.property("type_").values == ("type",)
    assert shape.required == frozenset()
    inner = shape.property("properties_")
    assert inner.names == {"type", "type_"}
    assert inner.property("type_").types == frozenset({"string"})
    assert shape.names_within[0] == shape.names
    fitting: list[Any] = [{}, {"type": "type"}, {"type_": "type"}, {"properties_": {"type_": "x"}}]
    wrong: list[Any] = [{"type_": "type_"}, {"properties_": {"type_": 5}}, {"more": 1}]
    assert [shape.misfit(value) for value in fitting] == [0, 0, 0, 0]
    assert [shape.misfit(value) for value in wrong] == [1, 1, 1]
    assert Shape.of(schema).required == {"type"}, "the view that others have stays as it was"


FANS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "members": lambda inner: {"properties": {f"p{number}": inner for number in range(10)}},
    "choices": lambda inner: {"anyOf": [inner, {**inner, "description": "The same."}]},
    "unions of objects": lambda inner: {
        "anyOf": [{"properties": {f"k{at}": {"const": at}, "p": inner}} for at in range(3)]
    },
    "conjunctions": lambda inner: {"allOf": [inner, {**inner, "description": "The same."}]},
    "merged members": lambda inner: {"allOf": [{"properties": {"p": inner}}] * 2},
    "conditions": lambda inner: {"if": inner, "then": inner, "else": inner},
    "keys": lambda inner: {"additionalProperties": inner, "propertyNames": inner},
    "opposites": lambda inner: {"not": inner, "contains": inner},
}


@pytest.mark.parametrize("fan", FANS.values(), ids=FANS)
def test_definitions_that_fan_out_are_lowered_in_bounded_time(
    fan: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    definitions = {f"D{at}": fan({"$ref": f"#/$defs/D{at + 1}"}) for at in range(30)}
    last = {"D30": {"anyOf": [{"type": "string"}, {"properties": {"a": {"type": "null"}}}]}}
    schema = {"properties": {"x": {"$ref": "#/$defs/D0"}}, "$defs": {**definitions, **last}}
    started = time.process_time()
    tool = lower(ToolDefinition("f", "", schema))
    assert len(json.dumps(tool.declaration.parameters)) < 1_000_000
    assert tool.shape.misfit({"x": {"p": "text"}}) <= 1
    assert compile_tool(tool).arguments
    assert time.process_time() - started < 5.0


def test_a_recursive_definition_is_shown_once_inside_itself_also_in_several_branches() -> None:
    branches = [
        {"properties": {f"a{number}": {"type": "null"}, "next": {"$ref": "#/$defs/V"}}}
        for number in range(3)
    ]
    schema = {"properties": {"v": {"$ref": "#/$defs/V"}}, "$defs": {"V": {"anyOf": branches}}}
    shown = lower(ToolDefinition("f", "", schema)).declaration.parameters["properties"]["v"]
    inner = shown["properties"]["next"]["properties"]["next"]
    assert inner["description"] == "Next. Another V, of the same form."
    assert not inner.get("properties")


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same schema, as a server would write it that keeps no order of keys."""
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: shuffled(value[key], rng) for key in keys}
    if isinstance(value, list):
        return [shuffled(each, rng) for each in value]
    return value


def test_the_order_of_a_schemas_keys_does_not_change_what_is_shown() -> None:
    schema = {
        "type": "object",
        "properties": {
            "b": {"type": "string", "minLength": 2, "pattern": "^x"},
            "a": {"type": "object", "properties": {"q": {}, "p": {}}, "required": ["q", "p"]},
        },
        "patternProperties": {"^y": {"type": "integer"}, "^x": {"type": "string"}},
        "dependentRequired": {"b": ["a"], "a": ["b"]},
        "dependentSchemas": {"b": {"required": ["a"]}, "a": {"minProperties": 2}},
    }
    rng = random.Random(1)
    made = [ToolDefinition("demo", "A demo.", shuffled(schema, rng)) for _ in range(30)]
    assert len({json.dumps(Dialect([each], Escape()).declarations) for each in made}) == 1
