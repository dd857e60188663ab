"""The arguments of a native call, read exactly as Gemma 4's syntax has them.

    k:<|"|>text<|"|>,n:5,flag:true,list:[1,{x:null}]}

A string ends at the quote token and nowhere else, so nothing here is guessed: a text either is in
this syntax or it is not (`repair` has the rest). The schema decides only what a value is, never
where it ends: a bare `5` is a text where the schema has room for texts alone.

The quote token is one character here, chosen by the caller so that no text contains it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, TypeAlias

from agentkit.exact import LongNumber, is_not_zero, real
from agentkit.messages import JsonObject
from agentkit.schema.ladder import fitted
from agentkit.schema.shape import Shape

Cut: TypeAlias = Literal["name", "key", "value", "string"]
"""Where in a call the text ended."""

SPACE: Final = re.compile(r"\s*+")
LITERAL: Final = re.compile(
    r"(?:-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+|true|false|null)(?![\w.])"
)
"""The values that stand without quotes: JSON's own (RFC 8259, sections 3 and 6)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of reading the text behind a call's opening brace.

    Attributes:
        arguments: The arguments; None when the text is not in the syntax.
        end: How many characters belong to the call, its closing brace included.
        cut: The place at which the text ended too early, if that is why there are no arguments.
    """

    arguments: JsonObject | None = None
    end: int = 0
    cut: Cut | None = None


class _NotExactError(Exception):
    def __init__(self, cut: Cut | None = None) -> None:
        self.cut: Cut | None = cut


def read_exactly(text: str, start: int, quote: str, shape: Shape) -> Reading:
    """Read one object of arguments.

    Args:
        text: The call; `start` is behind the `{` that opens the arguments.
        start: The character to begin at.
        quote: The character that stands for the quote token.
        shape: What the arguments may be; it gives values their types.
    """
    reader = _Exact(text, start, quote)
    try:
        arguments = reader.object(shape, 0)
    except _NotExactError as error:
        return Reading(cut=error.cut)
    return Reading(arguments, reader.at)


class _Exact:
    """A recursive descent over one text; `at` is the next character."""

    def __init__(self, text: str, start: int, quote: str) -> None:
        self.text = text
        self.at = start
        self._quote = quote
        self._key = _bare_key(quote)

    def object(self, shape: Shape, depth: int) -> JsonObject:
        result: JsonObject = {}
        if depth > MAX_DEPTH:
            raise _NotExactError
        while not self._takes("}"):
            key = self._read_key()
            quoted = key.startswith("'") and key.endswith("'")  # the quotes of another language
            if key in result or (quoted and not shape.takes_others):
                raise _NotExactError  # of two, nobody can say which is meant
            result[key] = self._value(shape.property(key), depth + 1)
            if not self._goes_on("}"):
                break
        return result

    def _array(self, shape: Shape, depth: int) -> list[Any]:
        result: list[Any] = []
        if depth > MAX_DEPTH:
            raise _NotExactError
        if self._takes("]"):
            return result
        while True:  # behind a comma an item must come: an empty text may have lost its quotes
            result.append(self._value(shape.item(len(result)), depth + 1))
            if not self._goes_on("]"):
                return result

    def _value(self, shape: Shape, depth: int) -> Any:
        start = self._next()
        if start == self._quote:
            return quoted_value(self._string(), shape)
        if self._takes("{"):
            return self.object(shape, depth)
        if self._takes("["):
            return self._array(shape, depth)
        literal = LITERAL.match(self.text, self.at)
        if literal is None or literal.end() == len(self.text):
            raise self._cut_or_wrong("value", bare=True)
        self.at = literal.end()
        return bare_value(literal[0], shape)

    def _string(self) -> str:
        start = self.at + 1
        end = self.text.find(self._quote, start)
        if end < 0:
            raise _NotExactError("string")
        self.at = end + 1
        return self.text[start:end]

    def _read_key(self) -> str:
        if self._next() == self._quote:  # the template quotes the keys of some declarations so
            key = self._string()
        else:
            found = self._key.match(self.text, self.at)
            key = found[0].strip() if found else ""
            self.at = found.end() if found else self.at
        if not self._takes(":"):
            raise self._cut_or_wrong("key")
        return key

    def _goes_on(self, closer: str) -> bool:
        """Whether another element follows."""
        if self._takes(","):
            return True
        if self._takes(closer):
            return False
        raise self._cut_or_wrong("value")

    def _takes(self, character: str) -> bool:
        if self._next() != character:
            return False
        self.at += 1
        return True

    def _next(self) -> str:
        """The next character that is not white space; empty at the end."""
        space = SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at
        return self.text[self.at : self.at + 1]

    def _cut_or_wrong(self, where: Cut, *, bare: bool = False) -> _NotExactError:
        """The end of the text is a cut, also within an unquoted value; all else is a mistake."""
        ended = self.at >= len(self.text)
        if bare and not ended:
            ended = not re.search(r"[^\w.+\-]", self.text[self.at :])
        return _NotExactError(where if ended else None)


@cache
def _bare_key(quote: str) -> re.Pattern[str]:
    return re.compile(rf"[^,:={{}}\[\]\"{quote}]*+")


# --- what a value is -----------------------------------------------------------------------------

MAX_DEPTH: Final = 64
"""Deeper nesting is unreadable: validators and serialisers recurse as well."""

_MAX_DIGITS: Final = 4000
"""Python refuses to turn more than 4,300 digits into an integer (CVE-2020-10735)."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LOOSE_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}


def quoted_value(text: str, shape: Shape) -> Any:
    """A quoted text: a string, unless the schema has no place for strings and it reads as else."""
    value = fitted(text, shape)
    return value if _is_shallow(value) else text


def _is_shallow(value: Any) -> bool:
    layer = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for item in layer:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        if not inner:
            return True
        layer = inner
    return False


def bare_value(text: str, shape: Shape) -> Any:
    """An unquoted text: a JSON literal where the schema lets it be one, a string otherwise."""
    if text == "null" and (shape.allows("null") or not shape.lists("null")):
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
    # 10.0 is an integer where only integers may stand (JSON Schema 2020-12, 4.2.3).
    return int(value) if not shape.allows("number") and value.is_integer() else value


def _parsed(text: str) -> int | float | str:
    if len(text) > _MAX_DIGITS:
        return text
    if text.lstrip("+-").isdigit():
        return int(text)
    value = float(text)
    lost = value == 0 and is_not_zero(text)
    return text if lost or value in (float("inf"), float("-inf")) else value


def conform(value: Any, shape: Shape) -> Any:
    """A decoded JSON value, with the conversions that its schema asks for."""
    if isinstance(value, str):
        return quoted_value(value, shape)
    if isinstance(value, dict):
        return {key: conform(item, shape.property(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [conform(item, shape.item(at)) for at, item in enumerate(value)]
    return bare_value(json.dumps(value), shape)
