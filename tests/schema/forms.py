"""The schema of a tool as each draft of JSON Schema and OpenAPI writes it, and how that is judged.

Written apart from `agentkit.schema.drafts`, which goes the other way. The judges are the validators
of `jsonschema` and `openapi-schema-validator`, each for its own draft.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jsonschema
from openapi_schema_validator import OAS30Validator, OAS31Validator

from agentkit.messages import JsonObject, ToolCall, ToolDefinition
from agentkit.schema.lower import lower
from agentkit.toolset import Tool, ValidatedCall
from tests.mcp_corpus import load

JUDGES: Final[Mapping[str, Any]] = {
    "draft-04": jsonschema.Draft4Validator,
    "draft-06": jsonschema.Draft6Validator,
    "draft-07": jsonschema.Draft7Validator,
    "2019-09": jsonschema.Draft201909Validator,
    "openapi-3.0": OAS30Validator,
    "openapi-3.1": OAS31Validator,
}
FORMS: Final = tuple(JUDGES)

_URIS: Final = {
    "draft-04": "http://json-schema.org/draft-04/schema#",
    "draft-06": "http://json-schema.org/draft-06/schema#",
    "draft-07": "http://json-schema.org/draft-07/schema#",
    "2019-09": "https://json-schema.org/draft/2019-09/schema",
    "openapi-3.1": "https://spec.openapis.org/oas/3.1/dialect/base",
}
_HOLDERS: Final = {"2019-09": "$defs", "openapi-3.0": "components", "openapi-3.1": "components"}
_BOOLEAN_LIMITS: Final = ("draft-04", "openapi-3.0")
_NEWER: Final = {
    "draft-04": ("contains", "propertyNames", "if", "then", "else", "examples"),
    "openapi-3.0": (
        *("contains", "propertyNames", "if", "then", "else", "examples"),
        *("patternProperties", "$comment", "dependentRequired", "dependentSchemas"),
    ),
    "draft-06": ("if", "then", "else"),
}


def as_form(schema: JsonObject, form: str, *, named: bool = True) -> JsonObject:
    """A tool's schema, as published, in the words of one draft.

    Args:
        schema: In the words of 2020-12 or draft 7.
        form: One of `FORMS`.
        named: Whether `$schema` names the draft.
    """
    made: JsonObject = _converted(schema, form)
    held = made.pop("$defs", {}) | made.pop("definitions", {})
    holder = _HOLDERS.get(form, "definitions")
    if held:
        made[holder] = {"schemas": held} if holder == "components" else held
    made.pop("$schema", None)
    return {"$schema": _URIS[form], **made} if named and form in _URIS else made


def _converted(value: Any, form: str) -> Any:
    if value is True or value is False:
        if form not in _BOOLEAN_LIMITS:
            return value
        return {} if value else {"not": {}}
    if not isinstance(value, dict):
        return value
    out = {
        key: _inside(key, each, form)
        for key, each in value.items()
        if key not in _NEWER.get(form, ())
    }
    _tuple(out, form)
    _limits(out, form)
    _dependencies(out, form)
    if isinstance(out.get("$ref"), str):
        out = _referred(out, form)
    if form == "openapi-3.0":
        out = _null(out)
    if form in _BOOLEAN_LIMITS and "const" in out:
        out["enum"] = [out.pop("const")]
    return out


def _inside(key: str, value: Any, form: str) -> Any:
    if key in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"):
        return {name: _converted(each, form) for name, each in value.items()}
    if key in ("allOf", "anyOf", "oneOf"):
        return [_converted(each, form) for each in value]
    if key in ("not", "if", "then", "else", "contains", "propertyNames"):
        return _converted(value, form)
    if key == "additionalProperties" and isinstance(value, dict):
        return _converted(value, form)
    return value


def _tuple(out: JsonObject, form: str) -> None:
    first = out.pop("prefixItems", None)
    if first is None and isinstance(out.get("items"), list):
        first = out.pop("items")
        rest = out.pop("additionalItems", None)
    else:
        rest = out.pop("items", None)
    if rest is not None:
        rest = rest if isinstance(rest, bool) and first is not None else _converted(rest, form)
    if first is None:
        out.update({} if rest is None else {"items": rest})
        return
    places = [_converted(each, form) for each in first]
    if form == "openapi-3.0":  # it has no tuples
        out["items"] = {}
    elif form == "openapi-3.1":
        out["prefixItems"] = places
        out.update({} if rest is None else {"items": rest})
    else:
        out["items"] = places
        out.update({} if rest is None else {"additionalItems": rest})


def _limits(out: JsonObject, form: str) -> None:
    if form not in _BOOLEAN_LIMITS:
        return
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in out:
            out[limit], out[exclusive] = out[exclusive], True


def _dependencies(out: JsonObject, form: str) -> None:
    if form.startswith("draft"):
        needed = out.pop("dependentRequired", {}) | out.pop("dependentSchemas", {})
        if needed:
            out["dependencies"] = needed


def _referred(out: JsonObject, form: str) -> JsonObject:
    reference = out.pop("$ref")
    name = reference.rpartition("/")[2]
    if reference.startswith(("#/$defs/", "#/definitions/")):
        holder = _HOLDERS.get(form, "definitions")
        holder = "components/schemas" if holder == "components" else holder
        reference = f"#/{holder}/{name}"
    if out and form in ("draft-04", "draft-06", "draft-07", "openapi-3.0"):
        out["allOf"] = [*out.get("allOf", ()), {"$ref": reference}]  # beside $ref nothing is read
    else:
        out["$ref"] = reference
    return out


def _null(out: JsonObject) -> JsonObject:
    """OpenAPI 3.0 knows one type and no null."""
    types = out.get("type")
    if isinstance(types, list):
        real = [each for each in types if each != "null"]
        del out["type"]
        if len(real) == 1:
            out["type"] = real[0]
        elif real:
            out["anyOf"] = [{"type": each} for each in real]
        if "null" in types:
            out["nullable"] = True
    for key in ("anyOf", "oneOf"):
        branches = out.get(key)
        if isinstance(branches, list) and {"type": "null"} in branches:
            real = [each for each in branches if each != {"type": "null"}]
            if len(real) == 1 and isinstance(real[0], dict):
                del out[key]
                out = {**real[0], **out, "nullable": True}
            else:
                out[key] = [{**each, "nullable": True} for each in real]
    return out


# --- the proof of one tool --------------------------------------------------------------------


def check_tool(number: int, calls: int) -> Counter[str]:
    """One tool of the corpus in every form, named and unnamed, with that many calls of each."""
    definition = load()[number]
    counts: Counter[str] = Counter(tools=1)
    forms = [(form, named) for form in FORMS for named in (True, False)]
    read = [(form, _tool(definition, as_form(definition.parameters, form, named=named)))
            for form, named in forms]  # fmt: skip
    shown = lower(definition).declaration
    for (form, named), (_, tool) in zip(forms, read, strict=True):
        JUDGES[form].check_schema(as_form(definition.parameters, form, named=named))
        declaration = lower(tool.definition).declaration
        assert not list(_empty(declaration.parameters)), (definition.name, form)
        size, most = _size(declaration), _size(shown)
        assert size <= 1.1 * most + 80, (definition.name, form, size, most)
        counts["forms read"] += 1
        counts["forms shown as the published one"] += declaration == shown

    chance = random.Random(number)
    for _ in range(calls):
        value = _value(chance, definition.parameters, definition.parameters, 0)
        for form, tool in read:
            counts.update(_check_call(form, tool, definition.parameters, value))
    return counts


def _value(  # noqa: C901 - one line a kind
    chance: random.Random, schema: Any, root: JsonObject, depth: int
) -> Any:
    """A value that is likely to fit; whether it does, the judge says."""
    if not isinstance(schema, dict):
        return None
    if "$ref" in schema:
        found: Any = root
        for step in schema["$ref"].split("/")[1:]:
            found = found[step.replace("~1", "/").replace("~0", "~")]
        return _value(chance, found, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return chance.choice(schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema and "properties" not in schema:
            return _value(chance, chance.choice(schema[key]), root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = chance.choice(kind) if isinstance(kind, list) else kind
    if kind == "object":
        needed = schema.get("required", ())
        return {
            name: _value(chance, inner, root, depth + 1)
            for name, inner in schema.get("properties", {}).items()
            if name in needed or (depth < 6 and chance.random() < 0.5)
        }
    if kind == "array":
        first = schema.get("prefixItems", schema.get("items"))
        if isinstance(first, list):
            return [_value(chance, each, root, depth + 1) for each in first]
        size = max(schema.get("minItems", 0), 0 if depth > 6 else chance.randint(0, 2))
        return [_value(chance, schema.get("items", {}), root, depth + 1) for _ in range(size)]
    low = schema.get("minimum", schema.get("exclusiveMinimum", -3) + 1)
    high = schema.get("maximum", schema.get("exclusiveMaximum", low + 9) - 1)
    if kind == "integer":
        return chance.randint(math.ceil(low), max(math.floor(high), math.ceil(low)))
    if kind == "number":
        return chance.choice([low, high, (low + high) / 2])
    if kind == "boolean":
        return chance.random() < 0.5
    if kind == "null":
        return None
    return "x" * max(schema.get("minLength", 0), min(schema.get("maxLength", 9), 9))


def _tool(definition: ToolDefinition, schema: JsonObject) -> Tool[..., Any]:
    async def act(**arguments: Any) -> str:
        return str(arguments)

    return Tool.from_schema(definition.name, definition.description, schema, act)


def _empty(schema: JsonObject) -> Iterator[JsonObject]:
    for each in schema.get("properties", {}).values():
        if not each.get("type") or not each.get("description"):
            yield each
        yield from _empty(each)
        yield from _empty({"properties": {"item": each["items"]}} if "items" in each else {})


def _check_call(
    form: str, tool: Tool[..., Any], published: JsonObject, value: Any
) -> Iterator[str]:
    known = published.get("properties", {})
    value = {key: each for key, each in value.items() if key in known}
    judge = JUDGES[form](as_form(published, form))
    if not judge.is_valid(value):  # what other drafts allow
        return
    assert _accepted(tool, value), (tool.name, form, value, tool.validate(ToolCall("c", "", value)))
    yield "valid calls accepted"
    for key in published.get("required", ()):
        without = {name: each for name, each in value.items() if name != key}
        assert not judge.is_valid(without)
        assert not _accepted(tool, without), (tool.name, form, key)
        yield "calls with a missing member refused"
    if "patternProperties" in published or published.get("additionalProperties", False):
        return
    for key in list(value)[:3]:
        misnamed = {f"{name}_x" if name == key else name: each for name, each in value.items()}
        assert not _accepted(tool, misnamed), (tool.name, form, key)
        yield "calls with a misnamed member refused"


def _accepted(tool: Tool[..., Any], value: JsonObject) -> bool:
    checked = tool.validate(ToolCall("c1", tool.name, value))
    return isinstance(checked, ValidatedCall) and dict(checked.arguments) == value


def _size(declaration: ToolDefinition) -> int:
    return len(declaration.description) + len(json.dumps(declaration.parameters))
