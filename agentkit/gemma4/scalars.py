"""One value of a call, typed by its schema: a quoted text, a bare word, or decoded JSON."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from agentkit.exact import LongNumber, real
from agentkit.schema.ladder import fitted
from agentkit.schema.shape import Shape

MAX_DEPTH: Final = 64
"""Deeper nesting is unreadable: validators and serialisers recurse as well."""

_MAX_DIGITS: Final = 4000
"""Python refuses to turn more than 4,300 digits into an integer (CVE-2020-10735)."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LOOSE_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}


def quoted_value(text: str, shape: Shape) -> Any:
    """A quoted text: a string, unless the schema has no place for strings and it reads as else."""
    value = fitted(text, shape)
    return value if _is_shallow(value) else text


def _is_shallow(value: Any) -> bool:
    layer = [value]
    for _ in range(MAX_DEPTH):
        layer = [
            child
            for item in layer
            for child in (
                item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
            )
        ]
        if not layer:
            return True
    return False


def bare_value(text: str, shape: Shape) -> Any:
    """An unquoted text: a JSON literal where the schema lets it be one, a string otherwise."""
    if text == "null" and not (shape.lists("null") and not shape.allows("null")):
        return None
    if text in ("true", "false") and shape.allows("boolean"):
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        return _number(text, shape)
    if shape.allows("string"):
        return text
    word = text.lower()
    if word in ("true", "false") and shape.allows("boolean"):
        return _WORDS[word]
    if word in ("null", "none"):
        return None
    return _number(text, shape) if _LOOSE_NUMBER.fullmatch(text) else text


def _number(text: str, shape: Shape) -> int | float | str:
    """A number of the type that the schema has, or the text if it has none or it is too big."""
    if not shape.allows("integer") and not shape.allows("number"):
        return text if shape.allows("string") else _parsed(text)
    value = _parsed(text)
    if not isinstance(value, float):
        return value
    if shape.types is not None and shape.allows("string") and isinstance(real(text), LongNumber):
        return text  # a Decimal takes all of its digits
    return _integral(value, shape)


def _parsed(text: str) -> int | float | str:
    if len(text) > _MAX_DIGITS:
        return text
    if text.lstrip("+-").isdigit():
        return int(text)
    value = float(text)
    return text if value in (float("inf"), float("-inf")) else value


def _integral(value: float, shape: Shape) -> int | float:
    """10.0 is an integer where only integers may stand (JSON Schema 2020-12, 4.2.3)."""
    return int(value) if not shape.allows("number") and value.is_integer() else value


def conform(value: Any, shape: Shape) -> Any:
    """A decoded JSON value, with the conversions that its schema asks for."""
    if isinstance(value, str):
        return quoted_value(value, shape)
    if isinstance(value, dict):
        return {key: conform(item, shape.property(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [conform(item, shape.item(at)) for at, item in enumerate(value)]
    return bare_value(json.dumps(value), shape)
