"""Pieces of EBNF in xgrammar's dialect: literals, character classes, numbers in a range.

The dialect is that of xgrammar 0.2 (its `docs/tutorials/ebnf_grammar` page): `name ::= …`,
quoted literals, `[a-z]`, `(a | b)`, `{m,n}`, and `TagDispatch(excludes=…)` for text that must not
contain certain strings. Every function returns an expression that can stand in a sequence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

MAX_DIGITS: Final = 19
"""Digits of a number whose size nothing limits: enough for a 64-bit identifier, and an end to a
model that writes digits for ever."""
_FRACTION: Final = 17
"""Digits behind the point: what it takes to write any double."""
_OPEN_FRACTION: Final = 9
"""Digits behind the point beside an open bound: with more of them a number just above 5 would be
read as the double 5.0."""
_MAX_OPEN: Final = 1_000_000
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Rules:
    """Named rules. A rule's name is made from its text, so the rules of several grammars can be
    put together: what two tools have in common, such as any text, is compiled once.
    """

    def __init__(self) -> None:
        self.lines: dict[str, str] = {}

    def name(self, body: str, attribute: str = "") -> str:
        """The name of a rule with this body."""
        text = f"{attribute} ::= {body}"
        name = self.called(text)
        self.lines[name] = f"{name}{text}"
        return name

    @staticmethod
    def called(text: str) -> str:
        """A name that is the same for the same text and for no other."""
        return f"r{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


def literal(text: str) -> str:
    """A text, exactly."""
    return f'"{"".join(_escaped(character) for character in text)}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if character.isprintable():
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


LAST: Final = 0x10FFFF
"""The last code point of Unicode."""


def without(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """All code points but those of the given ranges."""
    kept: list[tuple[int, int]] = []
    start = 0
    for low, high in sorted(ranges):
        if start < low:
            kept.append((start, low - 1))
        start = max(start, high + 1)
    if start <= LAST:
        kept.append((start, LAST))
    return kept


def character_class(ranges: Iterable[tuple[int, int]], *, negated: bool = False) -> str:
    """One character from (or not from) the given ranges of code points."""
    ranges = list(ranges)
    if any(high == LAST for _, high in ranges):  # shorter told by what is left out
        ranges, negated = without(ranges), not negated
    inside = "".join(
        _class_member(low) if low == high else f"{_class_member(low)}-{_class_member(high)}"
        for low, high in ranges
    )
    return f"[{'^' if negated else ''}{inside}]"


def _class_member(code: int) -> str:
    character = chr(code)
    if character.isascii() and character.isalnum():
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def any_of(alternatives: Iterable[str]) -> str:
    """One of several expressions, in their order and each once."""
    distinct = list(dict.fromkeys(alternatives))
    return distinct[0] if len(distinct) == 1 else f"({' | '.join(distinct)})"


def in_order(parts: Iterable[str]) -> str:
    """One expression after the other."""
    return " ".join(part for part in parts if part) or '""'


def repeated(expression: str, low: int, high: int | None) -> str:
    """An expression several times; `high` None is without end."""
    if (low, high) == (1, 1):
        return expression
    if high == 0:
        return ""
    if (low, high) == (1, None) and expression.startswith("["):
        # Not `[…]+`: a rule that is nothing else takes a path of xgrammar 0.2.8 that caches no
        # mask, and costs a hundred times as much a token.
        return f"{expression} {expression}*"
    grouped = f"({expression})"
    if (low, high) in ((0, None), (1, None), (0, 1)):
        return grouped + ("?" if high else "+" if low else "*")
    return f"{grouped}{{{low},{'' if high is None else high}}}"


# --- numbers -----------------------------------------------------------------------------------


def integer(low: int | None, high: int | None) -> str | None:
    """An integer between two bounds, both included; None if there is none.

    Sizes without a bound end at `MAX_DIGITS` digits.
    """
    most = 10**MAX_DIGITS - 1
    low = -most if low is None else low
    high = most if high is None else high
    if low > high:
        return None
    alternatives = _digits(max(low, 0), high) if high >= 0 else []
    if low < 0:
        negative = _digits(max(1, -high), -low)
        alternatives = [f'"-" {any_of(negative)}', *alternatives]
    return any_of(alternatives)


def _digits(low: int, high: int) -> list[str]:
    """Alternatives for the natural numbers from `low` to `high`, length by length."""
    if low > high:
        return []
    if low == 0:
        return ['"0"', *_digits(1, high)]
    alternatives: list[str] = []
    full = 0  # lengths that are free in every digit, joined into one alternative
    for length in range(len(str(low)), len(str(high)) + 1):
        first = max(low, 10 ** (length - 1))
        last = min(high, 10**length - 1)
        if (first, last) == (10 ** (length - 1), 10**length - 1):
            full = full or length
        else:
            alternatives += _flush(full, length)
            full = 0
            alternatives += _same_length(str(first), str(last))
    return alternatives + _flush(full, len(str(high)) + 1)


def _flush(first: int, end: int) -> list[str]:
    if not first:
        return []
    if end == 2:
        return ["[1-9]"]
    return [f"[1-9] {repeated('[0-9]', first - 1, end - 2)}"]


def _same_length(low: str, high: str) -> list[str]:
    """Alternatives for the numbers between two of the same length."""
    if low == high:
        return [literal(low)]
    shared = next(index for index in range(len(low)) if low[index] != high[index])
    head, rest = low[:shared], len(low) - shared - 1
    lead = f"{literal(head)} " if head else ""
    first, last = int(low[shared]), int(high[shared])
    if not rest:
        return [f"{lead}[{first}-{last}]"]
    alternatives: list[str] = []
    if low[shared + 1 :] != "0" * rest:
        tails = _same_length(low[shared + 1 :], "9" * rest)
        alternatives.append(f"{literal(head + str(first))} {any_of(tails)}")
        first += 1
    if high[shared + 1 :] != "9" * rest:
        tails = _same_length("0" * rest, high[shared + 1 :])
        alternatives.append(f"{literal(head + str(last))} {any_of(tails)}")
        last -= 1
    if first <= last:
        alternatives.append(f"{lead}[{first}-{last}] {repeated('[0-9]', rest, rest)}")
    return alternatives


def number(low: Decimal | None, high: Decimal | None, *, above: bool, below: bool) -> str | None:
    """A number between two bounds; None if there is none, or the grammar cannot hold them.

    Args:
        low: The lower bound, or None.
        high: The upper bound, or None.
        above: The lower bound itself is left out.
        below: The upper bound itself is left out.
    """
    if low is None and high is None:
        whole = any_of(['"0"', f"[1-9] {repeated('[0-9]', 0, MAX_DIGITS - 1)}"])
        exponent = "([eE] [+\\-]? [0-9] [0-9]?)?"
        return f'"-"? {whole} ("." [0-9]{{1,{_FRACTION}}})? {exponent}'
    bounds = [bound for bound in (low, high) if bound is not None]
    longest = max(len(_parts(abs(bound))[1]) for bound in bounds)
    places = _OPEN_FRACTION if above or below else _FRACTION
    if longest > places or ((above or below) and max(map(abs, bounds)) > _MAX_OPEN):
        return None
    most = Decimal(10**MAX_DIGITS - 1)
    low, high = -most if low is None else low, most if high is None else high
    alternatives: list[str] = []
    if low < 0:
        lower = _Span(max(-high, Decimal(0)), -low, below and high <= 0, above, places)
        alternatives += [f'"-" {any_of(found)}' for found in [lower.numbers()] if found]
    if high >= 0:
        upper = _Span(max(low, Decimal(0)), high, above and low >= 0, below, places)
        alternatives += upper.numbers()
    return any_of(alternatives) if alternatives else None


def _parts(value: Decimal) -> tuple[int, str]:
    """The whole part of a number and its fraction's digits, without zeros at their end."""
    whole, _, fraction = f"{value:f}".partition(".")
    return int(whole), fraction.rstrip("0")


