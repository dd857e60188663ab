"""Pieces of EBNF in xgrammar's dialect: literals, character classes, numbers in a range.

The dialect is that of xgrammar 0.2 (its `docs/tutorials/ebnf_grammar` page): `name ::= …`,
quoted literals, `[a-z]`, `(a | b)`, `{m,n}`, and `TagDispatch(excludes=…)` for text that must not
contain certain strings. Every function returns an expression that can stand in a sequence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

__all__ = [
    "MAX_DIGITS",
    "Rules",
    "any_of",
    "character_class",
    "in_order",
    "integer",
    "literal",
    "number",
    "repeated",
]

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
        name = f"r{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"
        self.lines[name] = f"{name}{text}"
        return name


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


def character_class(ranges: Iterable[tuple[int, int]], *, negated: bool = False) -> str:
    """One character from (or not from) the given ranges of code points."""
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


def number(low: int | None, high: int | None, *, above: bool, below: bool) -> str | None:
    """A number between two whole bounds; None if the grammar cannot hold them.

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
    if (above or below) and max(map(abs, bounds)) > _MAX_OPEN:
        return None
    places = _OPEN_FRACTION if above or below else _FRACTION
    most = 10**MAX_DIGITS - 1
    upper = _natural(
        max(low or 0, 0),
        most if high is None else high,
        places,
        above=above and low is not None and low >= 0,
        below=below and high is not None,
    )
    if high is not None and high < 0:
        upper = []
    lower: list[str] = []
    if low is None or low < 0:
        top = max(-high, 0) if high is not None else 0
        lower = _natural(
            top,
            most if low is None else -low,
            places,
            above=below and high is not None and high <= 0,
            below=above and low is not None,
        )
    alternatives = [*(f'"-" {any_of(lower)}' for _ in lower[:1]), *upper]
    return any_of(alternatives) if alternatives else None


def _natural(low: int, high: int, places: int, *, above: bool, below: bool) -> list[str]:
    """Alternatives for the numbers without a sign between two natural numbers."""
    if low > high:
        return []
    zeros = f'("." "0"{{1,{places}}})?'
    half = places // 2
    some = f'"." "0"{{0,{half}}} [1-9] [0-9]{{0,{half}}}'  # not all zeros
    if low == high:
        return [] if above or below else [f"{literal(str(low))} {zeros}"]
    alternatives = []
    start = low
    if above:
        alternatives.append(f"{literal(str(low))} {some}")
        start = low + 1
    if start <= high - 1:
        whole = any_of(_digits(start, high - 1))
        alternatives.append(f'{whole} ("." [0-9]{{1,{places}}})?')
    if not below:
        alternatives.append(f"{literal(str(high))} {zeros}")
    return alternatives
