"""JSON from outside that can be kept exactly: read strictly, or refused with a reason.

A call is written down before it runs and read back after a crash. "It runs once" can be promised
only if what is read back equals what was written. Some values are lost on that way, so they are
refused as arguments, before a call is recorded as intended:

| value | why it cannot be kept |
|---|---|
| half of a surrogate pair | no UTF-8 can carry it (RFC 3629, section 3) |
| a whole number of more than 4,300 digits | Python does not convert it back (`sys.int_info`) |
| `NaN`, `Infinity`, `1e999` | JSON has no such numbers (RFC 8259, section 6) |
| `1e-999` | a float makes 0 of it |
| lists and objects nested beyond `MAX_DEPTH` | readers of JSON give up, each at another depth |
| a key that stands twice in one object | what it means differs from reader to reader (section 4) |
| a key that is no text, an object of Python | it is read back as something else |
| more than 200,000 values, 4,000,000 characters | no model writes it, and reading takes too long |
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from decimal import Decimal
from typing import Any

MAX_DIGITS = 4_300
"""Digits of a whole number: what Python converts from text by default, and pydantic too."""

MAX_DEPTH = 128
"""How deep lists and objects may be nested, the outermost counted. pydantic reads 200 levels and
writes 255, of which an entry of a journal takes a dozen itself."""

MAX_VALUES = 200_000
"""Values of one text: each takes a token or more, and a window holds 262,144 of them."""

MAX_CHARACTERS = 4_000_000
"""The longest text that is read: four times what a window of tokens can spell."""

_TOO_LARGE = 10**MAX_DIGITS
_TOO_DEEP = f"lists and objects are nested more than {MAX_DEPTH} deep"
_TOO_LONG = f"a whole number has more than {MAX_DIGITS:,} digits; give it as text"


_FENCE = re.compile(r"(`{3,}+|~{3,}+)(?:[\w-]*+[ \t]*+\n|json)?")
"""The opening of a fenced block of Markdown (CommonMark 0.31, section 4.5), or one in a line."""


class InexactError(ValueError):
    """A value cannot be kept exactly; the message is a clause that says why."""


class NotJsonError(InexactError):
    """A text is not JSON at all."""


def unfenced(text: str) -> str:
    """A text without blanks, a byte order mark or a code fence around it, all of which models and
    servers put around JSON.
    """
    text = text.strip().removeprefix("\ufeff").lstrip()
    if opened := _FENCE.match(text):
        text = text[opened.end() :].removesuffix(opened[1]).strip()
    return text


def read_exact(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        NotJsonError: The text is not JSON.
        InexactError: The value cannot be kept exactly, or reading it would take too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise InexactError(f"they are longer than {MAX_CHARACTERS:,} characters")
    if len(text) > MAX_VALUES and sum(map(text.count, ",[{")) > MAX_VALUES:
        raise InexactError(f"they have more than {MAX_VALUES:,} values")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJsonError(f"{error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise InexactError(_TOO_DEEP) from None
    except InexactError:
        raise
    except ValueError:  # Python's own limit to the digits of a number
        raise InexactError(_TOO_LONG) from None
    if (why := why_inexact(value)) is not None:
        raise InexactError(why)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise InexactError(f"the key {json.dumps(twice)} stands twice in one object")
    return made


class LongNumber(float):
    """A number of a JSON text that has more digits than a float can hold.

    Attributes:
        text: The number as it was written, with all of its digits.
    """

    text: str

    def __new__(cls, text: str) -> LongNumber:
        made = super().__new__(cls, text)
        made.text = text
        return made

    @property
    def whole(self) -> int | None:
        """The number if it is a whole one, with all of its digits."""
        number = Decimal(self.text)
        return int(number) if number == number.to_integral_value() else None


def real(text: str) -> float:
    """A number of a JSON text with a point or an exponent; a `LongNumber` where digits are lost.

    Raises:
        InexactError: All of them are lost: it is not 0, and too small for a float.
    """
    value = float(text)
    if value == 0 and is_not_zero(text):
        raise InexactError(f"{text[:40]} is too small a number; give it as text, or 0")
    if len(text) < _SHORT or Decimal(text) == Decimal(repr(value)):
        return value
    return LongNumber(text)


def is_not_zero(text: str) -> bool:
    """Whether a number's text has a digit other than 0 before its exponent."""
    return any(digit in "123456789" for digit in text.lower().partition("e")[0])


_SHORT = 16
"""Characters of a number with a point: a float holds any 15 digits (IEEE 754)."""


def _no_number(name: str) -> float:
    raise InexactError(f"{name} is no number of JSON; give a finite one, or null")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_number, parse_float=real, strict=False
)
"""`strict=False` allows line breaks inside a text: models write them, and they can mean nothing
else."""


def why_inexact(value: object) -> str | None:
    """Why a JSON value cannot be kept exactly, as a clause; None where it can.

    Walks without recursion, so that no depth is too much for it.
    """
    level, depth = [value], 0
    while level:
        inner: list[object] = []
        nested = False
        for item in level:
            if isinstance(item, str) and item.isascii():  # what most values are
                continue
            if isinstance(item, dict):
                nested = True
                inner += item
                inner += item.values()
                for key in item:
                    if not isinstance(key, str):
                        return "an object has a key that is no text"
            elif isinstance(item, list | tuple):
                nested = True
                inner += item
            elif (why := _why_scalar(item)) is not None:
                return why
        depth += nested
        if depth > MAX_DEPTH:
            return _TOO_DEEP
        level = inner
    return None


def _why_scalar(value: object) -> str | None:
    if isinstance(value, str):
        if value.isascii():
            return None
        try:
            value.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(value[error.start]):04x}"
            return f"a text holds {half}, half of a surrogate pair, which is no character"
        return None
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return _TOO_LONG if abs(value) >= _TOO_LARGE else None
    if isinstance(value, float):
        if math.isfinite(value):
            return None
        return f"{json.dumps(value)} is no number of JSON; give a finite one, or null"
    return f"a {type(value).__name__} is no value of JSON"


def text_of_inexact(value: object) -> str:
    """A value that cannot be kept, as a text in which the reason can still be read.

    Only what is nested too deep is left out.
    """
    return _written(value, MAX_DEPTH + 1)


def _written(value: object, levels: int) -> str:
    if isinstance(value, dict):
        inner = (f"{_key(k)}: {_written(v, levels - 1)}" for k, v in value.items())
        return f"{{{', '.join(inner) if levels else ''}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_written(v, levels - 1) for v in value) if levels else ''}]"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(Decimal(value))  # which has no limit to its digits
    if value is None or isinstance(value, str | float | bool):
        return json.dumps(value)
    return f"<{type(value).__name__}>"


def _key(key: object) -> str:
    return json.dumps(key) if isinstance(key, str) else f"<{type(key).__name__}>"
