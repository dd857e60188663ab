"""The values of a native call: text → JSON, typed by the tool's schema.

    k:<|"|>text<|"|>,n:5,flag:true,list:[1,{x:null}]}

Two readings. The *strict* one takes the syntax as the template teaches it (JSON's own quotes
allowed). The *lenient* one undoes what models do to it: quotes inside strings, text without
quotes, `key=value`, missing braces. It is tried where the strict one fails or does not fit the
schema, and only on calls that the model closed, so a cut call never looks whole.

The quote token is one character here, chosen by the caller so that no text contains it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

from agentkit.gemma4.scalars import MAX_DEPTH, bare_value, quoted_value
from agentkit.gemma4.shape import Shape
from agentkit.messages import JsonObject

__all__ = ["Cut", "Reading", "read_arguments"]

Cut: TypeAlias = Literal["name", "key", "value", "string"]
"""Where in a call the text ended."""

_JSON_STRING = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_SPACE = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading a call's arguments.

    Attributes:
        arguments: None when they could not be read.
        cut: Where the text ended too early, if that is why.
        end: Characters read; what follows is not part of the call.
    """

    arguments: JsonObject | None = None
    cut: Cut | None = None
    end: int = 0


_END = re.compile(r"\s*\Z")
_SURPLUS = re.compile(r"[\s})\]]*\Z")
"""The end of a call, and the same with braces too many."""


class _UnreadableError(Exception):
    def __init__(self, cut: Cut | None = None) -> None:
        self.cut: Cut | None = cut


def read_arguments(text: str, quote: str, shape: Shape, *, closed: bool) -> Reading:
    """Read what follows the opening brace of a call.

    Args:
        text: From behind the `{` on; its own `}` included if the model wrote one.
        quote: The character that stands for the quote token.
        shape: What the arguments may be.
        closed: The model ended the call itself, so repairs are allowed.
    """
    best = _attempt(_Strict(text, quote), shape, closed=closed)
    if not closed:
        return best
    # Each next reading forgives more; one that fits the schema better than the last is taken.
    for reader in (_Lenient(text, quote), _Lenient(text, quote, ending=_SURPLUS)):
        if best.arguments is not None and not shape.misfit(best.arguments):
            break
        other = _attempt(reader, shape, closed=closed)
        if _fits_better(other, best, shape):
            best = other
    return best


def _fits_better(other: Reading, best: Reading, shape: Shape) -> bool:
    if other.arguments is None or best.arguments is None:
        return other.arguments is not None
    return shape.misfit(other.arguments) < shape.misfit(best.arguments)


def _attempt(reader: _Strict, shape: Shape, *, closed: bool) -> Reading:
    try:
        arguments = reader.object(shape, 0)
        if closed:
            reader.expect_end()
    except _UnreadableError as error:
        return Reading(cut=error.cut)
    return Reading(arguments, end=reader.at)


