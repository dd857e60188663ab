"""Numbers between bounds: what a node of a schema says of them, and their EBNF.

In: a node, or two bounds. Out: the bounds that all its keywords come to, and an expression for the
numbers between two bounds, held digit by digit. An expression never reaches beyond its bounds.
Bounds that a grammar cannot hold (`can_hold`) are left to validation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from agentkit.gemma4.ebnf import any_of, in_order, literal, repeated
from agentkit.schema.nodes import Node

MAX_DIGITS: Final = 19
"""Digits of a number whose size nothing limits: enough for a 64-bit identifier, and an end to a
model that writes digits for ever."""
_LONGEST_BOUND: Final = 10**100
"""What is too large for a bound: a rule is made for each of its digits, one inside the other."""
_FRACTION: Final = 17
"""Digits behind the point: what it takes to write any double."""
_OPEN_FRACTION: Final = 9
"""Digits behind the point beside an open bound: with more of them a number just above 5 would be
read as the double 5.0."""
_MAX_OPEN: Final = 1_000_000
_EXACT_DIGITS: Final = 15
"""Digits that a number beyond `_MAX_OPEN` may have beside an open bound: any two such numbers are
different doubles."""
_ENUMERABLE: Final = 400
"""Most multiples spelled out one by one."""


def _numbers(node: Node, keyword: str) -> list[float]:
    values = (fact.value for fact in node.all(keyword))
    return [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]


def strictest(
    node: Node, inclusive: str, exclusive: str, pick: Callable[[list[float]], float]
) -> tuple[float | None, bool]:
    """A bound and whether it is left out itself; draft 4 writes that as a flag beside it."""
    flagged = any(fact.value is True for fact in node.all(exclusive))
    closed, opened = _numbers(node, inclusive), _numbers(node, exclusive)
    if flagged:
        closed, opened = [], closed
    if not closed and not opened:
        return None, False
    bound = pick([*closed, *opened])
    return bound, bound in opened


def whole_bounds(node: Node) -> tuple[int | None, int | None]:
    """The least and the greatest integer a node allows."""
    low, above = strictest(node, "minimum", "exclusiveMinimum", max)
    high, below = strictest(node, "maximum", "exclusiveMaximum", min)
    least = None if low is None else math.floor(low) + 1 if above else math.ceil(low)
    most = None if high is None else math.ceil(high) - 1 if below else math.floor(high)
    return least, most


def multiples(low: int | None, high: int | None, steps: list[Any]) -> list[int] | None:
    """The multiples between two bounds, if they are few and whole."""
    whole = [int(s) for s in steps if isinstance(s, int | float) and s > 0 and s == math.floor(s)]
    if not steps or len(whole) != len(steps) or low is None or high is None:
        return None
    step = math.lcm(*whole)
    first = -(-low // step) * step
    if (high - first) // step > _ENUMERABLE:
        return None
    return list(range(first, high + 1, step))


def lengths(node: Node, least: str, most: str) -> tuple[int, int | None]:
    """The bounds that two counting keywords set; None where nothing ends the count."""
    lows, highs = _numbers(node, least), _numbers(node, most)
    return int(max(lows, default=0)), int(min(highs)) if highs else None


# --- as EBNF -------------------------------------------------------------------------------------


def can_hold(low: Decimal | None, high: Decimal | None, *, is_open: bool = False) -> bool:
    """Whether a grammar can hold the numbers between two bounds.

    Args:
        low: The lower bound, or None.
        high: The upper bound, or None.
        is_open: A bound itself is left out.
    """
    bounds = [bound.copy_abs() for bound in (low, high) if bound is not None]
    greatest = max(bounds, default=Decimal(0))
    if greatest >= _LONGEST_BOUND:
        return False
    places = _places(greatest, is_open=is_open)
    return all(len(_parts(bound)[1]) <= places for bound in bounds)


def _places(greatest: Decimal, *, is_open: bool) -> int:
    """Digits behind the point that numbers up to a bound may have; below 0 where none will do."""
    if not is_open:
        return _FRACTION
    if greatest <= _MAX_OPEN:
        return _OPEN_FRACTION
    return _EXACT_DIGITS - len(str(_parts(greatest)[0]))


def _far(bound: int) -> int:
    """Where numbers end on the side that has no bound, given the bound of the other side."""
    most: int = 10**MAX_DIGITS - 1
    return most if abs(bound) <= most else 10 * abs(bound)


def integer(low: int | None, high: int | None) -> str | None:
    """An integer between two bounds, both included; None if there is none.

    Sizes without a bound end at `MAX_DIGITS` digits, or behind a longer bound of the other side.
    """
    low, high = (-_far(high or 0) if low is None else low, _far(low or 0) if high is None else high)
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
    """A number between two bounds; None if there is none.

    Args:
        low: The lower bound, or None.
        high: The upper bound, or None.
        above: The lower bound itself is left out.
        below: The upper bound itself is left out.

    Raises:
        ValueError: A grammar cannot hold the bounds.
    """
    if not can_hold(low, high, is_open=above or below):
        raise ValueError(f"no grammar holds the numbers between {low} and {high}")
    if low is None and high is None:
        whole = any_of(['"0"', f"[1-9] {repeated('[0-9]', 0, MAX_DIGITS - 1)}"])
        exponent = "([eE] [+\\-]? [0-9] [0-9]?)?"
        return f'"-"? {whole} ("." [0-9]{{1,{_FRACTION}}})? {exponent}'
    # Not `abs(…)` and `-…`: these round a Decimal to 28 digits.
    greatest = max(bound.copy_abs() for bound in (low, high) if bound is not None)
    places = _places(greatest, is_open=above or below)
    far = Decimal(_far(int(greatest)))
    low, high = far.copy_negate() if low is None else low, far if high is None else high
    alternatives: list[str] = []
    if low < 0:
        nearest = max(high.copy_negate(), Decimal(0))
        lower = _Span(nearest, low.copy_negate(), below and high <= 0, above, places)
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
