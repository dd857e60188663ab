"""What stands between a call's control tokens → the calls that the model meant by it.

Read exactly, a call is what it says. What cannot be read exactly is repaired, but only where one
reading alone fits the tool's schema; otherwise it is malformed, and the caller can ask again.
Several calls in one pair of tokens (openvinotoolkit/model_server#4179) are read one by one, so that
damage in one of them does not cost the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from agentkit.gemma4.exact import Cut, conform, read_exactly
from agentkit.gemma4.repair import MOST_DAMAGE, Damage, Readings
from agentkit.gemma4.tokens import QUOTE, Control
from agentkit.gemma4.wrong_forms import resolve_name
from agentkit.messages import JsonObject, ToolCall
from agentkit.schema.shape import ANYTHING, Shape

Schemas: TypeAlias = Mapping[str, Shape | Mapping[str, Any]]
"""Tool name → JSON Schema of its arguments object, or the view of one."""


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A call in a reply.

    Attributes:
        name: The name as the model wrote it.
        arguments: Typed by the tool's schema; empty when the call could not be read.
        raw: The whole call as the model wrote it, control tokens spelled out.
        malformed: What could not be read; the call must not run then.
        damage: What was undone to read it; empty when it was read exactly.
    """

    name: str
    arguments: JsonObject = field(default_factory=dict)
    raw: str = ""
    malformed: str | None = None
    damage: tuple[Damage, ...] = ()

    def tool_call(self, call_id: str) -> ToolCall:
        """The call as the loop handles it."""
        return ToolCall(call_id, self.name, self.arguments, self.malformed)


@dataclass(frozen=True, slots=True)
class CallReading:
    """The result of reading one call.

    Attributes:
        name: The name as the model wrote it; empty when there is none.
        arguments: None when they could not be read.
        raw: What it was read from, the quote token spelled out.
        cut: The place at which the text ended too early, if it did.
        damage: What was undone to read it.
    """

    name: str = ""
    arguments: JsonObject | None = None
    raw: str = ""
    cut: Cut | None = None
    damage: frozenset[Damage] = frozenset()


def header_of(text: str) -> tuple[str, int] | None:
    """Name and end of `call:NAME{`, once it is there."""
    header = _LOOSE_HEADER.match(text)
    return (header[1].strip(), header.end()) if header else None


def read_calls(body: Iterable[str], tools: Schemas, *, closed: bool) -> list[CallReading]:
    """Read the calls of one pair of control tokens; there is always at least one reading.

    Args:
        body: The pieces between `<|tool_call>` and `<tool_call|>`, `Control` for control tokens.
        tools: Schemas to type the values by.
        closed: The model ended the call itself; one that it did not is only read exactly.
    """
    text, quote = _flat(list(body))
    if closed and (wrapped := _WRAPPED.fullmatch(text)):
        text = wrapped[wrapped.lastindex or 0]
    readings: list[CallReading] = []
    reader = _Reader(tools, quote)
    while True:
        reading, rest = reader.first(text, closed=closed, shared=bool(readings))
        readings.append(reading)
        if not rest:
            return readings
        text = rest


# Possessive throughout: on a long run of spaces anything else would try every way to split it.
_NAMED: Final = r"[^{}(),:'\"\s\ufdd0-\ufdef]++"
_HEADER: Final = re.compile(rf"\s*+call\s*+:\s*+({_NAMED}(?::{_NAMED})*+)\s*+\{{")
_LOOSE_HEADER: Final = re.compile(r"\s*+(?i:call\b)?+\s*+:?+\s*+([^{(\[<]*+)([{(])")
_WRAPPED: Final = re.compile(
    r"\s*+(?:\[(.*)\]|```\w*+\n(.*)\n```|<([\w|]++)>(.*)</\3>)\s*+", re.DOTALL
)
"""A list, a fence or a tag around a call or several, which says nothing beside them."""
_NEXT: Final = re.compile(r"[\s,;]*+(?=call:)")


