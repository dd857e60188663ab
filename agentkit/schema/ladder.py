"""The one ladder of coercion: what a model's JSON value must have meant, by its JSON Schema.

Our own tools, MCP tools, typed answers and native calls all climb it. In: a decoded JSON value and
the `Shape` of its schema. Out: the value with every certain correction made (`fitted`), and the
places that are still not what the schema says, or that only look like it (`doubts`). The caller
checks the result with a validator of its own, so a correction never has the last word.

```
value ── fits as it is ──────────────────────────────► arrives as it is
  │
  └─ its readings, by the table ── one that fits ────► arrives as that
                                └─ none, or several ─► refused, with what is wanted
```

Certain is what has one reading alone: `docs/coercion.md` is the table, and the tests read it. The
ladder never chooses between two readings, never changes what fits as it is, never completes what
is cut, never rounds, and never takes an element out of a list or a key out of a mapping.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, TypeAlias

from agentkit.exact import InexactError, LongNumber, read_exact, unfenced
from agentkit.schema.nodes import NULL_TYPE, kind_of, same
from agentkit.schema.shape import Shape

Keys: TypeAlias = tuple[str | int, ...]
"""Where a value sits in a JSON document: object keys and list positions from the outside in."""

# What JSON Schema cannot say of a Python type and the ladder must know. `jsontype` writes these
# keywords into the schema that it climbs by; no model is shown them.
OWN: Final = "x-agentkit-own"
"""A function of the type's author reads what stands here, before its type does."""
TIME: Final = "x-agentkit-time"
"""pydantic takes a text of digits for seconds here."""
REAL: Final = "x-agentkit-real"
"""A float: whole numbers beyond 2**53 are rounded here."""
PLAIN: Final = "x-agentkit-plain"
"""A text here spells a number."""
KEYS: Final = "x-agentkit-keys"
"""The keys are read as a type, so that two of them can be one; the value is its JSON type, or
`TIME`, or `text` where only that type itself can tell (`jsontype`)."""

_EXACT: Final = 2**53
"""Up to here every whole number is a float of its own (IEEE 754, 53 bits of significand)."""


_STEPS: Final = 100_000
"""Places looked at for one value, about a second of work: unions within unions can ask for more
than there is time.
"""


class _SpentError(Exception):
    """The share of work is used up."""


# --- what is certain -----------------------------------------------------------------------------


def fitted(value: Any, shape: Shape) -> Any:
    """The value with every certain correction made; the value itself where there is none.

    Args:
        value: A decoded JSON value; it is not changed.
        shape: The view of its schema.
    """
    try:
        return _Climb().fitted(value, shape)
    except (_SpentError, RecursionError):
        return value


def has_long_number(value: object) -> bool:
    """Whether a number stands in it that no float can hold."""
    if isinstance(value, dict):
        return any(map(has_long_number, value.values()))
    if isinstance(value, list):
        return any(map(has_long_number, value))
    return isinstance(value, LongNumber)


