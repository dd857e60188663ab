"""Arguments of a tool whose JSON Schema was written elsewhere, such as by an MCP server.

The same service as `Signature`, on the same ladder: what is certain is read as that, everything
else is reported at once and briefly. The values stay plain JSON.

Whoever wrote the schema, the work is bounded: jsonschema's own validator (draft 2020-12) checks,
with each keyword counted. Keywords that it does not check in linear time are done anew: patterns
(by RE2), `enum` and `uniqueItems` (by a set), and what is left over after patterns; and so is
`multipleOf`, which it reckons in floats. Each missing and each unknown member is an error of its
own, whose path ends with its name. A check that has used up its share of work goes on as if all of
the rest were right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from agentkit.messages import JsonObject
from agentkit.schema.drafts import UnusableSchemaError, modern
from agentkit.schema.feedback import MOST_PROBLEMS, Problem, field_path, unknown_key
from agentkit.schema.ladder import fitted
from agentkit.schema.nodes import LinearPattern, linear_pattern, same
from agentkit.schema.prose import limit, short, wanted
from agentkit.schema.shape import Shape


def why_unusable(schema: object) -> str | None:
    """Why nothing can be checked against a schema; None if it is fine. See `modern`."""
    try:
        modern(schema)
    except UnusableSchemaError as error:
        return str(error)
    return None


def misfit(schema: object, value: object) -> str:
    """What of a value does not fit a stranger's schema, in a few words; empty if it fits.

    What cannot be checked, or not within the bounds, counts as right.
    """
    try:
        read = modern(schema)
    except UnusableSchemaError:
        return ""
    with suppress(RecursionError), bounded(read.checkable):
        for error in BoundedValidator(read.checkable, registry=Registry()).iter_errors(value):
            return str(_problem(error, read.schema))
    return ""


class ForeignArguments:
    """Checks arguments against a JSON Schema of any draft, as far as that takes bounded time.

    A stranger's schema can ask for more work than there is time: patterns that explode, references
    in circles, unions of unions. What cannot be checked, or not within the bounds, counts as right:
    the server that wrote the schema checks again.

    Args:
        schema: Schema of the arguments object; not changed.

    Attributes:
        schema: The same as draft 2020-12, a copy of its own.
        unchecked: What of the schema is never checked here, for people.

    Raises:
        UnusableSchemaError: Nothing can be checked against it.
    """

    def __init__(self, schema: object) -> None:
        read = modern(schema)
        self.schema = schema = read.schema
        self._names = read.names
        self._shape = Shape.of(schema)
        self._validator = BoundedValidator(read.checkable, registry=Registry())
        self.unchecked = read.unchecked

    def check(self, arguments: JsonObject) -> dict[str, Any] | list[Problem]:
        """The arguments, corrected where that is certain; or everything that is wrong."""
        value = deepcopy(arguments)
        errors = self._errors(value)
        if errors:
            value = fitted(value, self._shape)
            errors = self._errors(value)
        problems = list(dict.fromkeys(_problem(error, self.schema) for error in errors))
        if known := self._names:
            unknown = islice((key for key in value if key not in known), MOST_PROBLEMS)
            problems += [Problem(key, None, unknown_key(key, known)) for key in unknown]
        return problems or value

    def _errors(self, value: object) -> list[ValidationError]:
        errors: list[ValidationError] = []
        with suppress(RecursionError), bounded(self._validator.schema):
            errors = list(islice(self._validator.iter_errors(value), MOST_PROBLEMS))
        return errors


# --- words ---------------------------------------------------------------------------------------


def _problem(error: ValidationError, root: Mapping[str, Any]) -> Problem:
    """An error in words for the model; a missing or an unknown member is the end of its path."""
    path = list(error.absolute_path)
    keyword: Any = error.validator
    value: Any = error.validator_value
    instance: Any = error.instance
    schema: Any = error.schema
    match keyword:
        case "required":
            want = wanted(Shape.of(schema.get("properties", {}).get(path[-1]), root))
            text = f"is missing, want {want}" if want else "is missing"
            return Problem(field_path(path), None, text)
        case "dependentRequired":
            needing = next(key for key in instance if path[-1] in value.get(key, ()))
            return Problem(field_path(path), None, f"is missing, it goes with {needing}")
        case "additionalProperties" if value is False:
            known = tuple(schema.get("properties", ()))
            return Problem(field_path(path), None, unknown_key(str(path[-1]), known))
        case "anyOf" | "oneOf":
            want = wanted(Shape.of({keyword: value}, root)) or "something else"
        case "items" if value is False:  # nothing may follow those that are listed
            want = limit("maxItems", len(schema.get("prefixItems", ())))
        case None:  # jsonschema names no keyword where the schema is `false`
            want = "nothing"
        case _:
            want = limit(str(keyword), value)
    return Problem(field_path(path), short(instance), want)


# --- the bounded validator -----------------------------------------------------------------------

Keyword: TypeAlias = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]

_STEPS = 50_000
"""Keywords checked in one call's arguments: 100 kB of JSON take some 30,000."""

