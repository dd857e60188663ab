"""What a wrong value must have meant, where only one thing can be meant.

Works on decoded JSON and pydantic's error details: an error says where and what kind of value is
wanted, the document says what came.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, TypeAlias, cast

from pydantic_core import ErrorDetails, from_json, to_json

from agentkit.exact import InexactError, read_exact

__all__ = ["Keys", "is_doubtful", "json_text", "locate", "mended"]

Keys: TypeAlias = tuple[str | int, ...]
"""Where a value sits in a JSON document: object keys and list positions from the outside in."""


def json_text(value: object) -> bytes:
    """A decoded value as JSON again; NaN and halves of surrogate pairs do not stop it."""
    try:
        return to_json(value, inf_nan_mode="constants")
    except ValueError:  # a lone surrogate: JSON's \\ud83d without its second half
        text = json.dumps(value, ensure_ascii=False)
        return text.encode("utf-8", "replace")


_NOT_GIVEN = object()

_CONTAINERS = frozenset(
    {
        "arguments_type",
        "dataclass_exact_type",
        "dataclass_type",
        "dict_type",
        "frozen_set_type",
        "iterable_type",
        "list_type",
        "mapping_type",
        "model_attributes_type",
        "model_type",
        "set_type",
        "tuple_type",
        "union_tag_not_found",
    }
)
_CHOICES = frozenset({"literal_error", "enum"})
_NUMBERS = frozenset({"int_type", "float_type", "decimal_type"})
_TIMES = frozenset({"datetime_type", "date_type", "time_type", "time_delta_type"})


def is_doubtful(error: ErrorDetails) -> bool:
    """Whether pydantic's lax mode would guess here rather than know."""
    kind, value = error["type"], error["input"]
    if isinstance(value, bool):
        return kind in _NUMBERS or kind in _TIMES
    if isinstance(value, int | float):
        return kind in _TIMES
    if isinstance(value, str) and kind == "float_type":
        try:
            return not math.isfinite(float(value))
        except ValueError:
            return False
    return False


def mended(value: object, errors: Sequence[ErrorDetails], refused: set[Keys]) -> object | None:
    """A copy with every certain correction made; None if there is none to make."""
    copy = from_json(json_text(value))
    changed = False
    for error in errors:
        keys = locate(copy, error["loc"])
        if error["type"] == "missing" and keys in refused:
            _put(copy, keys, None)  # leaving the null out was no help: put it back
            changed = True
            continue
        current = _get(copy, keys)
        if current is None and len(keys) > 0 and keys not in refused and isinstance(keys[-1], str):
            refused.add(keys)
            _put(copy, keys, _NOT_GIVEN)
            changed = True
            continue
        better = _certain(error, current)
        if better is not _NOT_GIVEN:
            copy = _put(copy, keys, better)
            changed = True
    return copy if changed else None


def _certain(error: ErrorDetails, value: object) -> object:
    """What the value must have meant, or `_NOT_GIVEN`."""
    kind = error["type"]
    if kind in _CHOICES and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return _NOT_GIVEN
    if kind in _CONTAINERS:
        return _parsed(value, list, dict)
    if _is_quoted(value) and not _is_quoted(value[1:-1]):
        return value[1:-1]
    if kind in _CHOICES:
        return _parsed(value, int, float)
    return _NOT_GIVEN


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`"


def _parsed(text: str, *wanted: type) -> object:
    try:
        found = read_exact(text)
    except InexactError:
        return _NOT_GIVEN
    good = isinstance(found, (*wanted, str)) if dict in wanted else isinstance(found, wanted)
    return found if good and not isinstance(found, bool) else _NOT_GIVEN


def locate(value: object, loc: Sequence[str | int]) -> Keys:
    """The keys of a pydantic error's location that exist in the document.

    Locations also hold names of union members and function wrappers; those are no keys. The last
    element is kept even if absent: it is the key that is missing.
    """
    keys: list[str | int] = []
    for position, step in enumerate(loc):
        if _has(value, step):
            value = cast("Any", value)[step]
        elif position < len(loc) - 1 or not _could_have(value, step):
            continue
        keys.append(step)
    return tuple(keys)


def _has(value: object, step: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(step, int) and step < len(value)
    return isinstance(value, dict) and step in value


def _could_have(value: object, step: str | int) -> bool:
    return isinstance(value, list) if isinstance(step, int) else isinstance(value, dict)


def _get(value: Any, keys: Keys) -> object:
    for key in keys:
        if not _has(value, key):
            return _NOT_GIVEN
        value = value[key]
    return value


def _put(document: Any, keys: Keys, value: object) -> Any:
    """Puts a value in its place, or takes the place away for `_NOT_GIVEN`."""
    if not keys:
        return value
    parent = document
    for key in keys[:-1]:
        parent = parent[key]
    if value is _NOT_GIVEN:
        del parent[keys[-1]]
    else:
        parent[keys[-1]] = value
    return document
