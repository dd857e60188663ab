"""A Python type as JSON Schema, by pydantic; what a model could never fill is refused here.

Two schemas come of a type: the one that is told to a model, and the same with marks of what JSON
Schema has no words for and the ladder must know (see `ladder`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date
from functools import partial
from types import MappingProxyType
from typing import Any, Final, cast

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from agentkit.messages import JsonObject
from agentkit.schema.ladder import KEYS, OWN, PLAIN, REAL, TIME

_MARKS: Final = frozenset({KEYS, OWN, PLAIN, REAL, TIME})
_VALUES: Final = frozenset({"default", "examples", "enum", "const"})


def marked_schema(adapter: TypeAdapter[Any]) -> JsonObject:
    """The JSON Schema of a type (draft 2020-12), with the marks of the ladder.

    Raises:
        DefinitionError: No JSON value could be read as the type.
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


class DefinitionError(Exception):
    """A type that no JSON value can be read as, and what to do about it.

    Attributes:
        remedy: For its author.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


class _Schemas(GenerateJsonSchema):
    """pydantic's generator, without titles made up from names, which only cost tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's hook
        return False

    def definitions_schema(self, schema: Any) -> JsonSchemaValue:
        self._named = {**self._named, **{d["ref"]: d for d in schema["definitions"]}}
        return super().definitions_schema(schema)

    _named: Mapping[str, Any] = MappingProxyType({})
    """Core schemas that others refer to."""

    # --- marks -----------------------------------------------------------------------------------

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

    def decimal_schema(self, schema: Any) -> JsonSchemaValue:
        made = without_marks(super().decimal_schema(schema))
        return {
            **made,
            "anyOf": [_marked(b, PLAIN) if b["type"] == "string" else b for b in made["anyOf"]],
        }

    def function_before_schema(self, schema: Any) -> JsonSchemaValue:
        return _marked(super().function_before_schema(schema), OWN)

    def function_wrap_schema(self, schema: Any) -> JsonSchemaValue:
        return _marked(super().function_wrap_schema(schema), OWN)

    def function_plain_schema(self, schema: Any) -> JsonSchemaValue:
        return _marked(super().function_plain_schema(schema), OWN)

    def dataclass_args_schema(self, schema: Any) -> JsonSchemaValue:
        taken = [field for field in schema["fields"] if field.get("init", True)]
        given: Any = {**schema, "fields": taken}
        return super().dataclass_args_schema(given)

    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        keys = self._bare(schema.get("keys_schema") or {"type": "any"})
        if keys["type"] in _NO_KEYS or (keys["type"] == "literal" and not _texts(keys)):
            what = f"a key of JSON is a text, which is no {keys['type']}"
            raise DefinitionError(what, "use keys that a text can spell, or a list of pairs")
        made = super().dict_schema(schema)
        kind = _KEY_KINDS.get(keys["type"], "text")
        return made if keys["type"] in _ONE_SPELLING else _marked(made, KEYS, kind)

    # --- what no JSON value can be read as -------------------------------------------------------

    def model_field_schema(self, schema: Any) -> JsonSchemaValue:
        self._must_have_a_name(schema)
        return super().model_field_schema(schema)

    def dataclass_field_schema(self, schema: Any) -> JsonSchemaValue:
        self._must_have_a_name(schema)
        return super().dataclass_field_schema(schema)

    def typed_dict_field_schema(self, schema: Any) -> JsonSchemaValue:
        self._must_have_a_name(schema)
        return super().typed_dict_field_schema(schema)

    def _must_have_a_name(self, field: Mapping[str, Any]) -> None:
        """Pydantic's schema shows the name of a field that it reads by a path alone."""
        alias, config = field.get("validation_alias"), self._config
        if not isinstance(alias, list) or config.validate_by_name or config.populate_by_name:
            return
        if not any(isinstance(path, list) and len(path) == 1 for path in alias):
            what = f"a field of it is read from {alias!r} alone, which is no name"
            raise DefinitionError(what, 'write AliasChoices("name", AliasPath(…)) as its alias')

    def function_after_schema(self, schema: Any) -> JsonSchemaValue:
        check = schema["function"].get("function")
        if isinstance(check, partial) and _is_pydantics(check.func):
            for part in self._alternatives(schema["schema"]):
                if part["type"] in _SAMPLES:
                    self._must_apply(check, part["type"])
        return super().function_after_schema(schema)

    def chain_schema(self, schema: Any) -> JsonSchemaValue:
        for step in schema["steps"][1:]:
            function = step.get("function", {}).get("function")
            if _is_pydantics(function) and step["schema"]["type"] == "str":
                for part in self._alternatives(schema["steps"][0]):
                    if part["type"] in _SAMPLES and part["type"] != "str":
                        raise DefinitionError(
                            f"a limit of texts does not go with {part['type']}", _OTHER_LIMIT
                        )
        return super().chain_schema(schema)

    def _must_apply(self, check: partial[Any], kind: str) -> None:
        """Pydantic accepts `Field(ge=1)` on a str, and fails at every value."""
        with suppress(ValueError):
            try:
                check(_SAMPLES[kind])
            except TypeError:
                limits = ", ".join(f"{name}={value!r}" for name, value in check.keywords.items())
                raise DefinitionError(f"{limits} does not go with {kind}", _OTHER_LIMIT) from None

    def is_subclass_schema(self, schema: Any) -> Any:
        return self.handle_invalid_for_json_schema(schema, "a class")

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:  # noqa: ARG002 - pydantic's hook
        # pydantic's own error would only leave a branch of a union out, with a warning.
        what = f"JSON Schema has nothing for {error_info}"
        raise DefinitionError(what, f"{_CARRIED}, or bind the parameter with functools.partial")

    def generator_schema(self, schema: Any) -> JsonSchemaValue:  # noqa: ARG002 - pydantic's hook
        # At the outside of a parameter it has become a list already (`annotations.portable`).
        raise DefinitionError(
            "inside another type its items would be checked only while the tool runs", "use list[…]"
        )

    def set_schema(self, schema: Any) -> JsonSchemaValue:
        self._must_be_hashable(schema)
        return super().set_schema(schema)

    def frozenset_schema(self, schema: Any) -> JsonSchemaValue:
        self._must_be_hashable(schema)
        return super().frozenset_schema(schema)

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        # pydantic makes an enum without members a check that no value of JSON passes.
        kind = schema.get("cls") if schema["type"] == "is-instance" else None
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            raise DefinitionError(f"{kind.__name__} has no members", "give it some")
        return super().generate_inner(schema)

    def enum_schema(self, schema: Any) -> JsonSchemaValue:
        for member in schema["members"]:
            value = member.value
            if not isinstance(value, _SCALARS) or isinstance(value, enum.Enum):
                what = f"the value of its member {member.name} is of type {type(value).__name__}"
                raise DefinitionError(what, "give its members texts or numbers as values")
        return super().enum_schema(schema)

    def literal_schema(self, schema: Any) -> JsonSchemaValue:
        for value in schema["expected"]:
            if not isinstance(value, _SCALARS):
                what = f"{value!r} is no text, number, True, False or None"
                raise DefinitionError(what, "write the plain value, or use the enum itself")
        return super().literal_schema(schema)

    def _must_be_hashable(self, schema: Any) -> None:
        for part in self._alternatives(schema.get("items_schema") or {"type": "any"}):
            kind = part.get("cls")
            unhashable = kind is not None and getattr(kind, "__hash__", None) is None
            if unhashable or part["type"] in ("list", "dict", "set", "typed-dict", "model-fields"):
                name = part["type"] if kind is None else kind.__name__
                what = f"values of type {name} have no hash, so no set can hold them"
                raise DefinitionError(what, "use a list, or freeze the type")

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
    **dict.fromkeys(("date", "datetime", "time", "timedelta"), TIME),
}
_ONE_SPELLING: Final = frozenset({"any", "str", "bytes"})
"""Types of keys of which no two texts are the same one."""
_NO_KEYS: Final = frozenset(
    {"tuple", "list", "dict", "set", "frozenset", "model", "dataclass", "typed-dict", "none"}
)


def _texts(schema: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str) for value in schema["expected"])


_SAMPLES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "str": "",
        "bytes": b"",
        "int": 0,
        "float": 0.0,
        "bool": False,
        "list": [],
        "dict": {},
        "set": set(),
        "frozenset": frozenset(),
        "date": date(2026, 1, 1),
    }
)
"""A value of each kind of core schema, to see whether a limit can be applied at all."""

_CARRIED: Final = "use a type that JSON can carry (str, list, dataclass, TypedDict, pydantic model)"
_OTHER_LIMIT: Final = "take that limit out of the annotation"


def _is_pydantics(function: object) -> bool:
    return str(getattr(function, "__module__", "")).startswith("pydantic._internal.")