_WRITTEN = 50
"""Characters of a value that cost as much as a keyword where it is written: jsonschema writes all
of a wrong value into its message, and `same` all of one that is compared."""

_CHARACTERS = 50_000_000
"""Steps of patterns: characters of a text times the size of the pattern's program. RE2 does some
hundred million in a second where it is slowest."""


_MATCH = 200
"""Steps of patterns that it takes to begin with a text at all."""


class _SpentError(Exception):
    """The share of work is used up."""


@dataclass(slots=True)
class _Share:
    root: JsonObject
    steps: int = _STEPS
    characters: int = _CHARACTERS
    listed: dict[int, frozenset[str]] = field(default_factory=dict)
    patterns: dict[str, LinearPattern | None] = field(default_factory=dict)


_share: ContextVar[_Share] = ContextVar("agentkit-schema-share")


@contextmanager
def bounded(root: JsonObject) -> Generator[None]:
    """A share of work for what is checked inside; what exceeds it just ends the block.

    Args:
        root: The whole schema, which references lead into.
    """
    token = _share.set(_Share(root))
    try:
        with suppress(_SpentError):
            yield
    finally:
        _share.reset(token)


def _spend() -> None:
    """Takes one step of the share of work."""
    share = _share.get()
    share.steps -= 1
    if share.steps < 0:
        raise _SpentError


