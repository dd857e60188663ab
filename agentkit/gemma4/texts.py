"""Grammars of strings and keys: any text, bounded texts, known formats, keys of free dicts.

No string may hold a control literal. Of any text that is exact (`TagDispatch`, an automaton); of a
bounded text it is a little more than that, for the price of compiling: see `PLAIN_TEXT`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from agentkit.gemma4.ebnf import (
    Rules,
    any_of,
    character_class,
    in_order,
    literal,
    repeated,
    without,
)
from agentkit.gemma4.tokens import CALL_CLOSE, CHANNEL_CLOSE, QUOTE

Ranges: TypeAlias = Sequence[tuple[int, int]]
"""Code points, first and last of each range."""


EXCLUDED: Final = (QUOTE, CALL_CLOSE, CHANNEL_CLOSE)
"""What no text may spell: the literals that end something for whoever reads a call. The quote ends
the text. `<tool_call|>` ends the call for vLLM's own parser, in a text or not (`parser/gemma4.py` of
vLLM 0.32, state TOOL_ARGS), so a server without token ids, and a client that takes the server's
word, would cut the call there. `<channel|>` ends the thought for vLLM 0.32's engine wherever it
comes: it then rejects the token and answers 500 (seen with random weights). No other control literal means anything to a
reader inside a call, and what is sent back to the model is escaped (`agentkit.gemma4.escape`).
Each further literal costs a bounded text some 0.15 s of compiling."""
ANY_TEXT: Final = (
    "TagDispatch(loop_after_dispatch=false, "
    f"excludes=({', '.join(literal(text) for text in EXCLUDED)}))"
)
"""Any text that spells none of `EXCLUDED`: an automaton of xgrammar's that may end anywhere."""
EXACT: Final = 3
"""Longest least length that is counted whatever the text holds."""
COUNTED: Final = 8
"""Longest least length that is counted at all: each character costs a pass over the vocabulary."""
_ROOM: Final = 64
"""Characters between a text's greatest length and the bound of its rule: twice the longest token
of Gemma's vocabulary that is written in practice (31 spaces). See `bound_above`."""
_LEAST_BOUND: Final = 128
_MOST_BOUND: Final = 16_384
_NO_KEY: Final = ',:={}[]"<>|'
"""What ends or quotes a key in the native syntax, where keys stand bare."""
_IN_KEY: Final = character_class([*((ord(c), ord(c)) for c in _NO_KEY), (0, 0x20)], negated=True)
_SPACED: Final = character_class([*((ord(c), ord(c)) for c in _NO_KEY), (0, 0x1F)], negated=True)
FREE_KEY: Final = f"{_IN_KEY} {_SPACED}*"
"""A key of a free dict. Its length is not bounded: a bound on a rule inside a recursion puts
everything under it on the slow path of the compiler (4.4 s instead of 0.1)."""
_DAY: Final = (
    '((("0" [13578] | "1" [02]) "-" ("0" [1-9] | [12] [0-9] | "3" [01]))'
    ' | (("0" [469] | "11") "-" ("0" [1-9] | [12] [0-9] | "30"))'
    ' | ("02-" ("0" [1-9] | "1" [0-9] | "2" [0-8])))'
)
_CLOCK: Final = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})?'
_ZONE: Final = '("Z" | [+\\-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])'
_BYTE: Final = '("25" [0-5] | "2" [0-4] [0-9] | "1" [0-9] [0-9] | [1-9] [0-9] | [0-9])'
_HEX: Final = "[0-9a-f]"
_H16: Final = "[0-9a-fA-F]{1,4}"
_MORE_H16: Final = f'":" {_H16}'
_IPV6: Final = any_of(
    [
        f"{_H16} ({_MORE_H16}){{7}}",
        *(
            in_order(
                (
                    in_order((_H16, repeated(_MORE_H16, left - 1, left - 1))) if left else "",
                    '"::"',
                    f"({in_order((_H16, repeated(_MORE_H16, 0, 6 - left)))})?" if left < 7 else "",
                )
            )
            for left in range(8)
        ),
    ]
)
_ALNUM: Final = "[a-zA-Z0-9]"
_LABEL: Final = f'{_ALNUM} {_ALNUM}* ("-" "-"* {_ALNUM} {_ALNUM}*)*'
_HOST: Final = f'{_LABEL} ("." {_LABEL})*'
_ATOM: Final = "[a-zA-Z0-9!#$%&'*+/=?_`{}~^\\-]"
_WORD: Final = f"{_ATOM} {_ATOM}*"
_COUNT: Final = "[0-9] [0-9]{0,8}"
_CLOCK_PART: Final = (
    f'"T" ({_COUNT} "H" ({_COUNT} "M" ({_COUNT} "S")?)?'
    f' | {_COUNT} "M" ({_COUNT} "S")? | {_COUNT} "S")'
)
_DAYS_PART: Final = (
    f'({_COUNT} "Y" ({_COUNT} "M" ({_COUNT} "D")?)? | {_COUNT} "M" ({_COUNT} "D")? | {_COUNT} "D")'
)
_DATE: Final = f'[1-9] [0-9]{{3}} "-" {_DAY}'
FORMATS: Final[Mapping[str, str]] = {
    "date": _DATE,
    "time": f"{_CLOCK} {_ZONE}",
    "date-time": f'{_DATE} "T" {_CLOCK} {_ZONE}',
    "uuid": f'{_HEX}{{8}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{4}} "-" {_HEX}{{12}}',
    "ipv6": _IPV6,
    "hostname": _HOST,
    "email": f'{_WORD} ("." {_WORD})* "@" {_HOST} "." [a-zA-Z]{{2,24}}',
    "duration": f'"P" ({_DAYS_PART} ({_CLOCK_PART})? | {_CLOCK_PART} | {_COUNT} "W")',
    "ipv4": f'{_BYTE} "." {_BYTE} "." {_BYTE} "." {_BYTE}',
}
"""Formats of RFC 3339, RFC 4122, RFC 2673, RFC 4291, RFC 1123 and RFC 5322 as grammars. The 29th of
February is left out: a decoder would have to count leap years. An IPv6 address ends in groups, not
in an IPv4 address. Quoted local parts of an email are left out."""
LOOSE_FORMATS: Final[Mapping[str, str]] = {
    "hostname": "but for the length of its labels (63 characters)",
}
"""Formats whose grammar is wider than they are → how far it holds."""


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