@dataclass(frozen=True, slots=True)
class _Span:
    """The decimal numbers without a sign between two bounds.

    A decimal is held digit by digit. Rounding to a double keeps the order of numbers, so a text
    within closed bounds is a double within them.

    Attributes:
        low: The lower bound.
        high: The upper bound.
        above: The lower bound itself is left out.
        below: The upper bound itself is left out.
        places: Digits behind the point at most.
    """

    low: Decimal
    high: Decimal
    above: bool
    below: bool
    places: int

    def numbers(self) -> list[str]:
        """Alternatives for the numbers; none if there are none."""
        if self.low > self.high:
            return []
        (first, low), (last, high) = _parts(self.low), _parts(self.high)
        if first == last:
            return self._with_fraction([literal(str(first))], low, high)
        return [
            *self._with_fraction([literal(str(first))], low, None),
            *self._with_fraction(_digits(first + 1, last - 1), None, None),
            *self._with_fraction([literal(str(last))], None, high),
        ]

    def _with_fraction(self, wholes: list[str], low: str | None, high: str | None) -> list[str]:
        digits = self._further(low, high, self.places)
        fraction = f'"." {any_of(digits)}' if digits else ""
        if not wholes or not (fraction or self._may_end(low, high)):
            return []
        if fraction and self._may_end(low, high):
            fraction = f"({fraction})?"
        return [in_order((any_of(wholes), fraction))]

    def _may_end(self, low: str | None, high: str | None) -> bool:
        """Whether nothing but zeros may follow: `low` and `high` are what the bounds go on with."""
        enough = low is None or not (low or self.above)
        return enough and (high is None or bool(high) or not self.below)

    def _further(self, low: str | None, high: str | None, places: int) -> list[str]:
        """Alternatives for one digit or more that stay within the bounds' own next digits."""
        if places == 0 or (high == "" and (self.below or low)):
            return []
        if high is None and (low is None or (low == "" and not self.above)):
            return [repeated("[0-9]", 1, places)]
        if low is None and high == "":
            return [repeated('"0"', 1, places)]
        if low == "" and high is None:  # more than zeros
            half = places // 2
            return [f'"0"{{0,{half}}} [1-9] [0-9]{{0,{half}}}']
        least = int(low[:1] or "0") if low is not None else 0
        most = int(high[:1] or "0") if high is not None else 9
        found: list[str] = []
        for first, last in _edges(least, most, low is not None, high is not None):
            below = low[1:] if low is not None and first == least else None
            top = high[1:] if high is not None and last == most else None
            digit = literal(str(first)) if first == last else f"[{first}-{last}]"
            rest = self._further(below, top, places - 1)
            if self._may_end(below, top):
                found.append(f"{digit} ({any_of(rest)})?" if rest else digit)
            elif rest:
                found.append(f"{digit} {any_of(rest)}")
        return found


def _edges(least: int, most: int, held_below: bool, held_above: bool) -> Iterator[tuple[int, int]]:
    """Ranges of digits that go on alike: the one at each bound alone, those between together."""
    if least > most:
        return
    if least == most and (held_below or held_above):
        yield least, most
        return
    start, end = least + held_below, most - held_above
    if held_below:
        yield least, least
    if start <= end:
        yield start, end
    if held_above:
        yield most, most
