"""Constructs with a value that fits each, and a value for any schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from agentkit.messages import JsonObject

PROSE: Final = "The parcel came on Monday; the box was wet, and two of the six cups were broken. "
HTML: Final = (
    '<!DOCTYPE html><table class="a"><tr><td>1 < 2 && b > a</td></tr></table><p>|x|<y</p> '
    "if (a <b) { c<|d; } <tool <tool_call <| "
)

_LINE: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "sku": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4}$"},
        "count": {"type": "integer", "minimum": 1, "maximum": 99},
        "note": {"type": "string", "maxLength": 120},
        "price": {"type": "number", "minimum": 0.01, "exclusiveMaximum": 10_000.5},
    },
    "required": ["sku", "count", "note", "price"],
    "additionalProperties": False,
}
_SIX: Final = (10, 50, 120, 280, 1_000, 4_000)

CONSTRUCTS: Final[Mapping[str, tuple[JsonObject, Any]]] = {
    "text": ({"type": "string"}, PROSE * 4 + HTML),
    "text of 10": ({"type": "string", "maxLength": 10}, "wet cups <"),
    "text of 50": ({"type": "string", "maxLength": 50}, (PROSE + HTML)[-50:]),
    "text of 200": ({"type": "string", "maxLength": 200}, (PROSE + HTML)[-200:]),
    "text of 2000": ({"type": "string", "maxLength": 2_000}, ((PROSE + HTML) * 12)[:2_000]),
    "six texts of six lengths": (
        {
            "type": "object",
            "properties": {f"t{n}": {"type": "string", "maxLength": n} for n in _SIX},
            "required": [f"t{n}" for n in _SIX],
        },
        {f"t{n}": ((HTML + PROSE) * 30)[:n] for n in _SIX},
    ),
    "six texts of six lengths, filled": (
        {
            "type": "object",
            "properties": {
                f"t{n}": {"type": "string", "minLength": k, "maxLength": n}
                for k, n in enumerate(_SIX)
            },
            "required": [f"t{n}" for n in _SIX],
        },
        {f"t{n}": ((HTML + PROSE) * 30)[:n] for n in _SIX},
    ),
    "filled text": ({"type": "string", "minLength": 1}, HTML + PROSE),
    "text of 1 to 64": ({"type": "string", "minLength": 1, "maxLength": 64}, PROSE[:60]),
    "text of at least 10": ({"type": "string", "minLength": 10}, PROSE + HTML),
    "pattern: zip code": ({"type": "string", "pattern": "^[0-9]{5}(-[0-9]{4})?$"}, "94110-1234"),
    "pattern: SKU": ({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,4}$"}, "AB-1234"),
    "pattern: email": (
        {"type": "string", "pattern": r"^[^@\s]+@[^@\s]+\.[^@\s]+$"},
        "ada.lovelace+test@mail.example.com",
    ),
    "pattern: name": (
        {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,62}$"},
        "orders-production-eu-west-worker_7",
    ),
    "pattern: word": ({"type": "string", "pattern": "^[a-z]+$"}, "internationalization"),
    "pattern: no space": ({"type": "string", "pattern": r"^\S+$"}, "a<b|c>d/tool_call"),
    "pattern: URL": ({"type": "string", "pattern": "^https?://"}, "https://example.com/a?b=<c>"),
    "pattern: not blank": ({"type": "string", "pattern": r"\S"}, PROSE),
    "pattern: hash": (
        {"type": "string", "pattern": "^[0-9a-f]{40}$"},
        "0123456789abcdef" * 2 + "01234567",
    ),
    "integer": ({"type": "integer"}, 1_234_567),
    "integer of 1 to 500": ({"type": "integer", "minimum": 1, "maximum": 500}, 347),
    "number": ({"type": "number"}, -12.75),
    "number of 0.1 to 0.95": ({"type": "number", "minimum": 0.1, "maximum": 0.95}, 0.125),
    "number above -2.5": ({"type": "number", "exclusiveMinimum": -2.5}, -2.4375),
    "date": ({"type": "string", "format": "date"}, "2026-11-28"),
    "date-time": ({"type": "string", "format": "date-time"}, "2026-11-28T09:30:00.25Z"),
    "time": ({"type": "string", "format": "time"}, "09:30:00+01:00"),
    "duration": ({"type": "string", "format": "duration"}, "P1Y2M3DT4H5M6S"),
    "uuid": ({"type": "string", "format": "uuid"}, "0f8fad5b-d9cb-469f-a165-70867728950e"),
    "ipv4": ({"type": "string", "format": "ipv4"}, "192.168.0.254"),
    "ipv6": ({"type": "string", "format": "ipv6"}, "2001:db8::8a2e:370:7334"),
    "hostname": ({"type": "string", "format": "hostname"}, "db-1.eu-west.example.com"),
    "email": ({"type": "string", "format": "email"}, "ada.lovelace+test@mail.example.com"),
    "3 literals": ({"enum": ["open", "closed", "all"]}, "closed"),
    "200 literals": ({"enum": [f"region-{n}-{n * n}" for n in range(200)]}, "region-123-15129"),
    "boolean": ({"type": "boolean"}, True),
    "nullable": ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, None),
    "list of texts": ({"type": "array", "items": {"type": "string"}}, [PROSE, HTML, "c"]),
    "1 to 5 integers": (
        {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 5},
        [1, 22, 333],
    ),
    "dict of texts": (
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"content type": "a", "X-Trace": HTML, "c": PROSE},
    ),
    "any JSON": ({}, {"a": [1, 2.5, {"b": HTML}], "c": None, "long key": True}),
    "a nested order": (
        {
            "type": "object",
            "properties": {
                "id": {"type": "string", "format": "uuid"},
                "lines": {"type": "array", "items": _LINE, "minItems": 1},
                "address": {
                    "type": "object",
                    "properties": {
                        "zip": {"type": "string", "pattern": "^[0-9]{5}$"},
                        "street": {"type": "string", "minLength": 1, "maxLength": 80},
                    },
                    "required": ["zip", "street"],
                    "additionalProperties": False,
                },
                "gift": {"anyOf": [{"type": "string", "maxLength": 200}, {"type": "null"}]},
            },
            "required": ["id", "lines", "address", "gift"],
            "additionalProperties": False,
        },
        {
            "id": "0f8fad5b-d9cb-469f-a165-70867728950e",
            "lines": [
                {"sku": "CUP-0042", "count": 6, "note": PROSE, "price": 12.5},
                {"sku": "TEA-0007", "count": 1, "note": "<b>green</b>", "price": 0.99},
            ],
            "address": {"zip": "94110", "street": "12 Long <Street>"},
            "gift": PROSE,
        },
    ),
}
"""Name → schema and a value that fits it."""

_BY_FORMAT: Final = {
    "date": "2026-11-28",
    "date-time": "2026-11-28T09:30:00Z",
    "time": "09:30:00Z",
    "uuid": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "email": "ada@example.com",
    "uri": "https://example.com/a?b=c",
    "ipv4": "10.0.0.1",
    "ipv6": "2001:db8::1",
    "hostname": "example.com",
    "duration": "PT15M",
}
_BY_PATTERN: Final = (
    "AB-1234",
    "abc",
    "ab12",
    "94110",
    "2026-11",
    "a1",
    "https://example.com",
    "ABC",
    "status=open",
)


def example(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A value of a schema, all members of its objects included; right for what is common."""
    root = schema if root is None else root
    if not isinstance(schema, dict):
        return "any"
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if reference := schema.get("$ref"):
        found: Any = root
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        return example(found, root, depth + 1)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return example({**_without(schema, keyword), **schema[keyword][0]}, root, depth)
    if "allOf" in schema:
        merged = _without(schema, "allOf")
        for part in schema["allOf"]:
            merged = {**merged, **part}
        return example(merged, root, depth)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    return _BY_TYPE[kind](schema, root, depth)