def bound_above(length: int) -> int | None:
    """The bound that the rule of a text of at most `length` characters gets; None for none.

    A power of two well above the length, so that few bounds serve all texts, and so that a text
    of the right length never comes near it: within the longest token's length of a bound xgrammar
    tries every token of the vocabulary by itself (2 to 60 ms a step). What lies between the
    length and the bound is left to validation.
    """
    bound = _LEAST_BOUND
    while bound < length + _ROOM:
        bound *= 2
    return bound if bound <= _MOST_BOUND else None


# --- texts of a least length, texts of some characters --------------------------------------------
# An automaton (Aho and Corasick's) over the excluded literals, one rule for each of its states and
# each number of characters still owed. State: the longest beginning of an excluded literal that the
# text so far ends in. The rules of all tools are the same ones, and so are compiled once.

_STATES: Final = sorted(
    {text[:length] for text in EXCLUDED for length in range(len(text))}, key=lambda s: (len(s), s)
)
_LETTERS: Final = sorted({character for text in EXCLUDED for character in text})
RISKY: Final = frozenset(_LETTERS) - {"<"}
"""Characters that go on with a literal once its `<` is written."""
ESSENTIAL: Final = frozenset.intersection(*map(frozenset, EXCLUDED)) - {"<"}
"""Characters without which no literal can be written: `|` and `>`."""


def _next_state(state: str, character: str) -> str | None:
    """Where a character leads; None where it completes a literal."""
    text = state + character
    if text in EXCLUDED:
        return None
    return next(text[at:] for at in range(len(text) + 1) if text[at:] in _STATES)


def free_text(rules: Rules, least: int = 0) -> str:
    """Any text, of a least length up to `COUNTED`: exact up to `EXACT`.

    Beyond that a text whose `<` comes early owes only `EXACT` characters, since counting inside
    half-written literals would square the number of rules.
    """
    return _Automaton(rules, None).state("", min(least, COUNTED))


def text_of(rules: Rules, ranges: Ranges, least: int) -> str:
    """Any text of characters from the given ranges, of a least length up to `EXACT`."""
    return _Automaton(rules, ranges).state("", least)


class _Automaton:
    """Writes the rules.

    Args:
        rules: Where they go.
        ranges: The characters a text may have; None for all.
    """

    def __init__(self, rules: Rules, ranges: Ranges | None) -> None:
        self._rules = rules
        self._ranges = ranges
        self._prefix = "text" if ranges is None else rules.called(character_class(ranges))

    def state(self, state: str, owed: int) -> str:
        """The rule for what may follow in a state, so many characters still owed."""
        if not state and not owed and self._ranges is None:
            return self._rules.name(ANY_TEXT)
        name = f"{self._prefix}_{owed}_{_STATES.index(state)}"
        if name not in self._rules.lines:
            self._rules.lines[name] = ""  # rules refer to each other in circles
            self._rules.lines[name] = f"{name} ::= {any_of(self._alternatives(state, owed))}"
        return name

    def _alternatives(self, state: str, owed: int) -> Iterator[str]:
        after = max(owed - 1, 0)
        if not owed:
            yield '""'
        targets = {letter: _next_state(state, letter) for letter in _LETTERS}
        special = [letter for letter, target in targets.items() if target != ""]
        plain = self._class(special)
        if plain and not state and not owed:  # only where all characters are free is this a loop
            yield f"{plain} {plain}*"
            plain = f"{plain} {plain}*"
            for target, lead in self._leads(targets):
                yield f"{plain} {lead} {self.state(target, 0)}"
        elif plain:
            yield f"{plain} {self.state('', after)}"
        for target, lead in self._leads(targets):
            kept = min(after, EXACT - 1) if not state else after
            yield f"{lead} {self.state(target, kept)}"

    def _leads(self, targets: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
        for letter, target in targets.items():
            if target and self._holds(letter):
                yield target, literal(letter)

    def _holds(self, letter: str) -> bool:
        return self._ranges is None or any(a <= ord(letter) <= b for a, b in self._ranges)

    def _class(self, letters: list[str]) -> str:
        """One character of the text's that is none of the given ones; empty if there is none."""
        codes = sorted(map(ord, letters))
        left_out = [] if self._ranges is None else without(self._ranges)
        kept = without([*left_out, *((code, code) for code in codes)])
        return character_class(kept) if kept else ""


def other_than(names: list[str]) -> str:
    """A key that is none of the given names."""
    rest = f"{_SPACED}*"
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
