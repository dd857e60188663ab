"""One annotated type at the JSON edge: its JSON Schema, and reading a decoded value as it.

```
value ── strict takes it, and fell into no trap ──► ok
  │
  └─ up the ladder: fitted to the schema ── no doubt left ── strict, else lax ──► ok
                                        └── doubts ──► refused
```

pydantic's lax mode comes last because behind a validator of the user's own its strict mode takes no
text for a date, which JSON cannot say otherwise. Of a value that fits the schema nothing is left
for it to guess. Traps are where even its strict mode guesses: `true` for the literal 1, a text of
digits for a time, a whole number that a float rounds, two keys that are one (see `ladder`).

A type has two schemas: the one that a model is shown, and the same with marks for what JSON Schema
cannot express and the ladder must know. A type that a model could never fill is refused.
"""

from __future__ import annotations

import enum
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from datetime import date
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, SchemaValidator, to_json

from agentkit.exact import why_inexact
from agentkit.messages import JsonObject
from agentkit.redaction import get_logger
from agentkit.schema.annotations import portable
from agentkit.schema.ladder import KEYS, OWN, PLAIN, REAL, TIME, Doubt, Keys, doubts, fitted
from agentkit.schema.shape import Shape


class InvalidValueError(Exception):
    """A value is not of the type, and cannot be read as it with certainty.

    Attributes:
        errors: pydantic's error details, all of them.
        value: The value they speak of, after its certain corrections.
        doubts: The places where pydantic would guess.
        raised: What a validator raised that does not say whether the value is right.
    """

    def __init__(
        self,
        errors: Sequence[ErrorDetails],
        value: object,
        doubtful: Sequence[Doubt] = (),
        raised: BaseException | None = None,
    ) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = errors
        self.value = value
        self.doubts = doubtful
        self.raised = raised


@dataclass(frozen=True, slots=True)
class JsonType:
    """A type, ready to read decoded JSON values as it.

    Attributes:
        adapter: pydantic's view of the type.
        schema: Its JSON Schema (draft 2020-12), without pydantic's titles.
        shape: What the ladder climbs by.
        closed: Unknown keys in nested objects are errors. False if a nested type asks for them.
    """

    adapter: TypeAdapter[Any]
    schema: JsonObject
    shape: Shape
    closed: bool

    def read(self, value: object) -> Any:
        """The value as the type.

        Args:
            value: Decoded JSON.

        Raises:
            InvalidValueError: The value does not fit, or a validator raised whatever it raised.
        """
        try:
            return self._read(value)
        except (InvalidValueError, KeyboardInterrupt):
            raise
        except BaseException as error:
            if isinstance(error, RecursionError) and why_inexact(value) is not None:
                raise InvalidValueError([_TOO_DEEP], value) from None
            get_logger().warning("a validator raised", exc_info=error)
            raise InvalidValueError([], value, raised=error) from error

    def _read(self, value: object) -> Any:
        try:
            result = self._validate(value, strict=True)
        except ValidationError as error:
            if error.errors(include_url=False)[0]["type"] == "json_invalid":
                # pydantic's own limit, about 200 levels
                raise InvalidValueError([_TOO_DEEP], value) from None
        else:
            if all(_is_kept(trap, result) for trap in doubts(value, self.shape, traps=True)):
                return self._whole(value, result)
        value = fitted(value, self.shape)
        found = doubts(value, self.shape, traps=True)
        found += [each for each in doubts(value, self.shape) if each not in found]
        try:
            result = self._strictly_or_laxly(value)
        except ValidationError as error:
            raise InvalidValueError(error.errors(include_url=False), value, found) from None
        if found:
            raise InvalidValueError([], value, found)
        return self._whole(value, result)

    def _strictly_or_laxly(self, value: object) -> Any:
        with suppress(ValidationError):
            return self._validate(value, strict=True)
        return self._validate(value, strict=False)

    def _whole(self, value: object, result: Any) -> Any:
        """The result, if no two keys of a dict became one in it."""
        if (place := _where_keys_met(value, result, self.shape, ())) is not None:
            why = "keys that are different when they are read"
            raise InvalidValueError([], value, [Doubt(place, value, self.shape, why)])
        return result

    def accepts(self, value: object) -> bool:
        """Whether the value is of the type as it is."""
        try:
            self._validate(value, strict=True)
        except Exception:  # noqa: BLE001 - the boundary around user code
            return False
        return True

    def _validate(self, value: object, *, strict: bool) -> Any:
        # As JSON text, because only then does strict mode take a string for a date or a list
        # for a set, which JSON cannot say otherwise.
        validator = cast("SchemaValidator", self.adapter.validator)
        extra: Literal["forbid"] | None = "forbid" if self.closed else None
        return validator.validate_json(_json_text(value), strict=strict or None, extra=extra)


def _is_kept(trap: Doubt, result: object) -> bool:
    """Whether a value arrived as it was written: of a union, pydantic took the branch it is of."""
    for key in trap.keys:
        try:
            inside = isinstance(result, Mapping | list | tuple)
            result = cast("Any", result)[key] if inside else getattr(result, str(key))
        except (LookupError, AttributeError, TypeError):
            return False
    plain = isinstance(trap.value, str | int | float)
    return plain and type(result) is type(trap.value) and result == trap.value


