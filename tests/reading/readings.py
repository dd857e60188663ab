"""All readings of a unit that fit the tools: those reached by undoing at most two damages.

A search, not a parser: at each place every damage that could have been done there is undone, and
whatever comes out whole and fits its schema is a reading. It says from outside the parser under
test whether a damaged call can be read in one way only. It shares no code with agentkit.

Undoing a habit that runs through a whole unit (its quotes, kwargs, Python's constants, ...) counts
once; undoing what is missing in one place counts each time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import Any, Final

from tests.reading.damage import GENERIC_NAMESPACES, Kind, Meant
from tests.reading.schemas import JsonObject, SchemaTool
from tests.reading.tokens import CLOSE, OPEN, QUOTE

MOST: Final = 2
"""Damages that are undone at most."""

_STYLES: Final[tuple[Kind, ...]] = (
    "single quotes",
    "JSON quotes",
    "raw newlines",
    "kwargs",
    "constants",
    "namespace",
    "no call",
    "several in one pair",
    "whole JSON",
)
_ANYTHING: Final[JsonObject] = {}

Found = tuple[Any, int, int]
"""A value, where it ends, and how many damages were undone for it."""


@dataclass(frozen=True)
class Reading:
    """One way to read a unit.

    Attributes:
        calls: The calls.
        undone: How many damages were undone.
    """

    calls: tuple[Meant, ...]
    undone: int

    @property
    def key(self) -> str:
        return "; ".join(call.key for call in self.calls)


def readings(
    unit: str, tools: Mapping[str, SchemaTool], *, closing: bool = False
) -> dict[str, Reading]:
    """Every reading of a unit, by its key; of equal ones that which undoes least.

    Args:
        unit: With its pair of call tokens.
        tools: What is offered.
        closing: Undo missing closing quotes too. A text whose end is lost may end at many places,
            so that hardly any call has one reading only; this damage is therefore asked for apart.
    """
    body = unit.removeprefix(OPEN).removesuffix(CLOSE)
    found: dict[str, Reading] = {}
    for number in range(MOST + 1):
        for styles in combinations(_possible_styles(body), number):
            search = _Search(body, tools, frozenset(styles), MOST - number, closing)
            for calls, undone in search.units():
                reading = Reading(calls, undone + number)
                known = found.get(reading.key)
                if known is None or reading.undone < known.undone:
                    found[reading.key] = reading
    return found


def _possible_styles(body: str) -> list[Kind]:
    """Habits of which the text shows a sign; the others would be undone in vain."""
    signs: dict[Kind, str] = {
        "single quotes": "'",
        "JSON quotes": '"',
        "raw newlines": '"[^"]*\n',
        "kwargs": r"[=(]",
        "constants": r"\b(?:None|True|False)",
        "namespace": "|".join(map(re.escape, GENERIC_NAMESPACES)),
        "no call": r"\A(?!\s*call:)",
        "several in one pair": r"call:.*[{(]|\A(?!\s*call:).*[{(].*[{(]",
        "whole JSON": r"\A\s*\{",
    }
    return [kind for kind in _STYLES if re.search(signs[kind], body, re.DOTALL)]


_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NUMERIC: Final = re.compile(r"[-+\d.eE]+")
_WORD: Final = re.compile(r"true|false|null|None|True|False")
_WORDS: Final = {"true": True, "false": False, "null": None}
_CONSTANTS: Final = {"None": None, "True": True, "False": False}
_KEY: Final = re.compile(r"[\w$/-](?:[\w$/. -]*[\w$/.-])?")
_SPACE: Final = re.compile(r"\s*")


@dataclass
class _Search:
    """The readings of one text, given the habits that run through it.

    Attributes:
        left: How many single places may be mended.
        closing: Whether a closing quote may be missing.
    """

    body: str
    tools: Mapping[str, SchemaTool]
    styles: frozenset[Kind]
    left: int
    closing: bool
    _known: dict[tuple[str, int, int, int, bool], list[Found]] = field(default_factory=dict)

    # --- calls -----------------------------------------------------------------------------

    def units(self) -> Iterator[tuple[tuple[Meant, ...], int]]:
        """The calls of the whole text, and how many places were mended."""
        several = "several in one pair" in self.styles
        pending: list[tuple[tuple[Meant, ...], int, int]] = [((), 0, 0)]
        while pending:
            calls, at, undone = pending.pop()
            for call, end, more in self._call(at, self.left - undone):
                total = undone + more
                if not self.body[end:].strip() and (len(calls) > 0) == several:
                    yield (*calls, call), total
                elif several and len(calls) < 3:
                    pending.append(((*calls, call), end, total))

    def _call(self, at: int, left: int) -> Iterator[tuple[Meant, int, int]]:
        at = self._skip(at)
        if "whole JSON" in self.styles:
            yield from self._json_call(at, left)
            return
        prefix = r":?(?!call:)" if "no call" in self.styles else "call:"
        found = re.compile(prefix).match(self.body, at)
        header = re.compile(r"([\w.:/-]+)([{(])").match(self.body, found.end()) if found else None
        if header is None:
            return
        tool = self._tool(header[1])
        kwargs = "kwargs" in self.styles
        if tool is None or (header[2] == "(" and not kwargs):
            return
        closer = ")" if header[2] == "(" else "}"
        for arguments, end, undone in self._members(
            tool.schema, header.end(), left, closer=closer, top=True
        ):
            if tool.fits(arguments):
                yield Meant(tool.name, arguments), end, undone

    def _json_call(self, at: int, left: int) -> Iterator[tuple[Meant, int, int]]:
        quote = "'" if "single quotes" in self.styles else '"'
        header = re.compile(
            rf"\{{\s*{quote}name{quote}\s*:\s*{quote}([\w.:/-]+){quote}\s*,\s*"
            rf"{quote}(?:arguments|parameters){quote}\s*:\s*\{{"
        ).match(self.body, at)
        tool = self._tool(header[1]) if header else None
        if header is None or tool is None:
            return
        for arguments, end, undone in self._members(
            tool.schema, header.end(), left, closer="}", top=False
        ):
            if not tool.fits(arguments):
                continue
            call = Meant(tool.name, arguments)
            behind = self._skip(end)
            if self.body[behind : behind + 1] == "}":
                yield call, behind + 1, undone
            elif undone < left:
                yield call, end, undone + 1

    def _tool(self, name: str) -> SchemaTool | None:
        if "namespace" in self.styles:
            for prefix in GENERIC_NAMESPACES:
                if name.startswith(prefix):
                    return self.tools.get(name.removeprefix(prefix))
            return None
        return self.tools.get(name)

    # --- objects and arrays ----------------------------------------------------------------

    def _members(
        self, schema: JsonObject, at: int, left: int, *, closer: str, top: bool
    ) -> Iterator[Found]:
        """Objects from behind their opening on."""
        pending: list[tuple[JsonObject, int, int, bool]] = [({}, at, 0, False)]
        seen: set[tuple[str, int, int]] = set()
        while pending:
            members, at, undone, expects = pending.pop()
            at = self._skip(at)
            if not expects:
                if self.body[at : at + 1] == closer:
                    yield members, at + 1, undone
                if undone < left and (members or at == len(self.body)):
                    yield members, at, undone + 1
            for step in self._grown(schema, members, at, undone, left, top=top):
                mark = (json.dumps(step[0]), step[1], step[2] * 2 + step[3])
                if mark not in seen:
                    seen.add(mark)
                    pending.append(step)

    def _grown(
        self, schema: JsonObject, members: JsonObject, at: int, undone: int, left: int, *, top: bool
    ) -> Iterator[tuple[JsonObject, int, int, bool]]:
        """The object with one member more, and whether another must follow."""
        for key, start in self._key(schema, at, top=top):
            if key not in members:
                inner = _member(schema, key)
                for value, end, more in self._value(inner, start, left - undone):
                    yield from self._after({**members, key: value}, end, undone + more, left)

    def _after(
        self, grown: JsonObject, end: int, undone: int, left: int
    ) -> Iterator[tuple[JsonObject, int, int, bool]]:
        end = self._skip(end)
        yield grown, end, undone, False
        if self.body[end : end + 1] == ",":
            yield grown, end + 1, undone, True
        elif undone < left:
            yield grown, end, undone + 1, True

    def _key(self, schema: JsonObject, at: int, *, top: bool) -> Iterator[tuple[str, int]]:
        """A declared name, or any where the schema lets any pass; and where its value begins."""
        quotes = "'" if "single quotes" in self.styles else ""
        if "whole JSON" in self.styles or self.styles & {"JSON quotes", "raw newlines"}:
            quotes += '"'
        start = at
        quote = self.body[at : at + 1]
        quoted = quote in quotes and quote != ""
        if quoted:
            start += 1
        found = _KEY.match(self.body, start)
        if found is None:
            return
        end = found.end()
        if quoted:
            if self.body[end : end + 1] != quote:
                return
            end += 1
        end = self._skip(end)
        separators = ":=" if top and "kwargs" in self.styles else ":"
        if self.body[end : end + 1] not in tuple(separators):
            return
        declared = schema.get("properties")
        if declared and found[0] not in declared and not schema.get("additionalProperties"):
            return
        yield found[0], end + 1

    def _array(self, schema: JsonObject, at: int, left: int) -> Iterator[Found]:
        item = schema.get("items", _ANYTHING)
        pending: list[tuple[list[Any], int, int, bool]] = [([], at, 0, False)]
        while pending:
            items, at, undone, expects = pending.pop()
            at = self._skip(at)
            if not expects:
                if self.body[at : at + 1] == "]":
                    yield items, at + 1, undone
                if undone < left:
                    yield items, at, undone + 1
                if items and undone < left:
                    undone += 1
                elif items:
                    continue
            if len(items) > 12:
                continue
            for value, end, more in self._value(item, at, left - undone):
                end = self._skip(end)
                pending.append(([*items, value], end, undone + more, False))
                if self.body[end : end + 1] == ",":
                    pending.append(([*items, value], end + 1, undone + more, True))

    # --- values ----------------------------------------------------------------------------

    def _value(self, schema: JsonObject, at: int, left: int) -> list[Found]:
        at = self._skip(at)
        key = ("value", id(schema), at, left, True)
        if key not in self._known:
            self._known[key] = [*self._values(schema, at, left)]
        return self._known[key]

    def _values(self, schema: JsonObject, at: int, left: int) -> Iterator[Found]:
        types = _types(schema)
        start = self.body[at : at + 1]
        if "object" in types and start == "{":
            yield from self._members(_branch(schema, "object"), at + 1, left, closer="}", top=False)
        if "array" in types and start == "[":
            yield from self._array(_branch(schema, "array"), at + 1, left)
        yield from self._scalars(at, left)
        if "string" in types:
            names = schema.get("enum")
            for text, end, undone in self._strings(at, left):
                if names is None or text in names:
                    yield text, end, undone

    def _scalars(self, at: int, left: int) -> Iterator[Found]:
        """Numbers and constants; where a comma may be missing, also one that runs into a key."""
        if run := _NUMERIC.match(self.body, at):
            if _NUMBER.fullmatch(run[0]):
                yield json.loads(run[0]), run.end(), 0
            elif left > 0:
                for end in range(at + 1, run.end()):
                    if _NUMBER.fullmatch(self.body, at, end):
                        yield json.loads(self.body[at:end]), end, 0
        known = _WORDS | (_CONSTANTS if "constants" in self.styles else {})
        word = _WORD.match(self.body, at)
        if word and word[0] in known:
            joined = re.compile(r"\w").match(self.body, word.end())
            if joined is None or left > 0:
                yield known[word[0]], word.end(), 0

    def _strings(self, at: int, left: int) -> Iterator[Found]:
        limit = self.body.find(QUOTE, at + 1)
        limit = len(self.body) if limit < 0 else limit
        for quote in self._quotes():
            opened = self.body[at : at + 1] == quote
            start = at + 1 if opened else at
            missing = 0 if opened else 1
            if missing > left:
                continue
            if quote != QUOTE and not opened and self.body[at : at + 1] == QUOTE:
                continue
            if opened and left > 0:  # an empty string of which only the end is left
                yield "", at + 1, 1
            for end in self._closings(quote, start, limit):
                for text in self._texts(quote, self.body[start:end]):
                    yield text, end + 1, missing
            if self.closing and missing < left:
                for end in self._open_ends(start, limit):
                    raw = self.body[start:end]
                    for text in self._texts(quote, raw):
                        yield text, end, missing + 1

    def _quotes(self) -> list[str]:
        quotes = [] if "whole JSON" in self.styles else [QUOTE]
        if "single quotes" in self.styles:
            quotes.append("'")
        elif "whole JSON" in self.styles or self.styles & {"JSON quotes", "raw newlines"}:
            quotes.append('"')
        return quotes

    def _closings(self, quote: str, start: int, limit: int) -> Iterator[int]:
        """Where a string that is closed can end."""
        if quote == QUOTE:
            end = self.body.find(QUOTE, start)
            if end >= 0:
                yield end
            return
        if quote == '"':
            found = re.compile(r'(?:[^"\\]|\\.)*"', re.DOTALL).match(self.body, start)
            if found and found.end() <= limit:
                yield found.end() - 1
            return
        end = self.body.find(quote, start, limit)
        while end >= 0:
            yield end
            end = self.body.find(quote, end + 1, limit)

    def _open_ends(self, start: int, limit: int) -> Iterator[int]:
        """Where a string whose closing quote is missing can end: before what may follow it."""
        for found in _names_ahead(tuple(self.tools.values())).finditer(self.body, start):
            if found.start() > limit:
                break
            yield found.start()
        if limit < len(self.body):
            yield limit

    def _texts(self, quote: str, raw: str) -> Iterator[str]:
        """What a text between such quotes says."""
        if quote == QUOTE:
            yield raw
            return
        if QUOTE in raw:
            return
        if quote == '"':
            yield _json_decoded(raw)
            return
        yield raw
        if "\\" in raw:
            yield re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), raw)

    def _skip(self, at: int) -> int:
        space = _SPACE.match(self.body, at)
        return space.end() if space else at


_ESCAPES: Final = {"n": "\n", "'": "'", "\\": "\\"}


@cache
def _names_ahead(tools: tuple[SchemaTool, ...]) -> re.Pattern[str]:
    """What may follow a text: the end, a closer, a comma, a key, another call."""
    names = sorted({name for tool in tools for name in _all_names(tool.schema)})
    keys = "|".join(map(re.escape, names))
    return re.compile(rf"[,}}\])]|\s*\Z|(?=(?:{keys})\s*[:=])|(?=\b[\w-]+\s*[:=])|(?=call:)")


def _all_names(schema: JsonObject) -> Iterator[str]:
    for name, inner in schema.get("properties", {}).items():
        yield name
        yield from _all_names(inner)
    if "items" in schema:
        yield from _all_names(schema["items"])


def _json_decoded(raw: str) -> str:
    try:
        return str(json.loads(f'"{raw}"', strict=False))
    except ValueError:
        return raw


def _types(schema: JsonObject) -> frozenset[str]:
    if "anyOf" in schema:
        return frozenset().union(*map(_types, schema["anyOf"]))
    kind = schema.get("type")
    if kind is None:
        return frozenset(("object", "array", "string", "number", "boolean", "null"))
    return frozenset((kind,) if isinstance(kind, str) else kind)


def _branch(schema: JsonObject, kind: str) -> JsonObject:
    return schema if kind in _types(schema) else _ANYTHING


def _member(schema: JsonObject, key: str) -> JsonObject:
    declared = schema.get("properties", {}).get(key)
    return _ANYTHING if declared is None else declared