def _counted(check: Keyword) -> Keyword:
    def counting(
        validator: Any, value: Any, instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        _spend()
        with suppress(Unresolvable):  # a reference that leads nowhere says nothing
            for error in check(validator, value, instance, schema) or ():
                _share.get().steps -= len(error.message) // _WRITTEN
                yield error

    return counting


def _matches(pattern: str, text: str) -> bool | None:
    """Whether a text has the pattern; None where the bounds do not let it be found out."""
    share = _share.get()
    if pattern not in share.patterns:  # once a call: there may be more than are kept for all
        share.patterns[pattern] = linear_pattern(pattern)
    compiled = share.patterns[pattern]
    if compiled is None:
        return None
    cost = compiled.size * (len(text) + 1) + _MATCH
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
    for key in instance:
        if key in properties or any(_matches(pattern, key) is not False for pattern in patterns):
            continue
        if wanted is False:
            yield ValidationError("an additional property", path=[key])
        elif isinstance(wanted, dict):
            yield from validator.descend(instance[key], wanted, path=key)


def _required(
    _validator: Any, needed: list[str], instance: object, _schema: Any
) -> Iterator[ValidationError]:
    for key in needed:
        if isinstance(instance, dict) and key not in instance:
            yield ValidationError("a required property is missing", path=[key])


def _dependent_required(
    _validator: Any, needed: Mapping[str, list[str]], instance: object, _schema: Any
) -> Iterator[ValidationError]:
    for key, names in needed.items():
        if isinstance(instance, dict) and key in instance:
            for name in names:
                if name not in instance:
                    yield ValidationError("a required property is missing", path=[name])


def _multiple_of(
    _validator: Any, wanted: Any, instance: object, _schema: Any
) -> Iterator[ValidationError]:
    """Reckoned in the digits that were written: 4.35 is a multiple of 0.01, which as floats it is
    not, and a whole number may be longer than any float.
    """
    if isinstance(instance, bool) or not isinstance(instance, int | float):
        return
    if (isinstance(instance, float) and not math.isfinite(instance)) or (
        _as_written(instance) % _as_written(wanted)
    ):
        yield ValidationError(f"{short(instance)} is not a multiple of {wanted!r}")


def _as_written(number: float) -> Fraction:
    return Fraction(number if isinstance(number, int) else repr(number))


def _enum(
    _validator: Any, wanted: list[Any], instance: object, _schema: Any
) -> Iterator[ValidationError]:
    """By a set that is made once: jsonschema looks through the whole list for every value."""
    share = _share.get()
    if id(wanted) not in share.listed:
        share.listed[id(wanted)] = frozenset(map(_weighed, wanted))
    if _weighed(instance) not in share.listed[id(wanted)]:
        yield ValidationError("a value that is not listed")


def _weighed(value: object) -> str:
    """A value as `same` has it; what it takes to write it counts as work."""
    key = same(value)
    _share.get().steps -= len(key) // _WRITTEN
    return key


def _unique_items(
    _validator: Any, wanted: object, instance: object, _schema: Any
) -> Iterator[ValidationError]:
    if wanted is not True or not isinstance(instance, list):
        return
    if len(set(map(_weighed, instance))) < len(instance):
        yield ValidationError("items are not unique")


def _unevaluated(
    validator: Any, wanted: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    """What nothing in its place has looked at; jsonschema's own follows references unbounded."""
    held: Any = instance.items() if isinstance(instance, dict) else enumerate(instance)
    seen = _evaluated(validator, instance, schema)
    for key, value in held:
        if key not in seen:
            yield from validator.descend(value, wanted, path=key)


_UNEVALUATED: Final = {"unevaluatedItems", "unevaluatedProperties"}


def _only(kind: type, check: Keyword) -> Keyword:
    """A keyword that says nothing of other values."""

    def checking(
        validator: Any, value: Any, instance: Any, schema: Any
    ) -> Iterable[ValidationError]:
        found = check(validator, value, instance, schema) if isinstance(instance, kind) else None
        return found or ()

    return checking


def _evaluated(validator: Any, instance: Any, schema: Any) -> set[Any]:
    """The keys, or the places in a list, that a schema and those in its place look at."""
    everything = set(instance) if isinstance(instance, dict) else set(range(len(instance)))
    found: set[Any] = set()
    waiting = [schema]
    for place in waiting:  # grows by what it holds
        if not isinstance(place, dict):
            continue
        _spend()
        keywords = place.keys() - (_UNEVALUATED if place is schema else set())
        if isinstance(instance, dict):
            if {"additionalProperties", "unevaluatedProperties"} & keywords:
                return everything
            patterns = place.get("patternProperties", ())
            found |= place.get("properties", {}).keys()
            found |= {k for k in everything if any(_matches(p, str(k)) for p in patterns)}
        else:
            if {"items", "unevaluatedItems"} & keywords:
                return everything
            found |= set(range(len(place.get("prefixItems", ()))))
            if "contains" in place:
                fits = validator.evolve(schema=place["contains"]).is_valid
                found |= {at for at, item in enumerate(instance) if fits(item)}
        waiting += _in_place(validator, instance, place)
    return found


def _in_place(validator: Any, instance: Any, place: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas in a schema that look at the same value, and that it fits."""

    def fits(schema: Any) -> bool:
        return bool(validator.evolve(schema=schema).is_valid(instance))

    if "$ref" in place:
        with suppress(LookupError, TypeError, ValueError):
            yield _at(_share.get().root, place["$ref"])
    yield from place.get("allOf", ())
    yield from filter(fits, (*place.get("anyOf", ()), *place.get("oneOf", ())))
    if "if" in place:
        if fits(place["if"]):
            yield place["if"]
            yield place.get("then")
        else:
            yield place.get("else")
    dependent = place.get("dependentSchemas", {})
    yield from (
        dependent[key] for key in dependent if isinstance(instance, dict) and key in instance
    )


def _at(root: Any, reference: str) -> Any:
    """The place that a pointer from the root leads to (RFC 6901)."""
    for step in unquote(reference).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        root = root[int(name)] if isinstance(root, list) else root[name]
    return root


_KEYWORDS: dict[str, Keyword] = {
    **Draft202012Validator.VALIDATORS,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "required": _required,
    "dependentRequired": _dependent_required,
    "enum": _enum,
    "multipleOf": _multiple_of,
    "uniqueItems": _unique_items,
    "unevaluatedItems": _only(list, _unevaluated),
    "unevaluatedProperties": _only(dict, _unevaluated),
}

BoundedValidator: Any = cast("Any", extend)(
    Draft202012Validator, {name: _counted(check) for name, check in _KEYWORDS.items()}
)
"""The validator; it works within `bounded` only."""
