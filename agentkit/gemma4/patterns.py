r"""Simple regular expressions → EBNF, so that a decoder can obey `pattern`.

Translated are literals, classes, groups, alternatives, counts, and anchors at the ends. What
looks around, refers back or changes modes is not, and stays with validation. Every translation is
sound: whatever it accepts matches the pattern, in Python's dialect and in ECMA's, but for counts
that are left open (`Translation.exact`). It may accept less: `\d` and `\w` mean ASCII.

A class may hold a `<`, with which a control literal begins. Where texts of such a class have no
end, they become text that spells none (`free_text`); where they have one, or where what
follows could complete a literal that they began, the pattern stays with validation, so that it
never keeps a `<` out of a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from agentkit.gemma4.ebnf import (
    ESSENTIAL,
    RISKY,
    Filled,
    Ranges,
    Rules,
    any_of,
    character_class,
    free_text,
    in_order,
    literal,
    repeated,
    without,
)

_LESS: Final = ord("<")
_MAX_COUNT: Final = 2_000
_SHORT: Final = 8
"""Counts of wide classes that are spelled out. Each costs a pass over the vocabulary when it is
compiled, and masks that try every token longer than what is left of the count."""
_NARROW: Final = 22
"""Characters of a class whose counts are always spelled out: digits and hexadecimal ones, of which
few tokens are made."""
_FEW: Final = 64
"""Characters that a class of nearly all characters may leave out, one by one."""
_DIGIT: Final = ((0x30, 0x39),)
_WORD: Final = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Final = ((0x09, 0x0A), (0x0D, 0x0D), (0x20, 0x20))
_CLASSES: Final = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_COUNT: Final = re.compile(r"([0-9]{1,9})(,?)([0-9]{0,9})")
_HEX: Final = re.compile("[0-9a-fA-F]{2}|[0-9a-fA-F]{4}")
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Translation:
    """An expression and the lengths of the texts it accepts, in characters.

    Attributes:
        ebnf: The expression, as far as it does not depend on what follows it: see `before`.
        low: The shortest text.
        high: The longest, or None without end.
        loops: How many counts without end it holds, each over single characters; a higher number
            than that stands for one that cannot be bounded.
        exact: Whether all counts are held; else some long ones have no upper end.
        ranges: The characters, where it is a single one from a class.
        less: Whether it may end in what begins a control literal.
        first: Characters of control literals (`RISKY`) that it may begin with.
        risky: All of those that it may hold.
        ends: What follows it → both; None where that is one after the other. The end of a text of
            a least length depends on what follows it (`Filled`).
    """

    ebnf: str
    low: int
    high: int | None
    loops: int = 0
    exact: bool = True
    ranges: Ranges = ()
    less: bool = False
    first: frozenset[str] = frozenset()
    risky: frozenset[str] = frozenset()
    ends: Callable[[str], str] | None = None

    def before(self, closing: str) -> str:
        """The expression with what follows it."""
        return in_order((self.ebnf, closing)) if self.ends is None else self.ends(closing)


class _UntranslatableError(Exception):
    """The pattern holds something that has no translation."""


def translate(
    pattern: str, rules: Rules, low: int = 0, high: int | None = None
) -> Translation | None:
    """An expression for the texts that match a pattern and have a length in bounds.

    Args:
        pattern: The regular expression, searched for as JSON Schema does.
        rules: Where long counts get a rule of their own.
        low: The least length wanted.
        high: The greatest length wanted, or None.

    Returns:
        None if the pattern has no translation. The translation's own `low` and `high` show whether
        the lengths are kept.
    """
    try:
        free = _Parser(pattern, rules, 0, None).whole()
        short_enough = high is None or (free.high is not None and free.high <= high)
        fits = free.low >= low and short_enough
        if fits or free.loops != 1 or (high is not None and free.low > high):
            return free
        more = max(low - free.low, 0)
        room = None if high is None else high - free.low
        return _Parser(pattern, rules, more, room).whole()
    except (_UntranslatableError, RecursionError):  # groups may be nested without end
        return None


class _Parser:
    """Recursive descent over one pattern.

    Args:
        pattern: The regular expression.
        rules: Where long counts get a rule of their own.
        more: Added to the least count of the one loop there is.
        room: What replaces its missing greatest count, beyond its least; None leaves it open.
    """

    def __init__(self, pattern: str, rules: Rules, more: int, room: int | None) -> None:
        self._text = pattern
        self._rules = rules
        self._at = 0
        self._more = more
        self._room = room

    def whole(self) -> Translation:
        branches = [self._anchored()]
        while self._taken("|"):
            branches.append(self._anchored())
        if self._at < len(self._text):
            raise _UntranslatableError
        return _either(branches)

    def _anchored(self) -> Translation:
        """One branch at the top, with the text around it that a search allows."""
        start = self._taken("^")
        parts = self._sequence()
        end = self._taken("$")
        loose = Translation(free_text(self._rules), 0, None, 2, less=True, first=RISKY, risky=RISKY)
        before = [] if start else [loose]
        return _row([*before, *parts, *([] if end else [loose])])

    def _alternatives(self) -> Translation:
        branches = [_row(self._sequence())]
        while self._taken("|"):
            branches.append(_row(self._sequence()))
        return _either(branches)

    def _sequence(self) -> list[Translation]:
        parts: list[Translation] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)$":
            parts.append(self._quantified(self._atom()))
        return parts

    def _quantified(self, atom: Translation) -> Translation:
        low, high = 1, 1
        mark = self._peek()
        if mark and mark in "*+?":
            self._at += 1
            low, high = {"*": (0, -1), "+": (1, -1), "?": (0, 1)}[mark]
        elif mark == "{":
            low, high = self._braces()
        else:
            return atom
        if self._taken("?"):  # lazy or not, the same texts match
            pass
        if self._peek() in ("+", "*", "{"):
            raise _UntranslatableError
        return self._counted(atom, low, None if high < 0 else high)

    def _counted(self, atom: Translation, low: int, high: int | None) -> Translation:
        if max(low, high or 0) > _MAX_COUNT:
            raise _UntranslatableError
        loops = atom.loops
        if high is None:
            single = (atom.low, atom.high) == (1, 1)
            loops += 1 if single else 2
            if single and (self._more or self._room is not None):
                high = None if self._room is None else low + self._room
                low += self._more
        elif atom.loops and high != 1:
            loops += 2
        longest = None if high is None or atom.high is None else atom.high * high
        longest = 0 if high == 0 else longest
        if atom.ends is not None:
            return _perhaps(atom, low, high)
        if atom.less and atom.risky >= ESSENTIAL and high not in (0, 1):
            return self._wide(atom, low, high, loops)
        ebnf, exact = self._repeated(atom, low, high)
        return replace(
            atom,
            ebnf=ebnf,
            low=atom.low * low,
            high=longest,
            loops=loops,
            exact=atom.exact and exact,
            ranges=(),
        )

    def _repeated(self, atom: Translation, low: int, high: int | None) -> tuple[str, bool]:
        """A repetition, and whether it holds its count."""
        if high in (0, 1):
            return repeated(atom.ebnf, low, high), True
        wide = sum(last - first + 1 for first, last in atom.ranges) > _NARROW
        if high is None or high - low <= _SHORT or not wide:
            return repeated(atom.ebnf, low, high), True
        return in_order((repeated(atom.ebnf, low, low) if low else "", f"{atom.ebnf}*")), False

    def _wide(self, atom: Translation, low: int, high: int | None, loops: int) -> Translation:
        """A repetition of a class that could spell a control literal: text that spells none.

        Raises:
            _UntranslatableError: The class leaves out more characters than can be listed, or it
                is a group.
        """
        left_out = [
            code for first, last in without(atom.ranges) for code in range(first, last + 1)[:_FEW]
        ]
        if not atom.ranges or len(left_out) >= _FEW:
            raise _UntranslatableError
        characters = "".join(map(chr, left_out))
        text = free_text(self._rules, characters)
        held = min(low, 1)

        def filled(closing: str) -> str:
            return Filled(self._rules, "", text, closing, characters).text(held)

        return replace(
            atom,
            ebnf=text,
            low=held,
            high=high,
            loops=loops,
            exact=high is None and low <= 1,
            ranges=(),
            ends=filled if held else None,
        )

    def _braces(self) -> tuple[int, int]:
        end = self._text.find("}", self._at)
        inside = self._text[self._at + 1 : end] if end > 0 else ""
        count = _COUNT.fullmatch(inside)
        if count is None:
            raise _UntranslatableError
        self._at = end + 1
        least, comma, most = int(count[1]), count[2], count[3]
        if not comma:
            return least, least
        return least, int(most) if most else -1

    # --- atoms -----------------------------------------------------------------------------------

    def _atom(self) -> Translation:
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == ".":
            return _one(without(((10, 10),)))
        if character == "\\":
            return self._escape()
        if character in "^*+?{":
            raise _UntranslatableError
        return _plain(character)

    def _group(self) -> Translation:
        if self._taken("?") and not self._taken(":"):
            raise _UntranslatableError
        inner = self._alternatives()
        if not self._taken(")"):
            raise _UntranslatableError
        return replace(inner, ebnf=f"({inner.ebnf})")

    def _escape(self) -> Translation:
        character = self._next()
        if character in _CLASSES:
            return _one(_CLASSES[character])
        if character.lower() in _CLASSES:
            return _one(without(_CLASSES[character.lower()]))
        return _plain(self._escaped(character))

    def _escaped(self, character: str) -> str:
        """The character that an escape stands for."""
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character in "xu":
            digits = self._text[self._at : self._at + (2 if character == "x" else 4)]
            self._at += len(digits)
            if not _HEX.fullmatch(digits):
                raise _UntranslatableError
            return chr(int(digits, 16))
        if character.isalnum():
            raise _UntranslatableError
        return character

    def _class(self) -> Translation:
        negated = self._taken("^")
        ranges: list[tuple[int, int]] = []
        while not (self._peek() == "]" and ranges):
            low = self._class_member()
            if isinstance(low, tuple):
                ranges += low
            elif self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._class_member()
                if isinstance(high, tuple) or high < low:
                    raise _UntranslatableError
                ranges.append((low, high))
            else:
                ranges.append((low, low))
        self._at += 1
        return _one(without(ranges) if negated else ranges)

    def _class_member(self) -> int | tuple[tuple[int, int], ...]:
        character = self._next()
        if character == "[":  # a set operation in some dialects
            raise _UntranslatableError
        if character != "\\":
            return ord(character)
        escaped = self._next()
        if escaped in _CLASSES:
            return _CLASSES[escaped]
        if escaped == "b" or escaped.lower() in _CLASSES:
            raise _UntranslatableError
        return ord(self._escaped(escaped))

    # --- the text --------------------------------------------------------------------------------

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._peek()
        if not character:
            raise _UntranslatableError
        self._at += 1
        return character

    def _taken(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._at += 1
        return True


def _one(ranges: Ranges) -> Translation:
    """One character of a class."""
    codes = {ord(letter): letter for letter in RISKY}
    held = frozenset(
        letter for code, letter in codes.items() if any(a <= code <= b for a, b in ranges)
    )
    less = any(low <= _LESS <= high for low, high in ranges)
    return Translation(
        character_class(ranges), 1, 1, ranges=ranges, less=less, first=held, risky=held
    )


def _perhaps(atom: Translation, low: int, high: int | None) -> Translation:
    """A group whose end depends on what follows it, once or not at all.

    Raises:
        _UntranslatableError: It may come more often.
    """
    if (low, high) == (1, 1):
        return atom
    if high != 1:
        raise _UntranslatableError

    def ends(closing: str) -> str:
        return any_of((atom.before(closing), closing or '""'))

    return replace(atom, low=0, ends=ends, ranges=())


def _plain(character: str) -> Translation:
    code = ord(character)
    return replace(_one(((code, code),)), ebnf=literal(character))


def _row(parts: list[Translation]) -> Translation:
    """One after the other.

    Raises:
        _UntranslatableError: A control literal could begin in one part and end in the next ones.
    """
    for index, part in enumerate(parts):
        if part.less and ">" in _reached(parts[index + 1 :]):
            raise _UntranslatableError
    highs = [part.high for part in parts]
    bounded = [high for high in highs if high is not None]

    def ends(closing: str) -> str:
        for part in reversed(parts):
            closing = part.before(closing)
        return closing

    return Translation(
        in_order(part.ebnf for part in parts),
        sum(part.low for part in parts),
        sum(bounded) if len(bounded) == len(highs) else None,
        sum(part.loops for part in parts),
        exact=all(part.exact for part in parts),
        less=any(p.less and not any(map(_breaks, parts[at + 1 :])) for at, p in enumerate(parts)),
        first=_first(parts),
        risky=frozenset().union(*(part.risky for part in parts)),
        ends=ends if any(part.ends for part in parts) else None,
    )


def _first(parts: list[Translation]) -> frozenset[str]:
    """Risky characters that a row may begin with."""
    found: frozenset[str] = frozenset()
    for part in parts:
        found |= part.first
        if part.low:
            break
    return found


def _breaks(part: Translation) -> bool:
    """Whether a literal that is half written cannot go on here: another character must come."""
    return part.low > 0 and not part.first


def _reached(parts: list[Translation]) -> frozenset[str]:
    """Risky characters that may be written before one comes that breaks any literal."""
    found: frozenset[str] = frozenset()
    for part in parts:
        if _breaks(part):
            break
        if part.first:
            found |= part.risky
    return found


def _either(branches: list[Translation]) -> Translation:
    if len(branches) == 1:
        return branches[0]

    def ends(closing: str) -> str:
        return any_of(branch.before(closing) for branch in branches)

    highs = [branch.high for branch in branches]
    bounded = [high for high in highs if high is not None]
    return Translation(
        any_of(branch.ebnf for branch in branches),
        min(branch.low for branch in branches),
        max(bounded) if len(bounded) == len(highs) else None,
        # A loop in one of several branches cannot be bounded by the lengths of all of them.
        2 * sum(branch.loops for branch in branches),
        exact=all(branch.exact for branch in branches),
        less=any(branch.less for branch in branches),
        first=frozenset().union(*(branch.first for branch in branches)),
        risky=frozenset().union(*(branch.risky for branch in branches)),
        ends=ends if any(branch.ends for branch in branches) else None,
    )
