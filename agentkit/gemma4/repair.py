"""The arguments of a damaged call: every reading that undoes what models are seen to do to one.

Gemma 4 is seen to leave out the opening quote token (sglang#39240), to write `'x'` or `"x"` for it
(vllm#51284), `key=value` and parentheses, JSON, Python's constants, and to lose a comma or a brace.
Each of these can be undone, but often in more than one way, and a call that runs with arguments
which nobody wrote is worse than one that is asked for again. So nothing is chosen here: a reading
that undoes at most two kinds of damage is offered, each of them, and the caller takes one only if
it is the only one that fits the tool's schema.

Two things bound what a reading may be. A quote token is never part of a value: it is where a string
begins or ends. And a value never holds a piece of the call's own syntax, such as another parameter
with its colon behind a comma: such a text is two values, and what was between them is lost
(`_FOREIGN`).

Reading is a search, depth first. At each place of the text stand a few rules in a fixed order;
every rule that applies there yields what it read, where that ends and all that was undone so far,
and the search goes on from there. From top to bottom:

    an object    its members, each a key, a value and an end      `_members`, `_keys`, `_ends`
    an array     its items, each a value and an end               `_items`, `_ends`
    a value      in quotes, nested, bare, or without its opening  `_value`
    a bare one   a literal, a constant, …, a text                 `_bare` and the rules it lists
    a text       up to each quote behind which the call goes on   `_up_to`

It ends soon, because damage is undone at two kinds at most and places are counted (`_STEPS`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from agentkit.gemma4.exact import LITERAL, MAX_DEPTH, SPACE, bare_value, conform, quoted_value
from agentkit.messages import JsonObject
from agentkit.schema.shape import Shape

Damage: TypeAlias = Literal[
    "opening quote",  # query:weather in Oslo<|"|>
    "single quotes",  # query:'weather in Oslo'
    "JSON quotes",  # query:"weather in Oslo"
    "JSON",  # {"query": "weather in Oslo"}
    "no quotes",  # query:Oslo
    "keywords",  # (query=<|"|>Oslo<|"|>)
    "comma",  # query:<|"|>Oslo<|"|>days:3
    "brace",  # query:<|"|>Oslo<|"|>
    "constant",  # flag:True
    "header",  # find{…}, call find{…}, findquery:…
    "shared pair",  # call:f{…}call:g{…} in one pair of tokens
]
"""What was undone; each example is a call of `find` as it was written."""

_Damages: TypeAlias = "frozenset[Damage]"
_Read: TypeAlias = "tuple[Any, int, _Damages]"
"""A value, where it ends, and all that was undone up to there."""
MOST_DAMAGE: Final = 2
"""Kinds of damage in one call. With three, nearly every text can be read in several ways."""

_STEPS: Final = 6_000
"""Places that are tried in one call; a text with more is not read, so time stays in bounds."""

_QUOTES: Final[Mapping[str, Damage]] = {"'": "single quotes", '"': "JSON quotes"}
_LOOSE: Final = re.compile(
    r"[+-]?(?:(?:0|[1-9][0-9]*+)(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+(?![\w.])"
)
"""Leading zeros say an octal number or a code, and both would be lost (docs/coercion.md)."""
_FUSED: Final = re.compile(r"-?[0-9]++(?:\.[0-9]++)?+|true|false|null")
_CONSTANT: Final = re.compile(r"(?i:true|false|null|none)")
_WORD: Final = re.compile(rf"(?i:{_CONSTANT.pattern}|nil|undefined|nan|[+-]?inf(?:inity)?|n/a)")
"""A text of one of these is as likely no text."""
_OTHER_QUOTES: Final = frozenset("`´‘’‚‛“”„‟«»‹›「」『』＂＇")  # noqa: RUF001 - as models write them
"""Marks that stand for a quote in some language; at an end of a text they are not of its own."""
_CONSTANTS: Final[Mapping[str, bool | None]] = {
    "true": True,
    "false": False,
    "null": None,
    "none": None,
}
_BEFORE_COMMA: Final = re.compile(rf"(?:{LITERAL.pattern})\s*+,")
_BARE_NAME: Final = re.compile(r"[^\W\d][\w.\-$@]*+")
_KEY_END: Final = re.compile("[\"'\ufdd0-\ufdef]?\\s*+[:=]")
_ONLY_MARKS: Final = re.compile(r"[\s,:{}\[\]()]++")

# --- what no text may hold -----------------------------------------------------------------------

_MARKS: Final = re.compile(
    r"[,{\[(}\]]\s*+[\"']?[\w.$\-]++[\"']?\s*+[:=]|[,:=\[{(]\s*+\Z|\bcall:\w"
)
"""A name with its colon behind a mark of syntax, at the end a mark behind which a value begins, the
head of a call: what holds one is as likely the rest of another value."""
_TIGHT_MARKS: Final = re.compile(r"[,}\]][\"']?[\w.$\-]++[\"']?[:=]|[,:=\[{(]\s*+\Z|\bcall:\w")
"""The same where the closing quote token is there: then all else is Gemma's own syntax, which has
no white space, and prose such as `Hello, Ann: …` is not mistaken for it."""
_PAIR: Final = re.compile(r"[\w.\-]++\s*+:(?!//)")
_FUSED_PAIR: Final = re.compile(r"(?i:-?[0-9][0-9.]*+|true|false|null|none)[^\W\d][\w.\-]*+\s*+:")
"""A value and the next member's name, as where a comma was lost between them."""
_SPELLED_QUOTE: Final = re.compile(
    r"<\|[\"']|[\"']\|>|\A\\[\"']"
    r"|\A&(?:quot|apos|[lr][sd]?a?quo|#\w+);|&(?:quot|apos|[lr][sd]?a?quo|#\w+);\Z"
)
"""The quote token in ordinary characters, or a part of it; at an end, a quote as another language
has it."""
_BESIDE_SYNTAX: Final[Mapping[str, re.Pattern[str]]] = {
    mark: re.compile(rf"(?<!\\){mark}\s*+[,:}}\]){mark}+]|[,:{{\[(=+]\s*+{mark}")
    for mark in _QUOTES
}
"""A quote beside a mark of syntax, inside a text: that text is two, and what was between them."""

