"""One call as the model wrote it → its name and arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from agentkit.gemma4.lexer import Control
from agentkit.gemma4.scalars import conform
from agentkit.gemma4.shape import ANYTHING, Shape
from agentkit.gemma4.tokens import QUOTE
from agentkit.gemma4.values import Cut, read_arguments
from agentkit.messages import JsonObject, ToolCall

__all__ = ["CallReading", "ParsedCall", "Schemas", "free_character", "header_of", "read_call"]

Schemas: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Tool name → JSON Schema of its arguments object."""


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A call in a reply.

    Attributes:
        name: As the model wrote it.
        arguments: Typed by the tool's schema; empty when the call could not be read.
        raw: The whole call as the model wrote it, control tokens spelled out.
        start: Where it begins in the reply, in characters.
        end: Where it ends.
        malformed: What could not be read; the call must not run then.
    """

    name: str
    arguments: JsonObject = field(default_factory=dict)
    raw: str = ""
    start: int = 0
    end: int = 0
    malformed: str | None = None

    def tool_call(self, call_id: str) -> ToolCall:
        """The call as the loop handles it."""
        return ToolCall(call_id, self.name, self.arguments, self.malformed)


@dataclass(frozen=True, slots=True)
class CallReading:
    """What came of reading the text between the call's control tokens.

    Attributes:
        name: Empty when there is none.
        arguments: None when they could not be read.
        cut: Where the text ended too early, if it did.
        misfit: In how many places the arguments depart from the schema.
        end: Characters read, the quote token counted as one.
        whole: Nothing but white space follows.
    """

    name: str = ""
    arguments: JsonObject | None = None
    cut: Cut | None = None
    misfit: int = 0
    end: int = 0
    whole: bool = True


# Possessive throughout: on a long run of spaces anything else would try every way to split it.
_HEADER = re.compile(r"\s*+(?:call\b)?+\s*+:?+\s*+([^{(]*+)([{(])")
_BARE_NAME = re.compile(r"\s*+(?:call\b)?+\s*+:?+\s*+([^\s{(<]++)\s*+")


def header_of(text: str) -> tuple[str, int] | None:
    """Name and end of `call:NAME{`, once it is there."""
    header = _HEADER.match(text)
    return (header[1].strip(), header.end()) if header else None


def read_call(body: Iterable[str], tools: Schemas, *, closed: bool) -> CallReading:
    """Read one call.

    Args:
        body: The pieces between `<|tool_call>` and `<tool_call|>`, `Control` for control tokens.
        tools: Schemas to type the values by.
        closed: The model ended the call itself, so repairs are allowed.
    """
    text, quote = _flat(list(body))
    header = _HEADER.match(text)
    if not header:
        name = _BARE_NAME.fullmatch(text)
        return CallReading(name[1], {}) if name and closed else CallReading(cut="name")
    name_text = header[1].strip().strip(f'{quote}"')
    rest = text[header.end() :]
    if header[2] == "(" and rest.rstrip().endswith(")"):
        rest = rest.rstrip()[:-1] + "}"
    if not name_text:
        return _json_call(rest, quote, tools, closed=closed)
    shape = _shape(name_text, tools)
    reading = read_arguments(rest, quote, shape, closed=closed)
    misfit = 0 if reading.arguments is None else shape.misfit(reading.arguments)
    end = header.end() + reading.end
    whole = not rest[reading.end :].strip()
    return CallReading(name_text, reading.arguments, reading.cut, misfit, end, whole)


def _json_call(text: str, quote: str, tools: Schemas, *, closed: bool) -> CallReading:
    """`{"name": …, "arguments": {…}}`, the habit of other models."""
    reading = read_arguments(text, quote, ANYTHING, closed=closed)
    given = reading.arguments or {}
    name = given.get("name")
    arguments = given.get("arguments", given.get("parameters", {}))
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return CallReading(cut=reading.cut)
    shape = _shape(name, tools)
    arguments = conform(arguments, shape)
    return CallReading(name, arguments, reading.cut, shape.misfit(arguments), reading.end)


def _shape(name: str, tools: Schemas) -> Shape:
    """The schema of a tool, also when the name has a prefix such as `tool:`."""
    schema = tools.get(name) or tools.get(name.rpartition(":")[2])
    return Shape.of(schema) if schema else ANYTHING


# --- the quote token as one character ----------------------------------------------------------

_NONCHARACTERS: Final = tuple(map(chr, range(0xFDD0, 0xFDF0)))
"""Code points that Unicode keeps free for internal use like this."""


def _flat(pieces: list[str]) -> tuple[str, str]:
    """The pieces as one text in which a character of its own stands for the quote token."""
    quote = free_character("".join(pieces))
    return "".join(
        quote if isinstance(piece, Control) and piece == QUOTE else piece for piece in pieces
    ), quote


def free_character(text: str) -> str:
    """A character that the text does not hold, to stand for the quote token."""
    return next((mark for mark in _NONCHARACTERS if mark not in text), "\0")