class _Strict:
    """A recursive descent over one text; `at` is the next character."""

    def __init__(self, text: str, quote: str) -> None:
        self.text = text
        self.quote = quote
        self.at = 0
        self._bare, self._key = _patterns(quote)

    def object(self, shape: Shape, depth: int) -> JsonObject:
        self._check(depth)
        result: JsonObject = {}
        while not self._closes("}"):
            key = self._read_key()
            result[key] = self._value(shape.property(key), depth + 1)
            if not self._comma("}"):
                break
        return result

    def _array(self, shape: Shape, depth: int) -> list[Any]:
        self._check(depth)
        result: list[Any] = []
        while not self._closes("]"):
            result.append(self._value(shape.item(len(result)), depth + 1))
            if not self._comma("]"):
                break
        return result

    def expect_end(self) -> None:
        if self._peek():
            raise _UnreadableError

    def _check(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise _UnreadableError

    def _peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        space = _SPACE.match(self.text, self.at)
        self.at = space.end() if space else self.at
        return self.text[self.at : self.at + 1]

    def _closes(self, closer: str) -> bool:
        if self._peek() != closer:
            return False
        self.at += 1
        return True

    def _comma(self, closer: str) -> bool:
        """Whether another element follows."""
        if self._closes(","):
            return True
        if self._closes(closer):
            return False
        raise _UnreadableError(self._cut("value"))

    def _cut(self, where: Cut) -> Cut | None:
        return where if self.at >= len(self.text) else None

    def _read_key(self) -> str:
        # Keys are read the strict way by both readings: none of them holds a quote.
        if self._peek() == self.quote:
            key = _Strict._string(self)
        elif self._peek() == '"':
            key = _Strict._json_string(self)
        else:
            found = self._key.match(self.text, self.at)
            key = found[0].strip() if found else ""
            self.at = found.end() if found else self.at
        self._separator()
        return key

    def _separator(self) -> None:
        if not self._closes(":"):
            raise _UnreadableError(self._cut("key"))

    def _value(self, shape: Shape, depth: int) -> Any:
        start = self._peek()
        if start == self.quote:
            return quoted_value(self._string(), shape)
        if start == "{":
            self.at += 1
            return self.object(shape, depth)
        if start == "[":
            self.at += 1
            return self._array(shape, depth)
        if start == '"':
            return quoted_value(self._json_string(), shape)
        return self._read_bare(shape)

    def _string(self) -> str:
        start = self.at + 1
        end = self.text.find(self.quote, start)
        if end < 0:
            raise _UnreadableError("string")
        self.at = end + 1
        return self.text[start:end]

    def _json_string(self) -> str:
        found = _JSON_STRING.match(self.text, self.at)
        if not found:
            raise _UnreadableError("string")
        self.at = found.end()
        try:
            text = str(json.loads(found[0], strict=False))
            text.encode()  # "\\ud800" is valid JSON and no valid text
        except ValueError:
            return found[1]  # a path such as "C:\dir" is no JSON, and is meant as it stands
        return text

    def _read_bare(self, shape: Shape) -> Any:
        found = self._bare.match(self.text, self.at)
        text = found[0].strip() if found else ""
        self.at = found.end() if found else self.at
        if not text or self.at >= len(self.text):
            raise _UnreadableError(self._cut("value"))
        return bare_value(text, shape)


class _Lenient(_Strict):
    """The same, but a value ends where the text goes on as the schema expects it to."""

    def __init__(self, text: str, quote: str, ending: re.Pattern[str] = _END) -> None:
        super().__init__(text, quote)
        self._ending = ending
        self._open: list[tuple[str, re.Pattern[str]]] = []

    def object(self, shape: Shape, depth: int) -> JsonObject:
        self._open.append(("}", _next_key(shape.names, self.quote)))
        try:
            return super().object(shape, depth)
        finally:
            self._open.pop()

    def _array(self, shape: Shape, depth: int) -> list[Any]:
        self._open.append(("]", _next_item(self.quote)))
        try:
            return super()._array(shape, depth)
        finally:
            self._open.pop()

    def _closes(self, closer: str) -> bool:
        # The model closed the call, so braces that are missing at the end are implied.
        return super()._closes(closer) or (closer != "," and not self._peek())

    def expect_end(self) -> None:
        if not self._ending.match(self.text, self.at):
            raise _UnreadableError

    def _separator(self) -> None:
        if self._peek() not in (":", "="):
            raise _UnreadableError
        self.at += 1

    def _string(self) -> str:
        """A string that may hold the quote token: it ends at the first one that can be its end."""
        start = self.at + 1
        end = self.text.find(self.quote, start)
        while end >= 0 and not self._ends(end + 1):
            end = self.text.find(self.quote, end + 1)
        if end < 0:
            raise _UnreadableError
        self.at = end + 1
        return self.text[start:end].replace(self.quote, '"')

    def _json_string(self) -> str:
        found = _JSON_STRING.match(self.text, self.at)
        if found and self._ends(found.end()):
            return super()._json_string()
        return self._bare_text()

    def _read_bare(self, shape: Shape) -> Any:
        return bare_value(self._bare_text(), shape)

    def _bare_text(self) -> str:
        """Text up to the first comma or brace where it can end."""
        start = self.at
        for stop in _STOPS.finditer(self.text, start):
            if self._ends(stop.start()):
                self.at = stop.start()
                break
        else:
            self.at = len(self.text)
        text = self.text[start : self.at].strip()
        if not text or self.quote in text:
            raise _UnreadableError
        return text

    def _ends(self, at: int) -> bool:
        """Whether a value can end here: what follows must continue or close what is open."""
        for closer, following in reversed(self._open):
            space = _SPACE.match(self.text, at)
            at = space.end() if space else at
            if at == len(self.text):
                return True
            if self.text[at] == ",":
                return bool(following.match(self.text, at + 1))
            if self.text[at] != closer:
                return False
            at += 1
        return self._ending.match(self.text, at) is not None


_STOPS = re.compile(r"[,}\]]")


@cache
def _patterns(quote: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What an unquoted value and an unquoted key may hold."""
    return re.compile(rf'[^,:{{}}\[\]"{quote}]*'), re.compile(rf'[^,:={{}}\[\]"{quote}]*')


@cache
def _next_item(quote: str) -> re.Pattern[str]:
    return re.compile(rf'\s*[{quote}"{{\[\-\w]')


def _next_key(names: frozenset[str], quote: str) -> re.Pattern[str]:
    """The next key of an object: a declared one where the schema declares any."""
    name = "|".join(re.escape(name) for name in sorted(names)) or r"[^\W\d][\w.\-]*"
    return re.compile(rf'\s*["{quote}]?(?:{name})["{quote}]?\s*[:=]|\s*\Z|\s*[}}]')
