"""JSON values and tool declarations in the native syntax, as the canonical template prints them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from agentkit.gemma4.tokens import QUOTE, TOOL_CLOSE, TOOL_OPEN

Declaration: TypeAlias = Mapping[str, Any]
"""A lowered tool: `name`, `description` and `parameters` (a JSON Schema of the plain subset)."""

_RESERVED: Final = frozenset({"description", "type", "properties", "required", "nullable"})


def render_value(value: Any, *, quoted_keys: bool = False) -> str:
    """A JSON value in the native syntax.

    Args:
        value: Anything that JSON can hold.
        quoted_keys: Inside declarations the template quotes the keys of objects.
    """
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"{QUOTE}{value}{QUOTE}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        quote = QUOTE if quoted_keys else ""
        pairs = (
            f"{quote}{key}{quote}:{render_value(item, quoted_keys=quoted_keys)}"
            for key, item in sorted_pairs(value)
        )
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, Sequence):
        return f"[{','.join(render_value(item, quoted_keys=quoted_keys) for item in value)}]"
    return str(value)


def sorted_pairs(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The pairs in the order of jinja2's `dictsort`: lower case, ties as they came."""
    return sorted(mapping.items(), key=lambda pair: pair[0].lower())


def render_declaration(tool: Declaration) -> str:
    """What the model sees of a tool, control tokens included.

    A missing description prints `None`, as it does through vLLM, which fills it in as null.
    """
    body = f"declaration:{tool['name']}{{description:{QUOTE}{tool.get('description')}{QUOTE}"
    parameters = tool.get("parameters")
    if parameters:
        body += ",parameters:{"
        if parameters.get("properties"):
            body += f"properties:{{{_properties(parameters['properties'])}}},"
        if parameters.get("required"):
            body += f"{_required(parameters)},"
        if parameters.get("type"):  # without a type the template forgets the brace as well
            body += f"type:{QUOTE}{str(parameters['type']).upper()}{QUOTE}}}"
    return f"{TOOL_OPEN}{body}}}{TOOL_CLOSE}"


def _required(schema: Mapping[str, Any]) -> str:
    return f"required:[{','.join(f'{QUOTE}{name}{QUOTE}' for name in schema['required'])}]"


def _properties(properties: Mapping[str, Any], *, leave_out: frozenset[str] = frozenset()) -> str:
    return ",".join(
        f"{name}:{{{','.join(_attributes(schema if isinstance(schema, Mapping) else {}))}}}"
        for name, schema in sorted_pairs(properties)
        if name not in leave_out
    )


def _attributes(schema: Mapping[str, Any]) -> Iterator[str]:
    """What the template prints of one property, in its order."""
    kind = str(schema.get("type", "")).upper()
    if schema.get("description"):
        yield f"description:{QUOTE}{schema['description']}{QUOTE}"
    if kind == "STRING" and schema.get("enum"):
        yield f"enum:{render_value(schema['enum'], quoted_keys=True)}"
    if kind == "ARRAY" and isinstance(schema.get("items"), Mapping) and schema["items"]:
        yield f"items:{{{','.join(_items(schema['items']))}}}"
    if schema.get("nullable"):
        yield "nullable:true"
    if kind == "OBJECT":
        yield f"properties:{{{_object_properties(schema)}}}"
        if schema.get("required"):
            yield _required(schema)
    yield f"type:{QUOTE}{kind}{QUOTE}"


def _object_properties(schema: Mapping[str, Any]) -> str:
    if isinstance(schema.get("properties"), Mapping):
        return _properties(schema["properties"])
    # The template takes the schema's other keywords for properties of a free object.
    return _properties(schema, leave_out=_RESERVED)


def _items(schema: Mapping[str, Any]) -> Iterator[str]:
    for key, value in sorted_pairs(schema):
        if value is None:
            continue
        if key == "properties":
            yield f"properties:{{{_properties(value) if isinstance(value, Mapping) else ''}}}"
        elif key == "required":
            yield _required(schema)
        elif key == "type":
            kinds = value.upper() if isinstance(value, str) else [str(v).upper() for v in value]
            yield f"type:{render_value(kinds, quoted_keys=True)}"
        else:
            yield f"{key}:{render_value(value, quoted_keys=True)}"