_Quoting: TypeAlias = Literal["none", "closed", "closed otherwise", "'", '"']
"""How a text is told from what is around it: not at all, by its closing quote token alone, by
another quote in the place of that, or by a pair of other quotes."""
_Finds: TypeAlias = Callable[[str], "re.Match[str] | None"]
_FOREIGN: Final[Mapping[_Quoting, tuple[_Finds, ...]]] = {
    "none": (_MARKS.search, _PAIR.match, _SPELLED_QUOTE.search),
    "closed": (_TIGHT_MARKS.search, _FUSED_PAIR.match, _SPELLED_QUOTE.search),
    "closed otherwise": (_MARKS.search, _SPELLED_QUOTE.search),
    "'": (_BESIDE_SYNTAX["'"].search,),
    '"': (_BESIDE_SYNTAX['"'].search,),
}
"""The pieces of syntax that show that a text is two values. The less there is to tell the text by,
the more of them count. Names of the tool's own parameters come on top: see `Readings`."""


class Readings:
    """The readings of one call's arguments.

    Args:
        text: The call.
        quote: The character that stands for the quote token.
        shape: The tool's schema.
        undone: Damage that was undone to come here.
    """

    def __init__(self, text: str, quote: str, shape: Shape, undone: _Damages = frozenset()) -> None:
        self._text = text
        self._quote = quote
        self._shape = shape
        self._undone = undone
        names, self._takes_others = shape.names_within
        alternatives = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        self._declared = re.compile(alternatives or "(?!)")
        key = rf"(?:{alternatives or '(?!)'})[\"']?\s*+[:=]"
        # A parameter's name with its colon where a member could begin; in a text without any quotes
        # it counts anywhere, and the head of a call too.
        syntax = re.compile(rf"(?:[,{{(\[\"']|\A)\s*+{key}").search
        anywhere = re.compile(rf"{key}|\bcall:\w").search
        self._own: Mapping[_Quoting, tuple[_Finds, ...]] = {
            "none": (anywhere,),
            "closed": (syntax,),
            "closed otherwise": (),
            "'": (syntax,),
            '"': (syntax,),
        }
        self._steps = _STEPS

    def of(self, start: int, closers: str) -> Iterator[tuple[JsonObject, int, _Damages]]:
        """The readings of the object that begins behind an opening brace.

        Args:
            start: The character behind the brace.
            closers: What may close the object: `}`, or `)}` behind a parenthesis.

        Yields:
            Arguments that fit the schema, where the call ends, and what was undone.

        Raises:
            RecursionError: The text is nested too deeply, or has too many places to try.
        """
        if (whole := self._json(start)) is not None:
            yield whole
            return
        for arguments, end, undone in self._members(
            start, self._shape, {}, self._undone, (closers, 0)
        ):
            if "brace" in undone and _has_a_stray_member(arguments, self._shape):
                continue
            if not self._shape.misfit(arguments):
                yield arguments, end, undone

    def _json(self, start: int) -> tuple[JsonObject, int, _Damages] | None:
        """The object, if it is JSON through and through: then its escapes are JSON's too."""
        if self._text[start - 1 : start] != "{" or self._quote in self._text:
            return None
        if (undone := self._with(self._undone, "JSON")) is None:
            return None
        try:
            value, end = _JSON.raw_decode(self._text, start - 1)
        except (ValueError, RecursionError):
            return None
        if not value or not isinstance(value, dict):
            return None
        arguments: JsonObject = conform(value, self._shape)
        return None if self._shape.misfit(arguments) else (arguments, end, undone)

    # --- objects and arrays ----------------------------------------------------------------------

    def _members(
        self, at: int, shape: Shape, before: JsonObject, undone: _Damages, where: tuple[str, int]
    ) -> Iterator[tuple[JsonObject, int, _Damages]]:
        """The object from here on, given the members `before`."""
        self._step()
        closers, depth = where
        at = self._skip(at)
        if self._text[at : at + 1] in closers and at < len(self._text):
            yield before, at + 1, undone
            return
        if at == len(self._text):
            if (brace := self._with(undone, "brace")) is not None:
                yield before, at, brace
            return
        for key, behind, so_far in self._keys(at, shape, undone):
            if key in before:
                continue
            for value, end, then in self._value(behind, shape.property(key), so_far, depth + 1):
                now = {**before, key: value}
                for next_at, is_last, after in self._ends(end, then, closers, depth):
                    if is_last:
                        yield now, next_at, after
                    else:
                        yield from self._members(next_at, shape, now, after, where)

    def _items(
        self, at: int, shape: Shape, before: list[Any], undone: _Damages, depth: int
    ) -> Iterator[tuple[list[Any], int, _Damages]]:
        self._step()
        start, at = at, self._skip(at)
        if self._text[at : at + 1] == "]":
            # Behind a comma, an empty text may have stood and lost its quotes.
            if not before or not shape.item(len(before)).allows("string"):
                yield before, at + 1, undone
            return
        if self._text[at : at + 1] in ("", "}", ")"):
            if (brace := self._with(undone, "brace")) is not None:
                yield before, at, brace
            return
        for value, end, then in self._value(start, shape.item(len(before)), undone, depth + 1):
            now = [*before, value]
            for next_at, is_last, after in self._ends(end, then, "]", depth):
                if is_last:
                    yield now, next_at, after
                else:
                    yield from self._items(next_at, shape, now, after, depth)

    def _ends(
        self, at: int, undone: _Damages, closers: str, depth: int
    ) -> Iterator[tuple[int, bool, _Damages]]:
        """What may follow an element.

        Yields:
            Where to go on, whether the object or array ends there, and what was undone.
        """
        self._step()  # each end of an inner one has several of its own
        end, at = self._text[max(at - 2, 0) : at], self._skip(at)
        before = end[-1:]
        character = self._text[at : at + 1]
        brace = self._with(undone, "brace")
        if before == self._quote and self._opens_a_text(end[0], character, closers):
            return
        if character == ",":
            yield at + 1, False, undone
            if depth and brace is not None:
                yield at, True, brace
        elif character and character in closers:
            yield at + 1, True, undone
            if depth and brace is not None:
                yield at, True, brace
        elif not character or (depth and character in "}])"):
            if brace is not None:
                yield at, True, brace
        elif closers == "]" and (character in "+-" or {before, character} <= _QUOTES.keys()):
            return  # `1 -2` and `'a' 'b'` are one number and one text in Python
        elif (comma := self._with(undone, "comma")) is not None:
            yield at, False, comma

    def _opens_a_text(self, before: str, behind: str, closers: str) -> bool:
        """Whether a quote token that seems to close a text may be what opens the next: behind a
        comma, which stands between the two then, or behind another one, which stands twice then.
        """
        if before == behind == self._quote:
            return True
        ends = behind == "," or (behind and behind in closers)
        return before in ",:=[{(" and not ends

    # --- keys ------------------------------------------------------------------------------------

    def _keys(self, at: int, shape: Shape, undone: _Damages) -> Iterator[tuple[str, int, _Damages]]:
        for key, end, so_far in self._written_keys(at, shape, undone):
            behind = self._skip(end)
            mark = self._text[behind : behind + 1]
            if mark == ":":
                yield key, behind + 1, so_far
            elif mark == "=" and (then := self._with(so_far, "keywords")) is not None:
                yield key, behind + 1, then

    def _written_keys(
        self, at: int, shape: Shape, undone: _Damages
    ) -> Iterator[tuple[str, int, _Damages]]:
        mark = self._text[at]
        names, takes_others = shape.names, shape.takes_others
        if mark == self._quote or mark in _QUOTES:
            so_far = undone if mark == self._quote else self._with(undone, _QUOTES[mark])
            end = self._text.find(mark, at + 1)
            key = self._text[at + 1 : end]
            if end > 0 and so_far is not None and (key in names or takes_others):
                yield key, end + 1, so_far
            return
        found = _BARE_NAME.match(self._text, at) if takes_others else None
        if found and found[0] not in names:
            yield found[0], found.end(), undone
        for name in names:
            if self._text.startswith(name, at):
                yield name, at + len(name), undone

    # --- values ----------------------------------------------------------------------------------

    def _value(self, start: int, shape: Shape, undone: _Damages, depth: int) -> Iterator[_Read]:
        """The values that may begin here; the first character says which rules apply."""
        self._step()
        at = self._skip(start)
        mark = self._text[at : at + 1]
        if not mark or depth > MAX_DEPTH:
            return
        if mark == self._quote:
            end = self._text.find(mark, at + 1)
            text = self._text[at + 1 : end]
            # Behind a string that lacked a quote, `,` between two may be what parts two others.
            apart = "opening quote" in undone and _ONLY_MARKS.fullmatch(text)
            if end >= 0 and not apart:
                yield quoted_value(text, shape), end + 1, undone
            return
        if mark in _QUOTES:
            if (so_far := self._with(undone, _QUOTES[mark])) is not None:
                yield from self._up_to(mark, at + 1, shape, so_far)
            return
        if mark == "{":
            yield from self._members(at + 1, shape, {}, undone, ("}", depth))
        elif mark == "[":
            yield from self._items(at + 1, shape, [], undone, depth)
        else:
            yield from self._bare(at, shape, undone)
        # Whatever it begins with, it may be a string that lost its opening quote. White space may
        # be the text's own, except in JSON as people lay it out. And right behind a closing quote
        # token, it may as well be that one which is missing elsewhere.
        own = 1 if "JSON" in undone else 0
        begins = at - start in (0, own) and self._text[at - 1] != self._quote
        if begins and shape.allows("string") and not _BEFORE_COMMA.match(self._text, at):
            yield from self._without_opening(at, shape, undone)

    def _bare(self, at: int, shape: Shape, undone: _Damages) -> Iterator[_Read]:
        """A value without quotes. Behind a rule that returns True no other rule applies."""
        rules = (self._literal, self._constant, self._fused, self._loose_number, self._unquoted)
        for rule in rules:
            if (yield from rule(at, shape, undone)):
                return

    def _literal(self, at: int, shape: Shape, undone: _Damages) -> Generator[_Read, None, bool]:
        """`5`, `true`: Gemma's own, or a text without quotes where the schema has only texts."""
        found = LITERAL.match(self._text, at)
        if found is None or not self._goes_on(found.end()):
            return False
        value = bare_value(found[0], shape)
        so_far = self._with(undone, "no quotes") if isinstance(value, str) else undone
        if so_far is not None:
            yield value, found.end(), so_far
        return True

    def _constant(self, at: int, shape: Shape, undone: _Damages) -> Generator[_Read, None, bool]:
        """`True`, `None`: Python's own, where nothing goes on but a key without its comma."""
        so_far, found = self._with(undone, "constant"), _CONSTANT.match(self._text, at)
        if so_far is None or found is None:
            return False
        alone = not re.match(r"\w", self._text[found.end() : found.end() + 1])
        value = _CONSTANTS[found[0].lower()]
        fits = shape.allows("null" if value is None else "boolean")
        if not fits or not (alone or self._key_at(found.end())):
            return False
        yield value, found.end(), so_far
        return True

    def _fused(self, at: int, shape: Shape, undone: _Damages) -> Generator[_Read, None, bool]:
        """`5days:`, a literal with the next key right behind it: the comma between them is lost."""
        if (found := _FUSED.match(self._text, at)) and self._key_at(found.end()):
            yield bare_value(found[0], shape), found.end(), undone
        return False

    def _loose_number(
        self, at: int, shape: Shape, undone: _Damages
    ) -> Generator[_Read, None, bool]:
        """`+5`, `.5`: as other languages write it. Where no text may stand, no rule is left."""
        if shape.allows("string"):
            return False
        so_far = self._with(undone, "constant")
        if (found := _LOOSE.match(self._text, at)) and so_far is not None:
            value = bare_value(found[0], shape)
            if not isinstance(value, str):
                yield value, found.end(), so_far
        return True

    def _unquoted(
        self,
        at: int,
        shape: Shape,  # noqa: ARG002 - every rule is given the same
        undone: _Damages,
    ) -> Generator[_Read, None, bool]:
        """A text without any quotes, as far as its ends are certain: it has no mark of syntax, and
        neither end touches white space or a quote, which could as well be the text's own.
        """
        so_far = self._with(undone, "no quotes")
        stop = re.compile(rf"[{{}}\[\]()\"'\n{self._quote}]").search(self._text, at)
        limit = stop.start() if stop else len(self._text)
        around = self._text[at - 1] + self._text[limit : limit + 1]
        if so_far is None or self._quote in around or re.search(r"\s", around):
            return True
        comma = self._text.find(",", at, limit)
        while comma >= 0 and not self._key_at(self._skip(comma + 1)):
            comma = self._text.find(",", comma + 1, limit)
        end = comma if comma >= 0 else limit
        text = self._text[at:end]
        item = self._text[at - 1] in "[,"
        certain = not _WORD.fullmatch(text) and not (item and "," in text)
        certain &= _OTHER_QUOTES.isdisjoint(text[:1] + text[-1:])
        if certain and text and text == text.strip() and not self._is_two(text, "none"):
            yield text, end, so_far
        return True

    # --- texts that lack a quote -----------------------------------------------------------------

    def _without_opening(self, at: int, shape: Shape, undone: _Damages) -> Iterator[_Read]:
        """A string whose opening quote is missing: it goes on to the closing one."""
        so_far = self._with(undone, "opening quote")
        if so_far is None or self._text[at] in _OTHER_QUOTES:
            return
        end = self._text.find(self._quote, at)
        text = self._text[at:end]
        if end > at:
            self._step(len(text))
            if not self._is_two(text, "closed"):
                yield quoted_value(text, shape), end + 1, so_far
            return
        for mark, damage in _QUOTES.items():
            if (both := self._with(so_far, damage)) is not None:
                # A text that holds the mark may have had it in a pair of its own.
                for reading in self._up_to(mark, at, shape, both):
                    text = self._text[at : reading[1] - 1]
                    if mark not in text and not self._is_two(text, "closed otherwise"):
                        yield reading

    def _up_to(self, mark: str, start: int, shape: Shape, undone: _Damages) -> Iterator[_Read]:
        """Texts that end at a `'` or `"` behind which the call can go on."""
        end = self._text.find(mark, start)
        while end >= 0:
            self._step((end - start) // 8)
            text = self._text[start:end]
            escaped = (len(text) - len(text.rstrip("\\"))) % 2
            doubled = bool(text) and self._text[end + 1 : end + 2] == mark
            if doubled and not self._key_at(end + 1):
                return  # this is how some languages write a quote inside a text
            if not escaped and self._goes_on(end + 1):
                if self._is_two(text, "'" if mark == "'" else '"'):
                    return  # and so would every longer one
                if _begins_and_ends_quoted(text, mark):
                    return
                for read in _unescaped(text, mark):
                    yield quoted_value(read, shape), end + 1, undone
            end = self._text.find(mark, end + 1)

    def _is_two(self, text: str, quoting: _Quoting) -> bool:
        """Whether a text holds a piece of the call's syntax, so that it is two values."""
        return any(finds(text) for finds in (*self._own[quoting], *_FOREIGN[quoting]))

    # --- looking ahead ---------------------------------------------------------------------------

    def _goes_on(self, at: int) -> bool:
        """Whether an element can end here."""
        at = self._skip(at)
        marks = f",}}])\"'{{[{self._quote}"
        return at == len(self._text) or self._text[at] in marks or self._key_at(at)

    def _key_at(self, at: int) -> bool:
        """Whether a declared name begins here, quoted or not."""
        if self._text[at : at + 1] in (self._quote, "'", '"'):
            at += 1
        names = (self._declared, _BARE_NAME) if self._takes_others else (self._declared,)
        found = (name.match(self._text, at) for name in names)
        return any(name and _KEY_END.match(self._text, name.end()) for name in found)

    def _skip(self, at: int) -> int:
        space = SPACE.match(self._text, at)
        return space.end() if space else at

    def _with(self, undone: _Damages, damage: Damage) -> _Damages | None:
        """What was undone with this too; None if that is too much."""
        if damage == "JSON quotes" and "JSON" in undone:
            return undone
        both: _Damages = undone.union((damage,))
        # With these two nobody knows where one text ends and the next begins.
        uncertain = {"opening quote", "no quotes"} <= both
        return both if len(both) <= MOST_DAMAGE and not uncertain else None

    def _step(self, characters: int = 0) -> None:
        self._steps -= 1 + characters // 64
        if self._steps < 0:
            raise RecursionError("too many places to try")


def _has_a_stray_member(value: Any, shape: Shape) -> bool:
    """Whether an object inside the arguments holds a member that only an open schema lets it have,
    behind another one. Where a brace was lost, it may have stood between these two.
    """
    if isinstance(value, list):
        return any(_has_a_stray_member(item, shape.item(at)) for at, item in enumerate(value))
    if not isinstance(value, dict):
        return False
    for key, item in value.items():
        inner = shape.property(key)
        if isinstance(item, dict) and any(name not in inner.names for name in list(item)[1:]):
            return True
        if _has_a_stray_member(item, inner):
            return True
    return False


_JSON: Final = json.JSONDecoder(strict=False)
_ITSELF: Final = re.compile(r"\A[A-Za-z]:\\\w|\\[bf]")


def _begins_and_ends_quoted(text: str, mark: str) -> bool:
    """Whether it is the inside of `"a" and "b"`: a text with quoted words at both ends."""
    first, last = text.find(mark), text.rfind(mark)
    if not 0 < first <= last - 3 or last + 1 == len(text):
        return False
    before, behind = text[first - 1], text[first + 1]
    return (behind + text[last - 1]).isspace() and not (
        before.isspace() or text[last + 1].isspace()
    )


def _unescaped(text: str, mark: str) -> set[str]:
    r"""What a text between other quotes may say.

    In JSON's quotes its escapes are JSON's. Two kinds of text look as if they had some and mean
    themselves: a path of Windows, and a pattern with `\b`. There, and between single quotes, nobody
    can tell which was meant, so both are readings.
    """
    if "\\" not in text:
        return {text}
    try:
        escaped = text if mark == '"' else text.replace("\\'", "'").replace('"', '\\"')
        read = json.loads(f'"{escaped}"', strict=False)
        read.encode()  # "\\ud800" is valid JSON and no valid text
    except ValueError:
        return {text}
    certain = mark == '"' and not _ITSELF.search(text)
    return {read} if certain else {text, read}