def _without(schema: Mapping[str, Any], keyword: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != keyword}


def _text(schema: Mapping[str, Any], root: Any, depth: int) -> str:
    if schema.get("format") in _BY_FORMAT:
        return str(_BY_FORMAT[schema["format"]])
    if "pattern" in schema:
        fitting = [text for text in _BY_PATTERN if re.search(schema["pattern"], text)]
        return fitting[0] if fitting else PROSE
    least: int = schema.get("minLength", 0)
    text = PROSE * (1 + least // len(PROSE))
    most: int = schema.get("maxLength", len(text))
    return text[:most]


def _number(schema: Mapping[str, Any], root: Any, depth: int) -> int | float:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None and high is None:
        return 7 * step if isinstance(step, int) else step
    if low is None or isinstance(low, bool):
        return 0 if isinstance(high, bool) or high is None else high - 1
    found: int | float = low if "minimum" in schema else low + 1
    return found


def _array(schema: Mapping[str, Any], root: Any, depth: int) -> list[Any]:
    prefix = [example(item, root, depth + 1) for item in schema.get("prefixItems", [])]
    if isinstance(schema.get("items"), list):
        return [example(item, root, depth + 1) for item in schema["items"]]
    if prefix or depth > 6 or schema.get("maxItems") == 0:
        return prefix
    count = max(1, schema.get("minItems", 1))
    return [example(schema.get("items", {}), root, depth + 1) for _ in range(count)]


def _object(schema: Mapping[str, Any], root: Any, depth: int) -> dict[str, Any]:
    required = schema.get("required", [])
    required = required if isinstance(required, list) else []
    return {
        name: example(child, root, depth + 1)
        for name, child in schema.get("properties", {}).items()
        if depth < 5 or name in required
    }


_BY_TYPE: Final[Mapping[str, Callable[[Mapping[str, Any], Any, int], Any]]] = {
    "string": _text,
    "integer": _number,
    "number": _number,
    "boolean": lambda *_: True,
    "null": lambda *_: None,
    "array": _array,
    "object": _object,
}
