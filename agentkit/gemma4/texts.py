"""Grammars of strings and keys: any text, bounded texts, known formats, keys of free dicts.

No string may hold a control literal. Of any text that is exact (`TagDispatch`, an automaton); of a
bounded text it is a little more than that, for the price of compiling: see `PLAIN_TEXT`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from agentkit.gemma4.ebnf import any_of, character_class, in_order, literal, repeated
from agentkit.gemma4.tokens import CONTROL_LITERALS

__all__ = [
    "ANY_TEXT",
    "COUNTED",
    "FORMATS",
    "FREE_KEY",
    "MAX_KEY",
    "PLAIN_TEXT",
    "at_most",
    "beginnings",
    "listed",
    "other_than",
    "stands_bare",
]

COUNTED: Final = 4
"""Longest least length that is counted character by character: each costs a pass over the
model's vocabulary when the grammar is compiled."""
PLAIN_TEXT: Final = '([^<] | "<"+ [^<|acimpetubv])* "<"*'
"""A bounded text: `<` may not come before what a control literal has in its second place. The
exact form (`TagDispatch`) costs forty times as much to compile once it has a length."""
_TOLD_APART: Final = 2
"""Characters at the start of a text that are compared with those of the control literals: each
more would double the cost, and `<t` followed by anything but `o` or `u` is told apart already."""
_NO_KEY: Final = ',:={}[]"<>|'
"""What ends or quotes a key in the native syntax, where keys stand bare."""
_IN_KEY: Final = character_class([*((ord(c), ord(c)) for c in _NO_KEY), (0, 0x20)], negated=True)
FREE_KEY: Final = f'{_IN_KEY} ({_IN_KEY} | " " {_IN_KEY})*'
MAX_KEY: Final = 64
"""A key of a free dict and its length: single spaces inside, none at its ends."""

ANY_TEXT: Final = (
    "TagDispatch(loop_after_dispatch=false, "
    f"excludes=({', '.join(literal(text) for text in CONTROL_LITERALS)}))"
)
"""Any text without a control literal: an automaton of xgrammar's that ends anywhere."""
_DAY: Final = (
    '((("0" [13578] | "1" [02]) "-" ("0" [1-9] | [12] [0-9] | "3" [01]))'
    ' | (("0" [469] | "11") "-" ("0" [1-9] | [12] [0-9] | "30"))'
    ' | ("02-" ("0" [1-9] | "1" [0-9] | "2" [0-8])))'
)
_CLOCK: Final = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})?'
_ZONE: Final = '("Z" | [+\\-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])'
_BYTE: Final = '("25" [0-5] | "2" [0-4] [0-9] | "1" [0-9] [0-9] | [1-9] [0-9] | [0-9])'
_HEX: Final = "[0-9a-f]"
_DATE: Final = f'[1-9] [0-9]{{3}} "-" {_DAY}'
FORMATS: Final[Mapping[str, str]] = {
    "date": _DATE,
    "time": f"{_CLOCK} {_ZONE}",
    "date-time": f'{_DATE} "T" {_CLOCK} {_ZONE}',
    "uuid": f'{_HEX}{{8}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{12}}',
    "ipv4": f'{_BYTE} "." {_BYTE} "." {_BYTE} "." {_BYTE}',
}
"""Formats of RFC 3339, RFC 4122 and RFC 2673 as grammars. The 29th of February is left out: a
decoder would have to count leap years."""


def at_most(count: int) -> str:
    """The attribute of a rule that ends after so many characters (xgrammar 0.2)."""
    return f"[max_chars={count}]"


def listed(item: str, low: int, high: int | None) -> str:
    """Items with commas between them."""
    if high == 0:
        return ""
    more = repeated(f'"," {item}', max(low - 1, 0), None if high is None else high - 1)
    body = in_order((item, more))
    return body if low else f"({body})?"


def beginnings() -> tuple[list[str], list[str]]:
    """How a text may begin that begins with no control literal; see `_not_starting`."""
    return _not_starting(sorted(set(CONTROL_LITERALS)))


def _not_starting(literals: list[str]) -> tuple[list[str], list[str]]:
    """How a text may begin that begins with no control literal.

    Returns:
        Beginnings behind which any text may follow, and texts that are whole. Beginnings that
        share more than `_TOLD_APART` characters with a literal are left out.
    """
    starts: list[str] = []
    whole: list[str] = []
    prefixes = {text[:length] for text in literals for length in range(_TOLD_APART + 1)} - {"<|"}
    for prefix in sorted(prefixes - set(literals)):
        following = {text[len(prefix)] for text in literals if text.startswith(prefix)}
        ranges = [(ord(c), ord(c)) for c in sorted(following | {"<"})]
        lead = f"{literal(prefix)} " if prefix else ""
        starts.append(f"{lead}{character_class(ranges, negated=True)}")
        whole += [literal(prefix)] if prefix else []
    return starts, whole


def other_than(names: list[str]) -> str:
    """A key that is none of the given names."""
    rest = f"{_IN_KEY}{{0,40}}"
    known = {character for name in names for character in name[:1]}
    excluded = [(ord(c), ord(c)) for c in sorted(known)] + [(ord(c), ord(c)) for c in _NO_KEY]
    other = f"{character_class([*excluded, (0, 0x20)], negated=True)} {rest}"
    alternatives = [other]
    for character in sorted(known):
        tails = [name[1:] for name in names if name[:1] == character]
        longer = other_than([tail for tail in tails if tail])
        body = longer if "" in tails else f"({longer})?"
        alternatives.append(f"{literal(character)} {body}")
    return any_of(alternatives)


_CLASS: Final = re.compile(r"\[(\^?)((?:[^\]])*)\]")
_MEMBER: Final = re.compile(
    r"(\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|.)(?:-(\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|.))?"
)
_LITERAL: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')


def stands_bare(ebnf: str) -> bool:
    """Whether an expression of ours writes only characters that a bare key may hold."""
    unsafe = {*map(ord, _NO_KEY), *range(0x21)}
    texts = _LITERAL.findall(ebnf)
    classes = _CLASS.findall(_LITERAL.sub("", ebnf))
    if any(negated for negated, _ in classes) or any(_NO_KEY_TEXT.search(text) for text in texts):
        return False
    members = (found for _, inside in classes for found in _MEMBER.findall(inside))
    spans = ((_code(low), _code(high or low)) for low, high in members)
    return not any(low <= code <= high for low, high in spans for code in unsafe)


_NO_KEY_TEXT: Final = re.compile(rf"[{re.escape(_NO_KEY)}\\\s]")


def _code(member: str) -> int:
    return int(member[2:], 16) if len(member) > 1 else ord(member)
