"""Pieces of EBNF in xgrammar's dialect: rules, literals, classes, texts, formats, keys.

The dialect is that of xgrammar 0.2 (its `docs/tutorials/ebnf_grammar` page): `name ::= …`,
quoted literals, `[a-z]`, `(a | b)`, `{m,n}`, and `TagDispatch(excludes=…)` for text that must not
contain certain strings. Every function returns an expression that can stand in a sequence.

No string may hold a literal that ends something for a reader (`EXCLUDED`), and no other text is out
of reach. Any text is an automaton of xgrammar's (`TagDispatch`); `max_chars` on a rule bounds it,
which makes every such automaton of the grammar twelve times as dear to compile (measured with
xgrammar 0.2.8 over a real Gemma's vocabulary): `affordable` says where bounds stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from agentkit.gemma4.tokens import CALL_CLOSE, QUOTE

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Rule:
    """A named rule.

    Attributes:
        name: What other rules call it.
        body: The expression.
        most: How many characters it may have (`max_chars` of xgrammar 0.2); None without a bound.
    """

    name: str
    body: str
    most: int | None = None

    def line(self, *, bounded: bool = True) -> str:
        """The rule as a line of EBNF, with its bound or without."""
        bound = "" if self.most is None or not bounded else f"[max_chars={self.most}]"
        return f"{self.name}{bound} ::= {self.body}"


class Rules:
    """Named rules. A rule's name is made from its text, so the rules of several grammars can be
    put together: what two tools have in common, such as any text, is compiled once.
    """

    def __init__(self) -> None:
        self.made: dict[str, Rule] = {}

    @property
    def lines(self) -> dict[str, str]:
        """The rules as lines of EBNF, by name."""
        return {name: rule.line() for name, rule in self.made.items()}

    def name(self, body: str, most: int | None = None) -> str:
        """The name of a rule with this body, which ends after at most so many characters."""
        name = self.called(Rule("", body, most).line())
        self.define(name, body, most)
        return name

    def define(self, name: str, body: str, most: int | None = None) -> None:
        """Gives a rule a name of one's own, as one that refers to itself needs."""
        self.made[name] = Rule(name, body, most)

    @staticmethod
    def called(text: str) -> str:
        """A name that is the same for the same text and for no other."""
        return f"r{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


_AUTOMATON: Final = "TagDispatch"
_ENDLESS: Final = re.compile(r"(?<!>\|)\]\*")
"""A class of characters without end, but for the `[>|]*` at the end of texts of a least length."""


def affordable(rules: Iterable[Rule]) -> bool:
    """Whether rules may keep their bounds on texts: else these would be too dear to compile.

    One bound anywhere makes xgrammar 0.2.8 take twelve times as long for every automaton of any
    text (0.1 s of CPU becomes 1.3 over a real Gemma's vocabulary), and up to three times as long
    for texts of a class of characters without end, such as free keys. So a grammar that has two
    of the one or several of the other holds no greatest lengths.
    """
    # Both are counted in the finished text: an expression is a string until it is a rule's, and a
    # count beside it would have to go through every function that puts expressions together.
    text = "\n".join(rule.body for rule in rules)
    return text.count(_AUTOMATON) <= 1 and len(_ENDLESS.findall(text)) <= _FEW


_FEW: Final = 2
"""Classes without end beside which bounds stay."""


def literal(text: str) -> str:
    """An expression for exactly this text."""
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
    if any(high == LAST for _, high in ranges):  # shorter by what is left out
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


# --- any text, formats, keys ---------------------------------------------------------------------

Ranges: TypeAlias = Sequence[tuple[int, int]]
"""Code points, first and last of each range."""


EXCLUDED: Final = (QUOTE, CALL_CLOSE)
"""What no text may spell: the literals that end something for a reader of a call.

The quote ends the text. `<tool_call|>` ends the call for vLLM's own parser, in a text or not
(`parser/gemma4.py` of vLLM 0.32, state TOOL_ARGS), so a server without token ids, and a client that
takes the server's word, would cut the call there. No other control literal means anything to a
reader inside a call, and what is sent back to the model is escaped (`agentkit.gemma4.escape`).

One does something to vLLM 0.32 itself. Where a budget of reasoning tokens is set, `<|channel>` as
the control token begins new reasoning, whose end the budget forces in wherever the call has got to:
the grammar rejects it and the request ends with status 500. It is allowed all the same, because no
Gemma writes that token into a text unless a bias makes it, and each further literal makes a bounded
text some 40 % dearer to compile (0.5 s)."""
ANY_TEXT: Final = (
    f"{_AUTOMATON}(loop_after_dispatch=false, "
    f"excludes=({', '.join(literal(text) for text in EXCLUDED)}))"
)
"""Any text that spells none of `EXCLUDED`: an automaton of xgrammar's that may end anywhere."""
ANY_CHARACTER: Final = r"[\u0000-\U0010ffff]"
COUNTED: Final = 3
"""Longest least length that is counted. The tails of literals have as many characters with their
`>`, which is what makes `Filled` reach every text; each character more makes masks dearer too."""
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
    "email": f'{_WORD} ("." {_WORD})* "@" {_HOST} "." [a-zA-Z] [a-zA-Z] [a-zA-Z]*',
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


