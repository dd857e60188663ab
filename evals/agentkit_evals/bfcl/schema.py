"""BFCL's function documents as tool definitions.

The documents are almost JSON Schema; the differences, and what `bfcl-eval` 2026.3.23 makes of them
for models that take OpenAI's format, are in its `constants/type_mappings.py` and
`model_handler/utils.py`.
"""

from __future__ import annotations

from typing import Any, Final

from agentkit.messages import JsonObject, ToolDefinition

_TYPES: Final = {
    "integer": "integer",
    "number": "number",
    "float": "number",
    "string": "string",
    "boolean": "boolean",
    "array": "array",
    "tuple": "array",
    "dict": "object",
    "object": "object",
    "any": "string",
}


def definition_of(document: JsonObject) -> ToolDefinition:
    """The definition of one function for the model; `.` in a name becomes `_`."""
    parameters = _object(document["parameters"])
    return ToolDefinition(document["name"].replace(".", "_"), document["description"], parameters)


def _object(document: JsonObject) -> JsonObject:
    properties = {key: _value(part) for key, part in document.get("properties", {}).items()}
    rest = {key: part for key, part in document.items() if key not in ("type", "properties")}
    return {"type": "object", "properties": properties, **rest}


def _value(document: JsonObject) -> JsonObject:
    """The schema of one parameter; a default that only its description names stays there."""
    kind = document.get("type", "string")
    made: dict[str, Any] = {**document, "type": _TYPES.get(kind, "string")}
    if kind == "float":
        made["format"] = "float"
        if "description" in made:
            made["description"] += " This is a float type value."
    if "properties" in made:
        made = _object(made)
    if "items" in made:
        made["items"] = _value(made["items"])
        made["items"].pop("format", None)
    return made
