"""A Python type as JSON Schema, by pydantic; what a model could never fill is refused here.

Two schemas come of a type: the one that is told to a model, and the same with marks of what JSON
Schema has no words for and the ladder must know (see `ladder`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from agentkit.messages import JsonObject
from agentkit.schema.ladder import KEYS, OWN, REAL, TIME

__all__ = ["marked_schema", "without_marks"]

_MARKS: Final = frozenset({KEYS, OWN, REAL, TIME})
_VALUES: Final = frozenset({"default", "examples", "enum", "const"})


def marked_schema(adapter: TypeAdapter[Any]) -> JsonObject:
    """The JSON Schema of a type (draft 2020-12), with the marks of the ladder.

    Raises:
        PydanticInvalidForJsonSchema: No JSON value could be read as the type.
    """
    return adapter.json_schema(schema_generator=_Schemas)


def without_marks(schema: Any) -> Any:
    """The schema as it is told to a model."""
    if isinstance(schema, list):
        return [without_marks(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value if key in _VALUES else without_marks(value)
        for key, value in schema.items()
        if key not in _MARKS
    }


def _marked(schema: JsonSchemaValue, mark: str, value: object = True) -> JsonSchemaValue:
    return {**schema, mark: value}


class _Schemas(GenerateJsonSchema):
    """pydantic's generator, without titles made up from names, which only cost tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's hook
        return False

    def definitions_schema(self, schema: Any) -> JsonSchemaValue:
        self._named = {**self._named, **{d["ref"]: d for d in schema["definitions"]}}
        return super().definitions_schema(schema)

    _named: Mapping[str, Any] = MappingProxyType({})
    """Core schemas that others refer to."""

    # --- marks ---

    def date_schema(self, schema: Any) -> JsonSchemaValue:
        return _marked(super().date_schema(schema), TIME)

    def datetime_schema(self, schema: Any) -> JsonSchemaValue:
        return _marked(super().datetime_schema(schema), TIME)

    def time_schema(self, schema: Any) -> JsonSchemaValue:
        return _marked(super().time_schema(schema), TIME)

    def timedelta_schema(self, schema: Any) -> JsonSchemaValue:
        return _marked(super().timedelta_schema(schema), TIME)

    def float_schema(self, schema: Any) -> JsonSchemaValue:
        return _marked(super().float_schema(schema), REAL)

    def function_before_schema(self, schema: Any) -> JsonSchemaValue:
        return _marked(super().function_before_schema(schema), OWN)

    def function_wrap_schema(self, schema: Any) -> JsonSchemaValue:
        return _marked(super().function_wrap_schema(schema), OWN)

    def function_plain_schema(self, schema: Any) -> JsonSchemaValue:
        return _marked(super().function_plain_schema(schema), OWN)

    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        keys = self._bare(schema.get("keys_schema") or {"type": "any"})
        if keys["type"] in _NO_KEYS or (keys["type"] == "literal" and not _texts(keys)):
            raise _unreadable(f"a key of JSON is a text, which is no {keys['type']}")
        made = super().dict_schema(schema)
        kind = _KEY_KINDS.get(keys["type"])
        return made if kind is None else _marked(made, KEYS, kind)

    # --- what no JSON value can be read as ---

    def is_subclass_schema(self, schema: Any) -> Any:
        return self.handle_invalid_for_json_schema(schema, "a class")

    def generator_schema(self, schema: Any) -> JsonSchemaValue:  # noqa: ARG002 - pydantic's hook
        # At the outside of a parameter it has become a list already (`annotations.portable`).
        raise _unreadable("inside another type its items would be checked while the tool runs")

    def set_schema(self, schema: Any) -> JsonSchemaValue:
        self._must_be_hashable(schema)
        return super().set_schema(schema)

    def frozenset_schema(self, schema: Any) -> JsonSchemaValue:
        self._must_be_hashable(schema)
        return super().frozenset_schema(schema)

    def enum_schema(self, schema: Any) -> JsonSchemaValue:
        for member in schema["members"]:
            value = member.value
            if not isinstance(value, _SCALARS) or isinstance(value, enum.Enum):
                raise _unreadable(f"its member {member.name} is a {type(value).__name__}")
        return super().enum_schema(schema)

    def literal_schema(self, schema: Any) -> JsonSchemaValue:
        for value in schema["expected"]:
            if not isinstance(value, _SCALARS):
                raise _unreadable(f"{value!r} is no text, number, true, false or null")
        return super().literal_schema(schema)

    def _must_be_hashable(self, schema: Any) -> None:
        for part in self._alternatives(schema.get("items_schema") or {"type": "any"}):
            kind = part.get("cls")
            unhashable = kind is not None and getattr(kind, "__hash__", None) is None
            if unhashable or part["type"] in ("list", "dict", "set", "typed-dict", "model-fields"):
                name = part["type"] if kind is None else kind.__name__
                raise _unreadable(f"a {name} cannot be in a set; use a list, or freeze it")

    def _alternatives(self, schema: Any) -> Iterator[Mapping[str, Any]]:
        bare = self._bare(schema)
        if bare["type"] == "union":
            for choice in bare["choices"]:
                yield from self._alternatives(choice[0] if isinstance(choice, tuple) else choice)
        elif bare["type"] == "tuple":
            for item in bare["items_schema"]:
                yield from self._alternatives(item)
        else:
            yield bare

    def _bare(self, schema: Any) -> Mapping[str, Any]:
        """The schema behind references, functions and defaults."""
        while True:
            if schema["type"] == "definition-ref":
                inner: Any = self._named.get(schema["schema_ref"])
            elif schema["type"] in ("model", "dataclass"):
                inner = None
            else:
                inner = schema.get("schema")
            if not isinstance(inner, dict):
                return cast("Mapping[str, Any]", schema)
            schema = inner


_SCALARS: Final = (str, int, float, type(None))
_KEY_KINDS: Final[Mapping[str, str]] = {
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "decimal": "number",
}
_NO_KEYS: Final = frozenset(
    {"tuple", "list", "dict", "set", "frozenset", "model", "dataclass", "typed-dict", "none"}
)


def _texts(schema: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str) for value in schema["expected"])


def _unreadable(why: str) -> PydanticInvalidForJsonSchema:
    return PydanticInvalidForJsonSchema(why)