# --- texts of a least length ---------------------------------------------------------------------


def free_text(rules: Rules, without: str = "") -> str:
    """Any text, or any without certain characters."""
    if not without:
        return rules.name(ANY_TEXT)
    excluded = ", ".join(literal(text) for text in (*EXCLUDED, *without))
    return rules.name(f"{_AUTOMATON}(loop_after_dispatch=false, excludes=({excluded}))")


RISKY: Final = frozenset("".join(EXCLUDED)) - {"<"}
"""Characters that go on with a literal once its `<` is written."""
ESSENTIAL: Final = frozenset.intersection(*map(frozenset, EXCLUDED)) - {"<"}
"""Characters without which no literal can be written: `|` and `>`."""
_HEADS: Final = tuple(text[:-1] for text in EXCLUDED)
"""The excluded literals without their last character, which is `>` in all of them."""
_TAILS: Final = sorted(
    {head[at:] for head in _HEADS for at in range(1, len(head) - 1)}, key=lambda t: (len(t), t)
)
"""What a literal goes on with behind its `<`, or behind more of it, up to its `>`; two characters
at least, such as `"|` and `l|`."""
_LETTERS: Final = '"l'
"""What stands before the `|>` of a literal."""
LONGEST_END: Final = 1 + len(_TAILS[-1]) + 1 + COUNTED
"""Characters behind the free part of a text of a least length, but for a run of `>` and `|`."""
_BEFORE: Final = {
    tail: frozenset(head[-len(tail) - 1] for head in _HEADS if head.endswith(tail))
    for tail in _TAILS
}
"""Each of the tails → the characters that stand before it in a literal."""


