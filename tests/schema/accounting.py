"""Finds every constraint of a schema, by a walk of its own: what a loss report must account for.

It shares nothing with the reader under test: it works on the plain JSON, follows references
within the document, and knows from the specification which keywords hold schemas.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

_LIMITS = frozenset(
    {
        *("type", "enum", "const", "multipleOf", "minimum", "maximum"),
        *("exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern", "format"),
        *("prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "required"),
        *("patternProperties", "additionalProperties", "propertyNames", "minProperties"),
        *("maxProperties", "dependentRequired", "not", "if", "anyOf", "oneOf"),
        *("unevaluatedProperties", "unevaluatedItems"),
    }
)
_ONE = ("not", "contains", "propertyNames", "if", "then", "else", "additionalProperties", "items")
_MANY = ("properties", "patternProperties", "dependentSchemas", "dependencies")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")


def occurrences(document: Any) -> set[tuple[str, str]]:
    """(JSON pointer, keyword) of every constraint that can apply to an instance."""
    found: set[tuple[str, str]] = set()
    seen: set[str] = set()
    waiting = [("", document)]
    while waiting:
        path, schema = waiting.pop()
        if path in seen or not isinstance(schema, dict):
            continue
        seen.add(path)
        found |= {(path, keyword) for keyword in _LIMITS & schema.keys()}
        waiting += _inside(path, schema)
        waiting += _target(document, schema)
    return found


def _inside(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword in _ONE:
        if keyword in schema and (keyword not in ("then", "else") or "if" in schema):
            yield f"{path}/{keyword}", schema[keyword]
    for keyword in _MANY:
        named = schema.get(keyword)
        for name, child in named.items() if isinstance(named, dict) else ():
            yield f"{path}/{keyword}/{name.replace('~', '~0').replace('/', '~1')}", child
    for keyword in _LISTS:
        listed = schema.get(keyword)
        for index, child in enumerate(listed if isinstance(listed, list) else ()):
            yield f"{path}/{keyword}/{index}", child


def _target(document: Any, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return
    place, pointer = document, unquote(reference[1:])
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, dict) or key not in place:
            return
        place = place[key]
    yield pointer, place
