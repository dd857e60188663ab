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
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, cast, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, SchemaValidator, to_json

from agentkit.exact import why_inexact
from agentkit.logs import get_logger
from agentkit.messages import JsonObject
from agentkit.schema.annotations import portable
from agentkit.schema.ladder import KEYS, Doubt, Keys, doubts, fitted
from agentkit.schema.pydantic_schema import marked_schema, without_marks
from agentkit.schema.shape import Shape

_log = get_logger()


class InvalidValueError(Exception):
    """A value is not of the type, and cannot be read as it with certainty.

    Attributes:
        errors: pydantic's error details, all of them.
        value: The value they speak of, after its certain corrections.
        doubts: The places where pydantic would guess.
        raised: What a validator raised that is no answer to whether the value is right.
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
            _log.warning("a validator raised", exc_info=error)
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
        errors: list[ErrorDetails] = []
        for strict in (True, False):
            try:
                result = self._validate(value, strict=strict)
            except ValidationError as error:
                errors = error.errors(include_url=False)
            else:
                if not found:
                    return self._whole(value, result)
                errors = []
                break
        raise InvalidValueError(errors, value, found)

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
    """Where a dict has lost a key to another that is the same one in another spelling."""
    if isinstance(value, dict) and isinstance(result, Mapping):
        if shape.said(KEYS) is not None:
            if len(result) < len(value):
                return place
            read_as = dict(zip(value, result.values(), strict=False))
        else:
            read_as = {key: result[key] for key in value if key in result}
        inner = [(key, value[key], read, shape.property(key)) for key, read in read_as.items()]
    elif isinstance(value, list) and isinstance(result, list) and len(value) == len(result):
        inner = [(at, value[at], result[at], shape.item(at)) for at in range(len(value))]
    else:
        return None
    met = (_where_keys_met(item, read, under, (*place, key)) for key, item, read, under in inner)
    return next((found for found in met if found is not None), None)


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
