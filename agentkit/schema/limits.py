"""What a schema asks of a value, in a few English words: the one table of them.

A declaration shows these words to the model beforehand (`phrases`, `words`), and feedback repeats
them when a value is not what they say (`feedback`), whichever validator found that out. A limit is
named by its keyword of JSON Schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pydantic_core import to_json

from agentkit.exact import text_of_inexact
from agentkit.schema.shape import Shape

FORMATS: Final[Mapping[str, str]] = {
    "date": "a date like 2026-07-31",
    "date-time": "a date and time like 2026-07-31T14:30:00Z",
    "time": "a time like 14:30:00",
    "duration": "a duration like PT1H30M",
    "email": "an e-mail address",
    "uri": "a URL",
    "url": "a URL",
    "uuid": "a UUID",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "hostname": "a host name",
    "byte": "text in base64",
    "binary": "the content itself, as text",
    "regex": "a regular expression",
    "json-pointer": "a JSON pointer",
}
"""By the keyword `format`."""

_TYPES: Final[Mapping[str, str]] = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}

_LIMITS: Final[Mapping[str, str]] = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
    "pattern": "text that matches {}",
    "uniqueItems": "items that differ",
    "contains": "an item of another kind as well",
    "propertyNames": "other keys",
    "dependentRequired": "what has to go with it",
    "not": "anything else",
}
"""By keyword; {} is its value."""

_SHOWN: Final = 40
"""Most characters of a value."""


def limit(keyword: str, value: object) -> str:
    """What a keyword asks for: `at least 3`, `a date like 2026-07-31`, `"a" or "b"`."""
    if keyword == "type":
        kinds = value if isinstance(value, list) else [value]
        return " or ".join(filter(None, (_TYPES.get(str(kind), "") for kind in kinds)))
    if keyword == "format":
        return FORMATS.get(str(value), f"format: {value}")
    if keyword in ("enum", "const"):
        values = value if keyword == "enum" and isinstance(value, list) else [value]
        return listed([short(each) for each in values])
    said = value if isinstance(value, str) else json.dumps(value, default=str)
    words = _LIMITS.get(keyword, f"what {keyword} allows").format(said)
    return re.sub(r"\b1 (character|item|key)s\b", r"1 \1", words)


def wanted(shape: Shape) -> str:
    """What may stand in a place, as a short noun phrase; empty for anything."""
    if (values := shape.values) is not None:
        return limit("enum", list(values))
    if len(shape.branches) > 1:
        phrases = dict.fromkeys(map(wanted, shape.branches))
        return "" if "" in phrases else " or ".join(phrases)
    if (form := shape.said("format")) in FORMATS:
        return limit("format", form)
    return limit("type", sorted(shape.types or ()))


def short(value: object) -> str:
    """A value as short JSON."""
    try:
        text = to_json(value, inf_nan_mode="constants", fallback=str).decode()
    except ValueError:  # half of a surrogate pair, or nested too deeply
        text = text_of_inexact(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def listed(choices: Sequence[str]) -> str:
    """`a or b`, `a, b or c`; those that fit, where they are many."""
    if sum(map(len, choices)) > 3 * _SHOWN:
        kept = list(_within(choices, 2 * _SHOWN))
        return f"{', '.join(kept)} or {len(choices) - len(kept)} more"
    return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1]))) if choices else ""


def _within(choices: Iterable[str], room: int) -> Iterable[str]:
    for choice in choices:
        room -= len(choice)
        if room <= 0:
            return
        yield choice