def with_every_digit(value: Any, shape: Shape) -> Any:
    """The value, with all digits of its numbers that no float can hold: as texts where the schema
    takes both, as that of a `Decimal` does; as whole numbers, if they are, where it takes no
    others. Elsewhere they are the nearest float, as for every reader of JSON.
    """
    if isinstance(value, dict):
        return {key: with_every_digit(item, shape.property(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [with_every_digit(item, shape.item(at)) for at, item in enumerate(value)]
    if isinstance(value, LongNumber):
        types = shape.types or frozenset()
        if {"string", "number"} <= types or ("integer" in types and "number" not in types):
            return value.text if (whole := value.whole) is None or "number" in types else whole
        return float(value)
    return value


def is_nothing(value: object) -> bool:
    """Whether a value says that there is none: null, or a text that spells it."""
    return value is None or (isinstance(value, str) and value.strip().lower() in ("null", "none"))


class _Climb:
    """The work on one value."""

    def __init__(self) -> None:
        self._left = _STEPS

    def fitted(self, value: Any, shape: Shape) -> Any:
        self._step()
        if len(shape.branches) > 1:
            return self._by_branch(value, shape)
        if isinstance(value, str):
            return self._text(value, shape)
        if isinstance(value, dict):
            return self._members(value, shape)
        if isinstance(value, list):
            return [self.fitted(item, shape.item(at)) for at, item in enumerate(value)]
        return _scalar(value, shape)

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _SpentError

    def _by_branch(self, value: Any, shape: Shape) -> Any:
        """The value as the one branch of a union that it can be of."""
        if self.fits(value, shape):
            return value
        tried = [(self.fitted(value, branch), branch) for branch in shape.branches]
        fitting = [read for read, branch in tried if self.fits(read, branch)]
        if fitting:
            return _only(fitting, value)
        # None fits as a whole: where all agree what it is, the errors should be about the rest.
        return _only([read for read, branch in tried if branch.types != NULL_TYPE], value)

    def _text(self, text: str, shape: Shape) -> Any:
        """A text where a text may stand is that text; elsewhere it is what alone it can spell."""
        if shape.allows("string") and _is_of(text, shape):
            return text
        readings = list(self._spelled(text, shape))
        fitting = [reading for reading in readings if self.fits(reading, shape)]
        if fitting:
            return _only(fitting, text)
        # JSON of the right kind: then the errors should be about what is inside it.
        nested = [each for each in readings if isinstance(each, dict | list)]
        return _only([each for each in nested if shape.allows(kind_of(each))], text)

    def _spelled(self, text: str, shape: Shape) -> Iterator[Any]:
        """What a text can spell besides itself, each reading brought to the schema."""
        stripped = text.strip()
        if is_nothing(text):
            yield None
        if _is_quoted(stripped) and not _is_quoted(stripped[1:-1].strip()):
            yield self._text(stripped[1:-1], shape)
        if _NUMBER.fullmatch(stripped):
            with suppress(InexactError):
                yield _scalar(read_exact(_bare(stripped)), shape)
        if (word := stripped.lower()) in _BOOLEANS:
            yield _BOOLEANS[word]
        stripped = unfenced(stripped)
        if stripped[:1] in _JSON:
            with suppress(InexactError):
                inner = read_exact(stripped)
                if not isinstance(inner, str) or not _is_quoted(inner.strip()):
                    yield self.fitted(inner, shape)

    def _members(self, value: dict[str, Any], shape: Shape) -> dict[str, Any]:
        """The members, each brought to its schema; null for what need not be given is left out."""
        declared, needed = shape.names, shape.required
        made: dict[str, Any] = {}
        for key, item in value.items():
            inner = shape.property(key)
            better = self.fitted(item, inner)
            optional = key in declared and key not in needed
            if optional and is_nothing(better) and not self.fits(better, inner):
                continue
            made[key] = better
        return made

    # --- what is in doubt ------------------------------------------------------------------------

    def fits(self, value: Any, shape: Shape) -> bool:
        return next(self.doubts(value, shape, (), "all"), None) is None

    def doubts(self, value: Any, shape: Shape, keys: Keys, of: _Doubtful) -> Iterator[Doubt]:
        self._step()
        if not shape.nodes:
            return
        if shape.keyword(OWN):
            of = _INSIDE.get(of, of)
        if len(shape.branches) > 1:
            yield from self._in_union(value, shape, keys, of)
        elif _is_trap(value, shape, of) or (of == "all" and not _is_of(value, shape)):
            yield Doubt(keys, value, shape, _why(value, shape))
        elif isinstance(value, list) and shape.allows("array"):
            for at, item in enumerate(value):
                yield from self.doubts(item, shape.item(at), (*keys, at), of)
        elif isinstance(value, dict) and shape.allows("object"):
            yield from self._in_members(value, shape, keys, of)

    def _in_union(self, value: Any, shape: Shape, keys: Keys, of: _Doubtful) -> Iterator[Doubt]:
        """A union is in doubt where each branch is; of traps, where the first that takes it is."""
        for branch in shape.branches:
            if of != "traps":
                if next(self.doubts(value, branch, (), of), None) is None:
                    return
                continue
            wrong = sum(1 for _ in self.doubts(value, branch, (), "all"))
            if not wrong:
                return
            trapped = sum(1 for _ in self.doubts(value, branch, (), "traps"))
            if trapped == wrong:  # pydantic's strict mode takes this branch
                break
        else:
            if of == "traps":
                return
        yield Doubt(keys, value, shape, _why(value, shape))

    def _in_members(
        self, value: dict[str, Any], shape: Shape, keys: Keys, of: _Doubtful
    ) -> Iterator[Doubt]:
        declared = shape.names
        if of == "all":
            for name in sorted(shape.required - value.keys()):
                yield Doubt((*keys, name), None, shape.property(name))
        # A tag first: it tells the branches of a union apart before anything deep is looked at.
        for key in sorted(value, key=lambda key: not shape.property(key).limited):
            if key in declared or shape.takes_others:
                yield from self.doubts(value[key], shape.property(key), (*keys, key), of)
            elif of == "all":
                yield Doubt((*keys, key), value[key], shape)
        yield from _keys_in_doubt(value, shape, keys)


def _only(readings: list[Any], value: Any) -> Any:
    """The reading that all agree on; the value itself where they do not."""
    distinct = {same(reading): reading for reading in readings}
    return next(iter(distinct.values())) if len(distinct) == 1 else value


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`"


_NUMBER: Final = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
"""A number, also as Python writes it; without leading zeros, which say an octal or a code."""

_BOOLEANS: Final = {
    **dict.fromkeys(("true", "yes", "y", "on", "t", "1"), True),
    **dict.fromkeys(("false", "no", "n", "off", "f", "0"), False),
}
"""pydantic's words (docs.pydantic.dev, "Booleans")."""

UNQUOTED: Final = frozenset({"date", "date-time", "time", "duration", "uuid", "ipv4", "ipv6"})
"""Formats in which no quote has a place, and the word null none either."""

_JSON: Final = ("{", "[", '"')


def _bare(number: str) -> str:
    """A number in the spelling of JSON: `+.5` is `0.5`, `5.` is `5.0`."""
    plain = re.sub(r"^(-?)\.", r"\g<1>0.", number.removeprefix("+"))
    return re.sub(r"\.(?=[eE]|$)", ".0", plain)


def _scalar(value: Any, shape: Shape) -> Any:
    """A number as the type of number that is wanted; 1 and 0 as true and false."""
    if isinstance(value, LongNumber) and shape.allows("integer") and not shape.allows("number"):
        whole = value.whole  # the nearest float may be another whole number
        return value if whole is None else whole
    if isinstance(value, float) and shape.limited:
        return next((each for each in shape.values or () if same(each) == same(value)), value)
    if isinstance(value, bool) or not isinstance(value, int | float) or shape.allows("number"):
        return value
    if shape.allows("integer"):
        whole = isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT
        return int(value) if whole else value
    plain = shape.types is not None and "boolean" in shape.types and not shape.limited
    return bool(value) if plain and value in (0, 1) else value


# --- what is in doubt ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Doubt:
    """A place where a value is not what its schema says, or would be changed when it is read.

    Attributes:
        keys: Where.
        value: What came; None for a member that is missing.
        shape: What is wanted there.
        why: What is wanted, where the schema has no word for it.
    """

    keys: Keys
    value: Any
    shape: Shape
    why: str = ""


_Doubtful: TypeAlias = Literal["all", "own", "traps", "hidden"]
"""Which places are in doubt: all that are not what the schema says; of those that a function of the
type's author reads first (`own`), the ones that pydantic's lax mode would change behind it; the
`traps` of its strict mode; and of these the ones that stay traps behind such a function (`hidden`).
"""
_INSIDE: Final[Mapping[_Doubtful, _Doubtful]] = {"all": "own", "traps": "hidden"}


def doubts(value: Any, shape: Shape, *, traps: bool = False) -> list[Doubt]:
    """The places of a value that are in doubt.

    Args:
        value: A decoded JSON value.
        shape: The view of its schema.
        traps: Only those where pydantic's strict mode would take the value for another one.
    """
    try:
        return list(_Climb().doubts(value, shape, (), "traps" if traps else "all"))
    except (_SpentError, RecursionError):
        return [Doubt((), value, shape)]


def _is_of(value: Any, shape: Shape) -> bool:
    """Whether a value is of the type, and one of those that are listed."""
    kind = kind_of(value)
    if isinstance(value, str) and shape.keyword(PLAIN):
        return kind == "string" and _NUMBER.fullmatch(value.strip()) is not None
    if isinstance(value, str) and shape.keyword("format") in UNQUOTED:
        return kind == "string" and not is_nothing(value) and not _is_quoted(value.strip())
    return (shape.types is None or shape.allows(kind)) and (not shape.limited or shape.has(value))


def _is_trap(value: Any, shape: Shape, of: _Doubtful) -> bool:
    """Whether pydantic would take a value for another one without a word."""
    if isinstance(value, bool):
        number = of == "own" and shape.types is not None and shape.types & _NUMBERS
        return shape.confuses(value) or bool(number and not shape.allows("boolean"))
    if isinstance(value, str):
        if shape.keyword(TIME):
            return of != "hidden" and _DIGITS.fullmatch(value.strip()) is not None
        if shape.keyword(PLAIN):
            return of != "hidden" and not _NUMBER.fullmatch(value.strip()) and _is_decimal(value)
        return of == "own" and bool(shape.keyword(REAL)) and _NO_NUMBER.fullmatch(value) is not None
    if isinstance(value, int | float):
        rounded = isinstance(value, int) and shape.keyword(REAL) and not _is_float(value)
        seconds = of == "own" and shape.keyword(TIME)
        listed = shape.values or ()
        as_flag = isinstance(value, float) and any(
            isinstance(each, bool) and float(each) == value for each in listed
        )
        return bool(rounded or seconds or as_flag) or shape.confuses(value)
    return False


def _why(value: Any, shape: Shape) -> str:
    """What is wanted, where it is not another type."""
    if isinstance(value, str) and any(branch.keyword(PLAIN) for branch in shape.branches):
        return "a number, as JSON spells it"
    if isinstance(value, int) and not isinstance(value, bool) and shape.keyword(REAL):
        return "a number that a float can hold, of up to 15 digits"
    return ""


_NUMBERS: Final = frozenset({"integer", "number"})
_DIGITS: Final = re.compile(r"[+-]?[0-9_]+(?:\.[0-9]*)?")
_NO_NUMBER: Final = re.compile(r"\s*[+-]?(?:nan|inf(?:inity)?)\s*", re.IGNORECASE)


def _is_float(value: int) -> bool:
    """Whether a float can hold a whole number as it is."""
    try:
        return abs(value) <= _EXACT or int(float(value)) == value
    except OverflowError:
        return False


def _is_decimal(text: str) -> bool:
    """Whether Python takes a text for a `Decimal`: `1_000` and digits of any script too."""
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


_KEY_SHAPES: Final[Mapping[str, Shape]] = {
    kind: Shape.of({"type": kind}) for kind in ("integer", "number", "boolean")
}


def _keys_in_doubt(value: dict[str, Any], shape: Shape, keys: Keys) -> Iterator[Doubt]:
    """Keys that are read as a type and are not spelled as it, or are one when they are read."""
    kind = shape.keyword(KEYS)
    if kind == TIME:
        for key in value:
            if _DIGITS.fullmatch(key.strip()):
                yield Doubt((*keys, key), key, shape, "a date or a time, not a number")
        return
    wanted = _KEY_SHAPES.get(kind)
    if wanted is None:
        return
    seen = set[object]()
    for key in value:
        read = fitted(key, wanted)
        plain = read is not key and json.dumps(read) == key
        if read in seen or (kind != "number" and not plain) or isinstance(read, str):
            yield Doubt((*keys, key), key, wanted)
        seen.add(read)
