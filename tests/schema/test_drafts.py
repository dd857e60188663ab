from __future__ import annotations

import json
import math
import re
import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agentkit.messages import JsonObject, ToolDefinition, UserMessage
from agentkit.schema.drafts import UnusableSchemaError, modern, subschemas
from agentkit.schema.foreign import ForeignArguments, misfit
from agentkit.schema.lower import lower
from tests.gemma4.official import FILES, needs_templates, official
from tests.mcp_corpus import load


def read(**properties: Any) -> JsonObject:
    """The properties as they are read."""
    made: JsonObject = modern({"type": "object", "properties": properties}).schema["properties"]
    return made


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"maximum": 9, "exclusiveMaximum": False}, {"maximum": 9}),
        ({"exclusiveMaximum": True}, {}),
        ({"items": [{"type": "string"}]}, {"prefixItems": [{"type": "string"}]}),
        ({"items": [True], "additionalItems": False}, {"prefixItems": [True], "items": False}),
        ({"items": {"minimum": 1, "exclusiveMinimum": True}}, {"items": {"exclusiveMinimum": 1}}),
        ({"additionalItems": False}, {}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        ({"enum": ["a"], "nullable": True}, {"enum": ["a", None]}),
        (
            {"allOf": [{"type": "string"}], "nullable": True, "description": "x"},
            {
                "description": "x",
                "anyOf": [{"allOf": [{"type": "string"}]}, {"type": "null"}],
            },
        ),
        ({"dependencies": {"a": ["b"]}}, {"dependentRequired": {"a": ["b"]}}),
        ({"dependencies": {"a": {"not": {}}}}, {"dependentSchemas": {"a": {"not": {}}}}),
        ({"type": "any"}, {}),
        ({"type": ["string", "any"]}, {}),
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": ["int", "None"]}, {"type": ["integer", "null"]}),
        ({"type": "file"}, {}),
        ({"maximum": math.inf}, {}),
        ({"const": math.inf}, {"const": math.inf}),
        ({"x-agentkit-keys": "integer", "x-other": 1}, {"x-other": 1}),
        ({"divisibleBy": 5}, {"multipleOf": 5}),
        (
            {"type": ["null", {"type": "object"}]},
            {"anyOf": [{"type": "null"}, {"type": "object"}]},
        ),
        ({"extends": {"type": "string"}}, {"allOf": [{"type": "string"}]}),
        ({"disallow": "null"}, {"not": {"type": "null"}}),
        ({"type": "string", "enum": None, "minLength": None}, {"type": "string"}),
        ({"description": ["one", "two"]}, {"description": "one\ntwo"}),
        ({"required": None}, {}),
        ({"required": False}, {}),
        ({"required": ["a", "a"]}, {"required": ["a"]}),
        ({"examples": "one"}, {"examples": ["one"]}),
        ({"const": None, "default": None}, {"const": None, "default": None}),
    ],
)  # fmt: skip
def test_older_forms_are_read_as_what_they_became(older: JsonObject, newer: JsonObject) -> None:
    before = json.dumps(older)
    assert read(a=older) == {"a": newer}
    assert json.dumps(older) == before


@pytest.mark.slow
def test_many_parts_of_one_object_are_read_in_bounded_time() -> None:
    parts: list[JsonObject] = [{"properties": {f"a {number}": {}}} for number in range(1_000)]
    references = {f"b{number}": {"$ref": f"#/parts/{number}/x"} for number in range(1_000)}
    schema: JsonObject = {
        "type": "object",
        "allOf": parts,
        "properties": references,
        "parts": [{"x": {"type": "string"}} for _ in references],
    }
    started = time.process_time()
    tool = lower(ToolDefinition("f", "", ForeignArguments(schema).schema))
    assert time.process_time() - started < 4.0
    assert tool.aliases["a 999"] == "a_999"
    assert len(tool.definition.parameters["$defs"]) == 1_000


def test_a_limit_that_is_no_number_is_never_checked() -> None:
    schema = {"properties": {"a": {"multipleOf": math.nan, "maximum": 9}}}
    arguments = ForeignArguments(schema)
    assert arguments.unchecked == ("the multipleOf NaN",)
    assert arguments.check({"a": 9}) == {"a": 9}
    assert isinstance(arguments.check({"a": 10}), list)
    assert misfit({"properties": {"a": {"multipleOf": 3}}}, {"a": math.inf})


def test_a_property_that_says_itself_that_it_is_required_is_required() -> None:
    properties = {"a": {"type": "string", "required": True}, "b": {"required": False}}
    schema = modern({"type": "object", "properties": properties, "required": True}).schema
    assert schema["required"] == ["a"]
    assert schema["properties"] == {"a": {"type": "string"}, "b": {}}


@pytest.mark.parametrize("kind", ["OBJECT", "dict", ["null", "Object"], "", None])
def test_the_type_of_the_whole_is_read_as_any_other(kind: object) -> None:
    made = modern({"type": kind, "properties": {"a": {"type": "STRING"}}}).schema
    assert "object" in made.get("type", "object")
    assert made["properties"] == {"a": {"type": "string"}}


