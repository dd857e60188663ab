"""A small interpreter of the EBNF that agentkit writes: does it accept a text, and give me one.

It knows xgrammar's dialect as far as agentkit uses it: literals, classes, groups, counts, the rule
attribute `max_chars` and `TagDispatch(excludes=…)`. It exists so that unit tests can prove
grammars without xgrammar; that xgrammar reads them the same way is proved against a live server.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<set>\[(?:[^\]\\]|\\.)*\])'
    r"|(?P<count>\{\d+(?:,\d*)?\})|(?P<name>[A-Za-z_]\w*)|(?P<mark>[|()*+?=,]))"
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t"}
_ALPHABET = "abcxyzABC019 .,:;-_/{}[]()'\"\\<|>é😀\n"
_WORDS = ["<|", "|>", "<b>", "tool|>", "a<b|c>d", "call:f{", "null"]


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Set:
    members: tuple[tuple[int, int], ...]
    negated: bool

    def holds(self, character: str) -> bool:
        code = ord(character)
        return any(low <= code <= high for low, high in self.members) != self.negated


@dataclass(frozen=True)
class Ref:
    name: str


@dataclass(frozen=True)
class Free:
    excludes: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Choice:
    options: tuple[Expression, ...]


@dataclass(frozen=True)
class Repeat:
    inner: Expression
    low: int
    high: int | None


Expression = Text | Set | Ref | Free | Row | Choice | Repeat


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        body = found[1]
        if body[0] in "uU" and len(body) > 1:
            return chr(int(body[1:], 16))
        return _SIMPLE.get(body, body)

    return _ESCAPE.sub(character, text)


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            assert found, f"no EBNF: {text[at:][:60]!r}"
            self._tokens.append((found.lastgroup or "", found[0].strip()))
            at = found.end()
        self._at = 0

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def body(self) -> Expression:
        found = self._choice()
        assert self._at == len(self._tokens), self._tokens[self._at :][:5]
        return found

    def _choice(self) -> Expression:
        options = [self._row()]
        while self._peek()[1] == "|":
            self._next()
            options.append(self._row())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _row(self) -> Expression:
        parts: list[Expression] = []
        while self._peek()[0] and self._peek()[1] not in ("|", ")"):
            parts.append(self._counted(self._atom()))
        assert parts, "an empty alternative is written as two quotes"
        return parts[0] if len(parts) == 1 else Row(tuple(parts))

    def _counted(self, inner: Expression) -> Expression:
        kind, text = self._peek()
        if text in ("*", "+", "?") and kind == "mark":
            self._next()
            low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}[text]
            return Repeat(inner, low, high)
        if kind == "count":
            self._next()
            least, comma, most = text[1:-1].partition(",")
            return Repeat(inner, int(least), int(most) if most else None if comma else int(least))
        return inner

    def _atom(self) -> Expression:
        kind, text = self._next()
        if kind == "text":
            return Text(_unescaped(text[1:-1]))
        if kind == "set":
            return _set(text[1:-1])
        if text == "TagDispatch":
            return self._dispatch()
        if kind == "name":
            return Ref(text)
        assert text == "(", text
        inner = self._choice()
        assert self._next()[1] == ")"
        return inner

    def _dispatch(self) -> Free:
        excludes: list[str] = []
        depth = 0
        while True:
            kind, text = self._next()
            assert kind
            depth += (text == "(") - (text == ")")
            if kind == "text":
                excludes.append(_unescaped(text[1:-1]))
            if not depth:
                return Free(tuple(excludes))


def _set(inside: str) -> Set:
    negated = inside.startswith("^")
    parts = re.findall(
        r"(\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\.|[^\\])(?:-(\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\.|[^\\]))?",
        inside[negated:],
        re.DOTALL,
    )
    codes = [(ord(_unescaped(low)), ord(_unescaped(high or low))) for low, high in parts]
    return Set(tuple(codes), negated)


@dataclass
class Ebnf:
    """A grammar, its start `root`."""

    source: str
    rules: dict[str, tuple[Expression, int | None]] = field(init=False)

    def __post_init__(self) -> None:
        self.rules = {}
        for line in self.source.splitlines():
            head, _, body = line.partition(" ::= ")
            name, _, attribute = head.partition("[max_chars=")
            most = int(attribute.removesuffix("]")) if attribute else None
            self.rules[name] = (_Reader(body).body(), most)

    # --- acceptance ---------------------------------------------------------------------------

    def accepts(self, text: str) -> bool:
        self._text = text
        self._known: dict[tuple[int, int], frozenset[int]] = {}
        self._kept: list[Expression] = []
        return len(text) in self._ends(Ref("root"), 0)

    def _ends(self, expression: Expression, at: int) -> frozenset[int]:
        key = (id(expression), at)
        if key not in self._known:
            self._kept.append(expression)  # an id stays unique while its object lives
            self._known[key] = frozenset(self._find(expression, at))
        return self._known[key]

    def _find(self, expression: Expression, at: int) -> Iterator[int]:  # noqa: C901 - one case per kind
        match expression:
            case Text(text):
                if self._text.startswith(text, at):
                    yield at + len(text)
            case Set():
                if at < len(self._text) and expression.holds(self._text[at]):
                    yield at + 1
            case Ref(name):
                body, most = self.rules[name]
                ends = self._ends(body, at)
                yield from (end for end in ends if most is None or end - at <= most)
            case Free(excludes):
                yield from self._free_ends(excludes, at)
            case Choice(options):
                for option in options:
                    yield from self._ends(option, at)
            case Row(parts):
                reached = {at}
                for part in parts:
                    reached = {end for start in reached for end in self._ends(part, start)}
                yield from reached
            case Repeat(inner, low, high):
                yield from self._repeat_ends(inner, low, high, at)

    def _free_ends(self, excludes: tuple[str, ...], at: int) -> Iterator[int]:
        stops = (self._text.find(text, at) + len(text) for text in excludes if text in self._text)
        later = [stop for stop in stops if stop > at + 1]
        yield from range(at, min(later, default=len(self._text) + 1))

    def _repeat_ends(self, inner: Expression, low: int, high: int | None, at: int) -> Iterator[int]:
        reached, count, seen = {at}, 0, {at} if low == 0 else set()
        while reached and (high is None or count < high):
            reached = {end for start in reached for end in self._ends(inner, start)}
            count += 1
            if count >= low:
                reached -= seen
                seen |= reached
        yield from seen

    # --- sampling -----------------------------------------------------------------------------

    def sample(self, rng: random.Random) -> str:
        """A text that the grammar accepts."""
        return self._sample(Ref("root"), rng, 0)

    def _sample(self, expression: Expression, rng: random.Random, depth: int) -> str:
        match expression:
            case Text(text):
                return text
            case Set():
                return _character(expression, rng)
            case Ref(name):
                return self._sample_rule(name, rng, depth)
            case Free(excludes):
                return _free_text(excludes, rng)
            case Row(parts):
                return "".join(self._sample(part, rng, depth) for part in parts)
            case Choice(options):
                return self._sample(self._pick(options, rng, depth), rng, depth)
            case Repeat(inner, low, high):
                most = low + 3 if high is None else high
                often = rng.choice([low, most, rng.randint(low, most)]) if depth < 25 else low
                return "".join(self._sample(inner, rng, depth + 1) for _ in range(often))

    def _pick(self, options: tuple[Expression, ...], rng: random.Random, depth: int) -> Expression:
        if depth < 25:
            return rng.choice(options)
        return min(options, key=lambda option: self._heights.get(id(option), 0))

    def _sample_rule(self, name: str, rng: random.Random, depth: int) -> str:
        body, most = self.rules[name]
        for _ in range(50):
            text = self._sample(body, rng, depth + 1)
            if most is None or len(text) <= most:
                return text
        return min((self._sample(body, rng, 25) for _ in range(50)), key=len)[: most or 0]

    @cached_property
    def _heights(self) -> dict[int, int]:
        """How many references an alternative holds: the fewest lead out of a recursion."""
        heights: dict[int, int] = {}
        for body, _ in self.rules.values():
            for expression in _walk(body):
                heights[id(expression)] = sum(isinstance(e, Ref) for e in _walk(expression))
        return heights


def _walk(expression: Expression) -> Iterator[Expression]:
    yield expression
    match expression:
        case Row(parts) | Choice(parts):
            for part in parts:
                yield from _walk(part)
        case Repeat(inner, _, _):
            yield from _walk(inner)
        case _:
            pass


def _character(expression: Set, rng: random.Random) -> str:
    if expression.negated:
        fitting = [c for c in _ALPHABET if expression.holds(c)]
        return rng.choice(fitting or [c for c in map(chr, range(33, 500)) if expression.holds(c)])
    low, high = rng.choice(expression.members)
    return chr(rng.randint(low, high))


def _free_text(excludes: tuple[str, ...], rng: random.Random) -> str:
    while True:
        parts = [rng.choice([*_ALPHABET, *_WORDS, *excludes]) for _ in range(rng.randint(0, 8))]
        text = "".join(parts)
        if not any(excluded in text for excluded in excludes):
            return text