class _Reader:
    """Reads the first call of a text, for one set of tools."""

    def __init__(self, tools: Schemas, quote: str) -> None:
        self._tools = tools
        self._quote = quote

    def first(self, text: str, *, closed: bool, shared: bool) -> tuple[CallReading, str]:
        """The text's first call, and the text of the next ones."""
        header = _HEADER.match(text)
        cut: Cut | None = "name"
        if header is not None:
            exact = read_exactly(text, header.end(), self._quote, self._shape(header[1]))
            cut = exact.cut or "value"
            if exact.arguments is not None:
                raw, rest = self._spelled(text[: exact.end]), text[exact.end :]
                reading = CallReading(header[1], exact.arguments, raw)
                if not rest.strip():
                    return reading, ""
                if closed and (further := _NEXT.match(rest)):
                    return reading, rest[further.end() :]
        if not closed:
            return CallReading(self._name(text), None, self._spelled(text), cut), ""
        return self._repaired(text, shared=shared)

    def _repaired(self, text: str, *, shared: bool) -> tuple[CallReading, str]:
        """The one reading of a damaged call that fits; else one that says that there is none."""
        base: frozenset[Damage] = _SHARED if shared else frozenset()
        if (alone := self._only(text, base)) is not None:
            return alone, ""
        # Where another call begins, this one may end; what is left of it is read by itself. Only
        # the first such place counts: beyond it, nobody knows what is a call and what a text.
        own = _JSON_HEADER.match(text) or _LOOSE_HEADER.match(text)
        names = "|".join(map(re.escape, self._tools)) or "(?!)"
        heads = re.compile(rf"(?:\bcall:|:|\b)(?:{names})\s*+[{{(]|\{{\s*+[\"']name[\"']\s*+:")
        if (head := heads.search(text, own.end() if own else 1)) is not None:
            part, rest = text[: head.start()].rstrip(" \t\r\n,;"), text[head.start() :]
            if self._may_end(part) and (reading := self._only(part, base | _SHARED)) is not None:
                return reading, rest
            if part.count(self._quote) % 2 == 0 and part[-1:] in ("}", ")"):
                return self._malformed(part), rest
        return self._malformed(text), ""

    def _may_end(self, part: str) -> bool:
        """Whether a call may end here, though its brace is missing: else what comes is one of its
        texts, since it stands in a list, or right behind what may be that text's opening quote.
        """
        bare = re.sub(f"{self._quote}[^{self._quote}]*+{self._quote}", "", part)
        in_list = bare.count("[") > bare.count("]")
        opened = re.search(rf"[,:=\[{{(]\s*+{self._quote}++\Z", part)
        return part[-1:] in ("}", ")") or not (in_list or opened)

    def _only(self, text: str, base: frozenset[Damage]) -> CallReading | None:
        """The reading of this text as one call, if there is one and no other."""
        found: dict[str, CallReading] = {}
        raw = self._spelled(text)
        if (call := self._as_json(text)) is not None:
            return CallReading(*call, raw, damage=base | _JSON)
        try:
            for name, arguments, undone in self._readings(text, base):
                key = json.dumps([resolve_name(name, self._tools), arguments], sort_keys=True)
                found.setdefault(key, CallReading(name, arguments, raw, damage=undone))
                if len(found) > 1:
                    return None
        except RecursionError:
            return None
        return next(iter(found.values()), None)

    def _readings(
        self, text: str, base: frozenset[Damage]
    ) -> Iterator[tuple[str, JsonObject, frozenset[Damage]]]:
        for name, start, closers, damage in self._beginnings(text, base):
            shape = self._shape(name)
            readings = Readings(text, self._quote, shape, damage)
            for arguments, end, undone in readings.of(start, closers):
                behind = text[end:].strip()
                if behind and "JSON" not in damage and text.count("{") >= text.count("}"):
                    continue  # what closes too much was opened in what was read as a text
                more: frozenset[Damage] = frozenset()
                if behind != ("}" if "JSON" in damage else ""):
                    more = frozenset(["brace"])
                if len(undone | more) <= MOST_DAMAGE and not behind.strip("})] \t\r\n"):
                    yield name, arguments, undone | more

    def _beginnings(
        self, text: str, base: frozenset[Damage]
    ) -> Iterator[tuple[str, int, str, frozenset[Damage]]]:
        """Where the arguments of a known tool may begin.

        Yields:
            The tool's name, the place in the text, what closes the arguments, what is undone.
        """
        if header := _JSON_HEADER.match(text):
            other: frozenset[Damage] = frozenset(["single quotes"] if header[1] == "'" else [])
            if len(base | other) < MOST_DAMAGE and resolve_name(header[2], self._tools):
                yield header[2], header.end(), "}", base | other | _JSON
            return
        word = _CALL_WORD.match(text)
        unworded = base if word else base | _HEADERLESS
        if header := _LOOSE_HEADER.match(text):
            name = header[1].strip().strip("\"'`" + self._quote).strip()
            called: frozenset[Damage] = frozenset(["keywords"] if header[2] == "(" else [])
            damage = unworded | called
            if len(damage) <= MOST_DAMAGE and resolve_name(name, self._tools) is not None:
                yield name, header.end(), ")}" if called else "}", damage
        at = word.end() if word else 0
        for name in self._tools:  # the opening brace is missing
            behind = at + len(name)
            if text.startswith(name, at) and text[behind : behind + 1] not in ("{", "("):
                yield name, behind, "}", unworded | _BRACELESS

    def _as_json(self, text: str) -> tuple[str, JsonObject] | None:
        """`{"name": …, "arguments": {…}}`, the habit of other models, of a known tool."""
        word = _CALL_WORD.match(text)
        try:
            value = json.loads(text[word.end() if word else 0 :], strict=False)
        except (ValueError, RecursionError):
            return None
        name = value.get("name") if isinstance(value, dict) else None
        arguments = value.get("arguments", value.get("parameters", {})) if name else None
        if not isinstance(name, str) or not isinstance(arguments, dict):
            return None
        shape = self._shape(name)
        typed: JsonObject = conform(arguments, shape)
        known = resolve_name(name, self._tools) is not None
        return (name, typed) if known and not shape.misfit(typed) else None

    def _malformed(self, text: str) -> CallReading:
        return CallReading(self._name(text), None, self._spelled(text))

    def _name(self, text: str) -> str:
        """The name, as far as there is one, of a call that could not be read."""
        header = _LOOSE_HEADER.match(text)
        name = header[1].strip() if header else ""
        if name and resolve_name(name, self._tools):
            return name
        # Words or marks may stand around it: `Sure: find{`, `**find**{`, `[{"name": "find"`.
        head = _HEAD.match(text)
        if head and (head[1] or resolve_name(head[2], self._tools)):
            return head[1] or head[2]
        word = _CALL_WORD.match(text)
        begun = _BEGUN.match(text, word.end() if word else 0)
        return begun[0] if begun else name.strip("\"'`" + self._quote)

    def _shape(self, name: str) -> Shape:
        """The schema of the tool that a name means."""
        known = resolve_name(name, self._tools)
        return Shape.of(self._tools[known]) if known is not None else ANYTHING

    def _spelled(self, text: str) -> str:
        return text.replace(self._quote, QUOTE)