@dataclass(frozen=True, slots=True)
class Filled:
    """Writes the grammar of a text with a least length and what follows it.

    A text that is counted from its beginning needs one rule for each number of characters owed and
    each beginning of a literal that it may stand in, and every such rule costs a pass over the
    vocabulary: 1.9 s of CPU for one character. So the *last* characters are counted: any text, then
    so many characters, then what follows. Few tokens are so short, so these passes are cheap: 0.15
    s in all.

    What must not happen is that a character completes a literal that the free text began. Only a
    `>` can, and only behind `"|` or `l|`. A text that has either of those before a `>` among its
    last characters comes through `_behind` instead, which proves by the character before that no
    literal is complete. Together they reach every text but those that spell a literal.

    Attributes:
        rules: The list that takes the rules.
        opening: What stands before the text.
        any_text: Opening and any text.
        closing: What follows the text; it begins with no character of the text's.
        without: Characters that the text may not hold; neither `|` nor `>`.
    """

    rules: Rules
    opening: str
    any_text: str
    closing: str
    without: str = ""

    def text(self, least: int) -> str:
        """The rule for opening, text and closing; the least length is 1 to `COUNTED`."""
        end, risky = self._end(least), self._behind()
        run = "[>|]*"
        plain, letters = self._other(">|" + _LETTERS), self._one_of(_LETTERS)
        before = self.any_text
        found = [
            in_order((self.opening, run, end)),
            in_order((self.opening, run, risky)),
            f"{before} {plain} {run} {end}",
            f'{before} {plain} {run} ">" {risky}',
            f'{before} "|" {self._end(least, "|")}',
        ]
        if letters:
            found += [
                f"{before} {letters} {self._end(least, letters)}",
                *(f"{before} {letters} {sign} {run} {end}" for sign in ('">"', '"||"')),
                f'{before} {letters} ">" {run} {risky}',
                f'{before} {letters} "||" {run} ">" {risky}',
            ]
        return self.rules.name(" | ".join([*found, *self._proven()]))

    def _proven(self) -> Iterator[str]:
        """Tails of literals behind a character that shows that they are no more than that."""
        letters = sorted(frozenset[str]().union(*_BEFORE.values()) - set(self.without))
        other = self._other("".join([*letters, ">"]))
        yield f"{self.any_text} {other} {self._behind()}"
        for letter in letters:
            yield f"{self.any_text} {literal(letter)} {self._behind(letter)}"

    def _behind(self, before: str = "") -> str:
        """A tail of a literal that does not go on from the character before it, and what follows:
        its `>`, and then up to `COUNTED` more characters.
        """
        tails = [
            literal(f"{tail}>")
            for tail in _TAILS
            if before not in _BEFORE[tail] and not set(tail) & set(self.without)
        ]
        return self.rules.name(f"{any_of(tails)} {self._few()}")

    def _few(self) -> str:
        """Up to `COUNTED` characters, or a tail again, behind any number of `>` and `|`."""
        name = "few_" + self.rules.called(f"{self.closing} {self.without}")
        if name not in self.rules.made:
            self.rules.define(name, "")  # it refers to itself
            counts = ([self._other()] * count for count in range(COUNTED + 1))
            few = any_of(in_order((*characters, self.closing)) for characters in counts)
            self.rules.define(name, f"[>|]* {few} | [>|]* {self._behind()}")
        return name

    def _end(self, owed: int, behind: str = "") -> str:
        """So many characters and the closing, in which no `>` stands behind `"|` or `l|`.

        Args:
            owed: How many characters.
            behind: What comes before them: the class of `"` and `l`, `|` behind one of those (or
                behind anything), or something else.
        """
        if not owed:
            return self.closing
        barred = ">" if behind == "|" else ""
        if owed == 1:  # no rule of its own: where nothing closes the text, its end would be slow
            return in_order((self._other(barred), self.closing))
        letters = self._one_of(_LETTERS)
        bar = "|" if behind and not barred else ""
        then = [f"{self._other(barred + bar + _LETTERS)} {self._end(owed - 1)}"]
        if bar:
            then.append(f'"|" {self._end(owed - 1, "|")}')
        if letters:
            then.append(f"{letters} {self._end(owed - 1, letters)}")
        return self.rules.name(" | ".join(then))

    def _one_of(self, characters: str) -> str:
        """One of the characters, as far as the text may hold them; empty where it holds none."""
        held = [(ord(c), ord(c)) for c in characters if c not in self.without]
        return character_class(held) if held else ""

    def _other(self, characters: str = "") -> str:
        """One of the text's characters that is none of these."""
        left_out = [(ord(c), ord(c)) for c in characters + self.without]
        return character_class(left_out, negated=True) if left_out else ANY_CHARACTER


_PLACES: Final = 5
"""Places where a key may leave the names of an object, each a pass over the vocabulary."""


def other_than(names: list[str]) -> str:
    """A key that is none of the given names.

    Where keys could leave the names in more than `_PLACES` places, those that begin as a name does
    are left out, by as few first characters as that takes.
    """
    # Each further character is one more place where a key may leave the longest name.
    depth = min(max(map(len, names), default=0) + 1, _PLACES)
    key = _other_than(names, depth)
    while depth > 1 and key.count("[^") > 2 * _PLACES:  # a place is the character and the rest
        depth -= 1
        key = _other_than(names, depth)
    return key


def _other_than(names: list[str], depth: int) -> str:
    """A key that is none of the names, nor shares its first `depth` characters with one."""
    rest = f"{_SPACED}*"
    known = {character for name in names for character in name[:1]}
    excluded = [(ord(c), ord(c)) for c in sorted(known)] + [(ord(c), ord(c)) for c in _NO_KEY]
    other = f"{character_class([*excluded, (0, 0x20)], negated=True)} {rest}"
    alternatives = [other]
    for character in sorted(known) if depth > 1 else ():
        tails = [name[1:] for name in names if name[:1] == character]
        longer = _other_than([tail for tail in tails if tail], depth - 1)
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
    if _REFERENCE.search(_CLASS.sub("", _LITERAL.sub("", ebnf))):  # such as to any text
        return False
    if any(negated for negated, _ in classes) or any(_NO_KEY_TEXT.search(text) for text in texts):
        return False
    members = (found for _, inside in classes for found in _MEMBER.findall(inside))
    spans = ((_code(low), _code(high or low)) for low, high in members)
    return not any(low <= code <= high for low, high in spans for code in unsafe)


_REFERENCE: Final = re.compile("[a-z]")
_NO_KEY_TEXT: Final = re.compile(rf"[{re.escape(_NO_KEY)}\\\s]")


def _code(member: str) -> int:
    return int(member[2:], 16) if len(member) > 1 else ord(member)