def test_properties_may_have_the_names_of_keywords() -> None:
    names = ("id", "$ref", "items", "required", "nullable", "enum", "definitions", "type")
    properties = {name: {"type": "string"} for name in names}
    assert read(**properties) == properties


@pytest.mark.parametrize(
    ("uri", "reference"),
    [
        ("http://json-schema.org/draft-04/schema#", {"id": "#size"}),
        ("http://json-schema.org/draft-07/schema#", {"$id": "#size"}),
        ("https://json-schema.org/draft/2019-09/schema", {"$anchor": "size"}),
        ("https://json-schema.org/draft/2020-12/schema", {"$anchor": "size"}),
        ("https://json-schema.org/draft/2020-12/schema", {"$dynamicAnchor": "size"}),
        (None, {"id": "#size"}),
        (None, {"$anchor": "size"}),
    ],
)
def test_a_name_of_any_draft_becomes_a_pointer(uri: str | None, reference: JsonObject) -> None:
    schema: JsonObject = {
        **({"$schema": uri} if uri else {}),
        "type": "object",
        "properties": {"a": {"$ref": "#size"}},
        "definitions": {"Size": {**reference, "type": "integer"}},
    }
    found = modern(schema)
    assert found.unchecked == ()
    assert found.schema["properties"] == {"a": {"$ref": "#/definitions/Size"}}
    assert found.schema["definitions"] == {"Size": {"type": "integer"}}


def test_a_reference_follows_what_it_names_to_its_new_place() -> None:
    properties = {
        "a": {"items": [{"type": "string"}]},
        "b": {"$ref": "#/properties/a/items/0"},
        "c": {"$ref": "#/components/schemas/C"},
        "d": {"$ref": "#/properties/e/allOf/0"},
        "e": {"allOf": [{"minLength": 2}], "nullable": True},
    }
    schema = {
        "type": "object",
        "properties": properties,
        "components": {"schemas": {"C": {"type": "integer", "nullable": True}}},
    }
    arguments = ForeignArguments(schema)
    assert arguments.unchecked == ()
    assert arguments.schema["$defs"] == {"C": {"type": ["integer", "null"]}}
    assert arguments.check({"b": "x", "c": None, "d": "xx", "e": None})
    assert isinstance(arguments.check({"b": 1}), list)
    assert isinstance(arguments.check({"d": "x"}), list)


def test_limits_beside_a_reference_hold_from_2019_on() -> None:
    parts = {
        "properties": {"a": {"$ref": "#/definitions/n", "minimum": 5, "description": "A number."}},
        "definitions": {"n": {"type": "integer"}},
    }
    old = ForeignArguments({"$schema": "http://json-schema.org/draft-07/schema#", **parts})
    assert old.check({"a": 1}) == {"a": 1}
    assert old.schema["properties"]["a"]["description"] == "A number."
    assert isinstance(ForeignArguments(parts).check({"a": 1}), list)


@pytest.mark.parametrize(
    "parts",
    [
        {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {
            "properties": {"a": {"$ref": "#/$defs/a"}},
            "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}},
        },
        {"allOf": [{"$ref": "#"}], "properties": {"a": {"type": "integer"}}},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
    ],
)
def test_a_reference_that_leads_back_to_itself_is_told_and_left_unchecked(
    parts: JsonObject,
) -> None:
    arguments = ForeignArguments({"type": "object", **parts})
    (told,) = arguments.unchecked
    assert told.endswith("which leads back to itself")
    assert arguments.check({"a": 1}) == {"a": 1}


@pytest.mark.parametrize("unknown", [{"pattern": "^(?=x)"}, {"$ref": "#/gone"}])
def test_the_opposite_of_what_cannot_be_checked_is_not_checked_either(unknown: JsonObject) -> None:
    parts = {
        "a": {"not": unknown},
        "b": {"oneOf": [unknown, {"type": "string"}]},
        "c": {"if": {"not": {"not": unknown}}, "then": False},
        "d": {"contains": {"allOf": [unknown]}, "maxContains": 1},
        "e": {"not": {"$ref": "#/$defs/far"}},
        "f": {"items": {"oneOf": [{"type": "integer"}, {"type": "string", **unknown}]}},
    }
    arguments = ForeignArguments({"properties": parts, "$defs": {"far": {"items": unknown}}})
    fits = {"a": "y", "b": "y", "c": "y", "d": ["y", "y"], "e": ["y"], "f": ["y", 1]}
    assert arguments.check(fits) == fits
    assert isinstance(arguments.check({"f": [None]}), list)
    assert arguments.schema["properties"]["a"].keys() == {"not"}, "shown as it was written"


def test_what_a_circle_says_beside_its_reference_is_checked() -> None:
    schema = {"allOf": [{"$ref": "#"}], "properties": {"a": {"type": "integer"}}}
    assert isinstance(ForeignArguments(schema).check({"a": "x"}), list)


def test_a_definition_that_holds_itself_further_down_is_checked_all_the_way() -> None:
    tree = {"type": "object", "properties": {"kids": {"items": {"$ref": "#/definitions/tree"}}}}
    arguments = ForeignArguments({**tree, "definitions": {"tree": tree}})
    assert arguments.unchecked == ()
    assert isinstance(arguments.check({"kids": [{"kids": [{"kids": [1]}]}]}), list)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "object", "properties": []}, "not valid JSON Schema"),
        ({"properties": {"a": "string"}}, "not valid JSON Schema"),
        ({"properties": {"a": {"$ref": 1}}}, "not valid JSON Schema"),
        (None, "does not describe an object"),
    ],
)
def test_what_is_no_schema_of_an_object_says_why(schema: object, why: str) -> None:
    with pytest.raises(UnusableSchemaError, match=why):
        modern(schema)


