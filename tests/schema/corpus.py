"""The schemas that lowering and grammar are proved on: wild ones by hand, systematic ones built.

`wild.json` holds schemas as MCP servers, OpenAPI documents, pydantic and validator test suites
write them. `systematic` crosses every construct with every place it can stand in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from agentkit.messages import ToolDefinition

Schema = dict[str, Any]

CONSTRUCTS: Final[Mapping[str, Schema]] = {
    "string": {"type": "string"},
    "string enum": {"type": "string", "enum": ["a", "b c", "d,e", 'q"r']},
    "string const": {"const": "only"},
    "short string": {"type": "string", "minLength": 1, "maxLength": 12},
    "long string": {"type": "string", "maxLength": 3000},
    "filled string": {"type": "string", "minLength": 1},
    "at least three": {"type": "string", "minLength": 3},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,4}$"},
    "odd pattern": {"type": "string", "pattern": "(?<=x)y"},
    "date": {"type": "string", "format": "date"},
    "integer": {"type": "integer"},
    "integer range": {"type": "integer", "minimum": 1, "maximum": 7},
    "wide range": {"type": "integer", "minimum": -250, "maximum": 123456},
    "at least": {"type": "integer", "minimum": 10},
    "integer enum": {"type": "integer", "enum": [1, 2, 5]},
    "number": {"type": "number"},
    "number range": {"type": "number", "minimum": 0, "maximum": 1},
    "above zero": {"type": "number", "exclusiveMinimum": 0},
    "multiple": {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 100},
    "boolean": {"type": "boolean", "default": False},
    "boolean const": {"const": True},
    "null": {"type": "null"},
    "nullable list": {"type": ["string", "null"]},
    "optional": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}], "default": None},
    "optional enum": {"anyOf": [{"enum": ["x", "y"]}, {"type": "null"}]},
    "array": {"type": "array", "items": {"type": "string"}},
    "short array": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
    "unique": {"type": "array", "items": {"enum": ["r", "g", "b"]}, "uniqueItems": True},
    "matrix": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
    "tuple": {
        "type": "array",
        "prefixItems": [{"type": "number"}, {"type": "string"}],
        "minItems": 2,
        "maxItems": 2,
    },
    "old tuple": {"type": "array", "items": [{"type": "boolean"}], "additionalItems": False},
    "untyped array": {"type": "array"},
    "object": {
        "type": "object",
        "properties": {"x": {"type": "number"}, "Label": {"type": "string", "maxLength": 5}},
        "required": ["x"],
        "additionalProperties": False,
    },
    "reserved names": {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "description": {"type": "string"},
            "required": {"type": "boolean"},
        },
        "required": ["type"],
    },
    "free dict": {"type": "object", "additionalProperties": {"type": "integer"}},
    "any dict": {"type": "object"},
    "two keys": {
        "type": "object",
        "additionalProperties": {"type": "boolean"},
        "minProperties": 1,
        "maxProperties": 2,
    },
    "union": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "maxLength": 4}]},
    "type list": {"type": ["string", "integer"]},
    "object union": {
        "oneOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
                "required": ["kind", "lives"],
            },
            {
                "type": "object",
                "properties": {"kind": {"const": "dog"}, "breed": {"type": "string"}},
                "required": ["kind"],
            },
        ]
    },
    "all of": {"allOf": [{"type": "string", "minLength": 2}, {"maxLength": 6}]},
    "not": {"type": "string", "not": {"enum": ["root"]}},
    "condition": {
        "type": "object",
        "properties": {"a": {"enum": ["s", "t"]}, "b": {"type": "integer"}},
        "if": {"properties": {"a": {"const": "s"}}},
        "then": {"required": ["b"]},
    },
    "untyped": {"description": "whatever it takes"},
    "true": {},
}
"""One schema for every construct there is."""

_PLACES: Final[Mapping[str, Callable[[Schema], Schema]]] = {
    "required": lambda s: _tool({"it": s}, ["it"]),
    "optional": lambda s: _tool({"it": {**s, "description": "About it"}}),
    "items": lambda s: _tool({"them": {"type": "array", "items": s, "maxItems": 3}}, ["them"]),
    "nested": lambda s: _tool({"box": _tool({"in": _tool({"it": s}, ["it"])}, ["in"])}, ["box"]),
    "reference": lambda s: {
        **_tool({"it": {"$ref": "#/$defs/It"}, "more": {"$ref": "#/$defs/It"}}, ["it"]),
        "$defs": {"It": s},
    },
    "perhaps null": lambda s: _tool({"it": {"anyOf": [s, {"type": "null"}]}}),
    "dict values": lambda s: _tool({"all": {"type": "object", "additionalProperties": s}}),
}


def _tool(properties: Schema, required: list[str] | None = None) -> Schema:
    return {"type": "object", "properties": properties, "required": required or []}


def wild() -> list[ToolDefinition]:
    """The schemas written by hand."""
    cases = json.loads(Path(__file__).with_name("wild.json").read_text())
    return [
        ToolDefinition(f"{case['style']}_{case['name']}", "Does it.", case["schema"])
        for case in cases
    ]


def systematic() -> list[ToolDefinition]:
    """Every construct in every place."""
    return [
        ToolDefinition(f"{construct} as {place}".replace(" ", "_"), "", build(schema))
        for construct, schema in CONSTRUCTS.items()
        for place, build in _PLACES.items()
    ]


def everything() -> list[ToolDefinition]:
    """All of them."""
    return wild() + systematic()
