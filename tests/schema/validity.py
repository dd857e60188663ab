"""Validation that knows which keywords may fail: those that a grammar does not carry."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft4Validator, Draft202012Validator
from jsonschema.exceptions import SchemaError, UnknownType, ValidationError
from jsonschema.protocols import Validator
from referencing.exceptions import Unresolvable

Places = frozenset[tuple[str, str]]


def broken(value: Any, schema: Any, carried: Places) -> list[str]:
    """The carried keywords that a value breaks."""
    schema = _without_nullable(schema)
    validator = _validator(schema)
    places: dict[int, str] = {}
    _name(schema, "", places)
    try:
        errors = list(validator.iter_errors(value))
    except (Unresolvable, SchemaError, UnknownType, TypeError, AttributeError):
        return []  # the schema leads nowhere or makes no sense, so there is nothing to obey
    return [
        f"{places.get(id(error.schema))}/{error.validator}: {error.message}"
        for error in errors
        if not _excused(error, places, carried)
    ]


def _validator(schema: Any) -> Validator:
    if "draft-04" in str(schema.get("$schema", "")):
        return Draft4Validator(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def _without_nullable(schema: Any) -> Any:
    """OpenAPI 3.0's `nullable` in the words of JSON Schema."""
    if isinstance(schema, list):
        return [_without_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _without_nullable(value) for key, value in schema.items()}
    if schema.get("nullable") is True and isinstance(schema.get("type"), str):
        plain["type"] = [schema["type"], "null"]
        if isinstance(schema.get("enum"), list):
            plain["enum"] = [*schema["enum"], None]
    return plain


def _name(schema: Any, path: str, places: dict[int, str]) -> None:
    if isinstance(schema, dict):
        places.setdefault(id(schema), path)
        for key, child in schema.items():
            _name(child, f"{path}/{key.replace('~', '~0').replace('/', '~1')}", places)
    if isinstance(schema, list):
        for index, child in enumerate(schema):
            _name(child, f"{path}/{index}", places)


def _excused(error: ValidationError, places: dict[int, str], carried: Places) -> bool:
    """Whether the keyword is not carried, or a union fails by one that is not."""
    if error.context:
        return any(_excused(inner, places, carried) for inner in error.context)
    return (places.get(id(error.schema), ""), str(error.validator)) not in carried