@pytest.mark.parametrize(
    "reference",
    ["https://evil.example/s.json", "file:///etc/passwd", "other.json#/x", "http://[b/"],
)
def test_a_reference_out_of_the_schema_is_told_and_takes_any_value(reference: str) -> None:
    schema = {
        "properties": {
            "a": {"$ref": reference},
            "b": {"not": {"$ref": reference}},
            "n": {"type": "integer"},
        }
    }
    arguments = ForeignArguments(schema)
    assert arguments.unchecked == 2 * (
        f'the reference "{reference}", which leads out of the schema',
    )
    assert arguments.check({"a": [1], "b": 2, "n": 3}) == {"a": [1], "b": 2, "n": 3}
    assert isinstance(arguments.check({"a": 1, "n": "x"}), list)
    shown = lower(ToolDefinition("t", "", schema)).declaration.parameters["properties"]
    assert "never" not in shown["b"]["description"].lower()


def test_schemas_without_end_are_refused_at_once() -> None:
    deep: JsonObject = {"type": "string"}
    for _ in range(5_000):
        deep = {"type": "array", "items": deep}
    wide = {"properties": {f"p{n}": {"type": "string"} for n in range(50_000)}}
    started = time.process_time()
    for schema in ({"properties": {"a": deep}}, wide):
        with pytest.raises(UnusableSchemaError):
            modern(schema)
    assert time.process_time() - started < 2.0


def test_objects_of_one_title_inside_each_other_are_all_shown() -> None:
    schema: JsonObject = {"type": "string"}
    for name in ("c", "b", "a"):
        schema = {"type": "object", "title": "Options", "properties": {name: schema}}
    declared = lower(ToolDefinition("t", "Does.", schema)).declaration.parameters
    assert declared["properties"]["a"]["properties"]["b"]["properties"]["c"]["type"] == "string"


def test_every_part_of_a_schema_is_found_under_its_pointer() -> None:
    schema = {"properties": {"a/b": {"anyOf": [{}, {"items": {}}]}}, "not": False}
    assert [path for path, _ in subschemas(schema)] == [
        "",
        "/properties/a~1b",
        "/properties/a~1b/anyOf/0",
        "/properties/a~1b/anyOf/1",
        "/properties/a~1b/anyOf/1/items",
    ]


@pytest.mark.slow
def test_tools_of_public_servers_are_the_same_in_every_draft() -> None:
    forms = pytest.importorskip("tests.schema.forms", exc_type=ImportError)
    for number in range(0, 78, 13):
        assert forms.check_tool(number, 2)["forms shown as the published one"] == 12


UNTYPED = re.compile(r"[{,]type:(?!<\|\"\|>[A-Z])")
"""The member `type` in a rendered declaration, where no name of a type follows."""


@pytest.mark.slow
@needs_templates
@pytest.mark.parametrize("template", FILES)
def test_no_template_shows_a_public_tool_with_an_empty_type(template: str) -> None:
    def untyped(definition: ToolDefinition) -> int:
        tool = {
            "name": definition.name,
            "description": definition.description,
            "parameters": definition.parameters,
        }
        return len(UNTYPED.findall(official(template, [UserMessage("Hi.")], [tool])))

    assert sum(map(untyped, load())) > 20  # as published
    assert [each.name for each in load() if untyped(lower(each).declaration)] == []


@pytest.mark.parametrize(
    "part",
    [
        {"$id": "https://x.org/part", "$ref": "#/$defs/k"},
        {"$id": "urn:x:part", "$ref": "#/$defs/k"},
        {"$id": "part", "items": {"$ref": "part#/$defs/k"}, "$ref": "#k"},
    ],
)
def test_references_in_a_part_with_a_name_of_its_own_lead_into_that_part(part: JsonObject) -> None:
    inner = {**part, "$defs": {"k": {"$anchor": "k", "type": "integer"}}}
    outer = {"k": {"$anchor": "k", "type": "string"}}
    schema: JsonObject = {"type": "object", "properties": {"a": inner}, "$defs": outer}
    for value in ({"a": 1}, {"a": [True]}):
        assert (not misfit(schema, value)) == Draft202012Validator(schema).is_valid(value)


def test_a_reference_to_the_whole_from_a_part_with_a_name_is_understood() -> None:
    part = {"$id": "part", "$ref": "#/$defs/k"}
    schema = {"type": "object", "properties": {"a": part}, "$defs": {"k": {"type": "integer"}}}
    assert misfit(schema, {"a": [True]})