def _where_keys_met(value: object, result: object, shape: Shape, place: Keys) -> Keys | None:
    """The place of a dict in which two keys became one, since they are spellings of the same."""
    inner: list[tuple[str | int, object, object, Shape]] = []
    if isinstance(value, dict):
        keyed = any(branch.keyword(KEYS) is not None for branch in shape.branches)
        if keyed and isinstance(result, Mapping):
            if len(result) < len(value):
                return place
            read_as = dict(zip(value, result.values(), strict=False))
        else:
            read_as = {key: _member(result, key) for key in value}
        inner = [(key, value[key], read, shape.property(key)) for key, read in read_as.items()]
    elif isinstance(value, list) and isinstance(result, list | tuple | deque):
        inner = [(at, value[at], read, shape.item(at)) for at, read in enumerate(result)]
    met = (_where_keys_met(item, read, under, (*place, key)) for key, item, read, under in inner)
    return next((found for found in met if found is not None), None)


def _member(result: object, name: str) -> object:
    """What was read for a member of an object; None where it is kept under another name."""
    if isinstance(result, Mapping):
        return result.get(name)
    has_fields = isinstance(result, BaseModel) or is_dataclass(result)
    return getattr(result, name, None) if has_fields else None


_TOO_DEEP: ErrorDetails = {"type": "recursion_loop", "loc": (), "msg": "", "input": "[[[…"}


def _json_text(value: object) -> bytes:
    """A decoded value as JSON again; NaN and halves of surrogate pairs do not stop it."""
    try:
        return to_json(value, inf_nan_mode="constants")
    except ValueError:  # a lone surrogate: JSON's \\ud83d without its second half
        text = json.dumps(value, ensure_ascii=False)
        return text.encode("utf-8", "replace")


# --- building ------------------------------------------------------------------------------------


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
    marked = marked_schema(adapter)
    schema = without_marks(marked)
    made = JsonType(adapter, schema, Shape.of(marked), closed=not _asks_for_extras(schema))
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
    if not parts or None in parts:  # a bare `Tuple` and `tuple[()]` have no parts either
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


# --- its schema ----------------------------------------------------------------------------------

_MARKS: Final = frozenset({KEYS, OWN, PLAIN, REAL, TIME})
_VALUES: Final = frozenset({"default", "examples", "enum", "const"})


def marked_schema(adapter: TypeAdapter[Any]) -> JsonObject:
    """The JSON Schema of a type (draft 2020-12), with the marks of the ladder.

    Raises:
        DefinitionError: No JSON value could be read as the type.
    """
    return adapter.json_schema(schema_generator=_Schemas)


def without_marks(schema: Any) -> Any:
    """The schema as a model is shown it."""
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
        remedy: What its author can do about it.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


def in_fixed_order(value: Any, shown: Any) -> Any:
    """A value as JSON, with each of its sets in an order that is the same in all processes: it
    stands in the declaration of a tool, and so among the first tokens of every prompt.

    Args:
        value: In Python.
        shown: The same as pydantic makes JSON of it.
    """
    match shown:
        case list() if isinstance(value, Sequence | AbstractSet):
            items = [in_fixed_order(*pair) for pair in zip(value, shown, strict=False)]
            return sorted(items, key=repr) if isinstance(value, AbstractSet) else items
        case dict() if isinstance(value, Mapping):
            pairs = zip(value.values(), shown.items(), strict=False)
            return {name: in_fixed_order(inner, made) for inner, (name, made) in pairs}
        case dict():
            return {
                name: in_fixed_order(getattr(value, name, None), made)
                for name, made in shown.items()
            }
        case _:
            return shown


class _Schemas(GenerateJsonSchema):
    """pydantic's generator, without titles made up from names, which only cost tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's hook
        return False

    def definitions_schema(self, schema: Any) -> JsonSchemaValue:
        self._named = {**self._named, **{d["ref"]: d for d in schema["definitions"]}}
        return super().definitions_schema(schema)

    _named: Mapping[str, Any] = MappingProxyType({})
    """Core schemas that others refer to."""

    def encode_default(self, dft: Any) -> Any:
        return in_fixed_order(dft, super().encode_default(dft))

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
        written = schema.get("keys_schema") or {"type": "any"}
        keys = self._bare(written)
        if keys["type"] in _NO_KEYS or (keys["type"] == "literal" and not _texts(keys)):
            what = f"a key of JSON is a text, which is no {keys['type']}"
            raise DefinitionError(what, "use keys that a text can spell, or a list of pairs")
        made = super().dict_schema(schema)
        kind = _KEY_KINDS.get(keys["type"], "text")
        folded = keys["type"] != written["type"] or any(keys.get(each) for each in _FOLDING)
        plain = keys["type"] in _ONE_SPELLING and not folded
        return made if plain else _marked(made, KEYS, kind)

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
"""Types of keys for which no two texts are the same key."""
_FOLDING: Final = frozenset({"to_lower", "to_upper", "strip_whitespace"})
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