_JSON: Final[frozenset[Damage]] = frozenset(["JSON"])
_SHARED: Final[frozenset[Damage]] = frozenset(["shared pair"])
_HEADERLESS: Final[frozenset[Damage]] = frozenset(["header"])
_BRACELESS: Final[frozenset[Damage]] = frozenset(["brace"])
_JSON_HEADER: Final = re.compile(
    r"\s*+(?:call\s*+:\s*+)?\{\s*+([\"'])name\1\s*+:\s*+\1([\w.\-/: ]++)\1\s*+,"
    r"\s*+\1(?:arguments|parameters)\1\s*+:\s*+\{"
)
_CALL_WORD: Final = re.compile(r"\s*+call\s*+:\s*+")
_HEAD: Final = re.compile(
    r"\W*[\"']name[\"']\s*+:\s*+[\"']([\w.\-]++)[\"']"
    r"|[^{(]*?(?:\bcall\s*+:\s*+|(?<![\w.:/\-]))([\w\-]++)[^\w{(./]*+[{(]"
)
_BEGUN: Final = re.compile(r"[\w.\-/]++(?::[\w.\-/]++)*+")


# --- the quote token as one character ------------------------------------------------------------

_NONCHARACTERS: Final = tuple(map(chr, range(0xFDD0, 0xFDF0)))
"""Code points that Unicode keeps free for internal use like this."""


def _flat(pieces: list[str]) -> tuple[str, str]:
    """The pieces as one text in which a character of its own stands for the quote token."""
    whole = "".join(pieces)
    quote = next((mark for mark in _NONCHARACTERS if mark not in whole), "\0")
    return "".join(
        quote if isinstance(piece, Control) and piece == QUOTE else piece for piece in pieces
    ), quote
