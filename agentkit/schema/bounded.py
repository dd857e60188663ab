"""A validator of JSON Schema (draft 2020-12) whose work is bounded, whoever wrote the schema.

jsonschema's own validator, with each keyword counted. Three keywords it checks otherwise than in
linear time are done anew: patterns (by RE2), `uniqueItems` (by a set), and what is left over after
patterns. A check that has used up its share of work goes on as if all of the rest were right.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing.exceptions import Unresolvable

from agentkit.schema.linear import linear_pattern

Keyword: TypeAlias = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]

_STEPS = 50_000
"""Keywords checked in one call's arguments: 100 kB of JSON take some 30,000."""

_WRITTEN = 50
"""Characters of an error's message that cost as much as a keyword: jsonschema writes all of a wrong
value into it."""

_CHARACTERS = 50_000_000
"""Steps of patterns: characters of a text times the size of the pattern's program. RE2 does some
hundred million in a second where it is slowest."""


class _SpentError(Exception):
    """The share of work is used up."""


@dataclass(slots=True)
class _Share:
    steps: int = _STEPS
    characters: int = _CHARACTERS


_share: ContextVar[_Share] = ContextVar("agentkit-schema-share")


@contextmanager
def bounded() -> Generator[None]:
    """A share of work for what is checked inside; what exceeds it just ends the block."""
    token = _share.set(_Share())
    try:
        with suppress(_SpentError):
            yield
    finally:
        _share.reset(token)


def _counted(check: Keyword) -> Keyword:
    def counting(
        validator: Any, value: Any, instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        share = _share.get()
        share.steps -= 1
        if share.steps < 0:
            raise _SpentError
        with suppress(Unresolvable):  # a reference that leads nowhere says nothing
            for error in check(validator, value, instance, schema) or ():
                share.steps -= len(error.message) // _WRITTEN
                yield error

    return counting


def _matches(pattern: str, text: str) -> bool | None:
    """Whether a text has the pattern; None where that is not to be known within the bounds."""
    compiled = linear_pattern(pattern)
    if compiled is None:
        return None
    share = _share.get()
    cost = compiled.size * (len(text) + 1)
    if cost > share.characters:
        return None
    share.characters -= cost
    return compiled.is_in(text)


def _pattern(
    _validator: Any, pattern: str, instance: object, _schema: Any
) -> Iterator[ValidationError]:
    if isinstance(instance, str) and _matches(pattern, instance) is False:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: object, _schema: Any
) -> Iterator[ValidationError]:
    for key, value in instance.items() if isinstance(instance, dict) else ():
        for pattern, subschema in patterns.items():
            if _matches(pattern, key):
                yield from validator.descend(value, subschema, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, wanted: Any, instance: object, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extras = [
        key
        for key in instance
        if key not in properties and all(_matches(pattern, key) is False for pattern in patterns)
    ]
    if wanted is False and extras:
        yield ValidationError(f"additional properties {extras[:5]!r}")
    elif isinstance(wanted, dict):
        for key in extras:
            yield from validator.descend(instance[key], wanted, path=key)


def _unique_items(
    _validator: Any, wanted: object, instance: object, _schema: Any
) -> Iterator[ValidationError]:
    if wanted is not True or not isinstance(instance, list):
        return
    if len({_canonical(item) for item in instance}) < len(instance):
        yield ValidationError("items are not unique")


def _canonical(value: Any) -> str:
    """The same for two JSON values that JSON Schema calls equal: 1 and 1.0, but not 1 and true."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value


def _unevaluated(check: Keyword) -> Keyword:
    """Jsonschema follows references and patterns here by itself, unbounded: only without them."""

    def checking(
        validator: Any, value: Any, instance: Any, schema: Any
    ) -> Iterable[ValidationError] | None:
        text = json.dumps(schema)
        plain = not any(f'"{key}"' in text for key in ("$ref", "$dynamicRef", "patternProperties"))
        return check(validator, value, instance, schema) if plain else ()

    return checking


_KEYWORDS: dict[str, Keyword] = {
    **Draft202012Validator.VALIDATORS,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
    **{
        name: _unevaluated(Draft202012Validator.VALIDATORS[name])
        for name in ("unevaluatedItems", "unevaluatedProperties")
    },
}

BoundedValidator: Any = cast("Any", extend)(
    Draft202012Validator, {name: _counted(check) for name, check in _KEYWORDS.items()}
)
"""To be used within `bounded` only."""
