"""One annotated type at the JSON edge: its JSON Schema, and reading a decoded value as it.

Reading is strict, mends what can mean only one thing, and is strict again:

```
value ── strict ──► ok
           │ errors
           ▼
         mend: JSON text where a list or object is wanted, one layer of quotes, "1" for the
           │   literal 1, null for a nested field that has a default
           ▼
         strict ──► ok
           │ errors
           ▼
         lax (pydantic's coercions: "3" and 3.0 are the integer 3, "true" is true)
           │
           └── refused all the same: true for a number, a number for a date, "nan"
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, cast, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails, SchemaValidator

from agentkit.messages import JsonObject
from agentkit.schema.annotations import portable
from agentkit.schema.mending import Keys, is_doubtful, json_text, mended

__all__ = ["InvalidValueError", "JsonType", "json_type"]


class InvalidValueError(Exception):
    """A value is not of the type, and cannot be read as it with certainty.

    Attributes:
        errors: pydantic's error details, all of them.
        value: The value they speak of, after mending.
    """

    def __init__(self, errors: Sequence[ErrorDetails], value: object) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = errors
        self.value = value


@dataclass(frozen=True, slots=True)
class JsonType:
    """A type, ready to read decoded JSON values as it.

    Attributes:
        adapter: pydantic's view of the type.
        schema: Its JSON Schema (draft 2020-12), without pydantic's titles.
        closed: Unknown keys in nested objects are errors. False if a nested type asks for them.
    """

    adapter: TypeAdapter[Any]
    schema: JsonObject
    closed: bool

    def read(self, value: object) -> Any:
        """The value as the type.

        Args:
            value: Decoded JSON.

        Raises:
            InvalidValueError: The value does not fit.
        """
        try:
            return self._validate(value, strict=True)
        except ValidationError as error:
            return self._read_mended(value, error)
        except RecursionError:
            raise InvalidValueError([_TOO_DEEP], value) from None

    def accepts(self, value: object) -> bool:
        """Whether the value is of the type as it is."""
        try:
            self._validate(value, strict=True)
        except ValidationError:
            return False
        return True

    def _validate(self, value: object, *, strict: bool) -> Any:
        # As JSON text, because only then does strict mode take a string for a date or a list
        # for a set, which JSON cannot say otherwise.
        validator = cast("SchemaValidator", self.adapter.validator)
        extra: Literal["forbid"] | None = "forbid" if self.closed else None
        return validator.validate_json(json_text(value), strict=strict or None, extra=extra)

    def _read_mended(self, value: object, error: ValidationError) -> Any:
        errors = error.errors(include_url=False)
        if errors[0]["type"] == "json_invalid":  # pydantic's own limit, about 200 levels
            raise InvalidValueError([_TOO_DEEP], value) from None
        refused: set[Keys] = set()
        for _ in range(_ROUNDS):
            better = mended(value, errors, refused)
            if better is None:
                break
            value = better
            try:
                return self._validate(value, strict=True)
            except ValidationError as again:
                errors = again.errors(include_url=False)
        doubtful = [e for e in errors if is_doubtful(e)]
        try:
            result = self._validate(value, strict=False)
        except ValidationError as lax:
            found = lax.errors(include_url=False)
            known = {e["loc"] for e in found}
            raise InvalidValueError(
                [*found, *(e for e in doubtful if e["loc"] not in known)], value
            ) from None
        if doubtful:
            raise InvalidValueError(doubtful, value)
        return result


_TOO_DEEP: ErrorDetails = {"type": "recursion_loop", "loc": (), "msg": "", "input": "[[[…"}

_ROUNDS = 4
"""Mending one layer can uncover the next (JSON text in JSON text); more layers are no accident."""


# --- building ----------------------------------------------------------------------------------


class _Schemas(GenerateJsonSchema):
    """JSON Schema without titles made up from names, which only cost tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's hook
        return False

    def is_subclass_schema(self, schema: Any) -> Any:
        return self.handle_invalid_for_json_schema(schema, "a class")


_KNOWN: dict[object, JsonType] = {}
"""Types made of builtins alone, which most parameters have; bounded by what programs spell."""


def json_type(annotation: Any, scopes: Mapping[str, Any]) -> JsonType:
    """Builds the validator and the schema of an annotation.

    Args:
        annotation: A type, evaluated; names inside nested types may still be strings.
        scopes: What those names may refer to, beside their own module.

    Raises:
        pydantic.errors.PydanticUserError: pydantic knows no such type, or JSON Schema does not.
        NameError: A nested name cannot be resolved.
    """
    key = _spelling(annotation)
    if key is not None and key in _KNOWN:
        return _KNOWN[key]
    adapter: TypeAdapter[Any] = TypeAdapter(portable(annotation))
    if not adapter.pydantic_complete:
        adapter.rebuild(force=True, raise_errors=True, _types_namespace=dict(scopes))
    schema = adapter.json_schema(schema_generator=_Schemas)
    made = JsonType(adapter, schema, closed=not _asks_for_extras(schema))
    if key is not None:
        _KNOWN[key] = made
    return made


def _spelling(annotation: Any) -> tuple[object, ...] | str | None:
    """Equal for annotations with the same schema, or None if that is not obvious.

    The annotations themselves are no keys: `int | str` equals `str | int`, whose schemas differ.
    """
    if annotation is Any or (isinstance(annotation, type) and annotation in _PLAIN):
        return str(annotation)
    origin = get_origin(annotation)
    if origin is None or not (origin in (list, dict, set, tuple) or _is_union(annotation)):
        return None
    parts = tuple(_spelling(part) for part in get_args(annotation))
    if None in parts:
        return None
    return ("|" if _is_union(annotation) else origin, *parts)


_PLAIN = frozenset({str, int, float, bool, type(None)})


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) is Union or type(annotation).__name__ == "UnionType"


def _asks_for_extras(schema: object) -> bool:
    """Whether an object with named properties takes others too, as its author decided."""
    if isinstance(schema, list):
        return any(map(_asks_for_extras, schema))
    if not isinstance(schema, dict):
        return False
    if "properties" in schema and schema.get("additionalProperties"):
        return True
    return any(map(_asks_for_extras, schema.values()))
