"""What vLLM 0.32 makes of a reply, as its behaviour is seen from outside.

It takes control tokens by their id or by their spelling, reads whatever stands between a pair of
call tokens without ever refusing, and gives each value the type that the tool's schema asks for.
`soak.readers` counts how often this stand-in and the real parser agree.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.reading.schemas import JsonObject
from tests.reading.tokens import (
    CLOSE,
    LITERALS,
    OPEN,
    QUOTE,
    RESPONSE,
    THOUGHT_CLOSE,
    THOUGHT_OPEN,
    TURN_END,
    spelled,
)


@dataclass(frozen=True)
class Read:
    """A reply as the server reports it: `content`, `reasoning`, and calls with argument text."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()


_MARKS: Final = (THOUGHT_OPEN, THOUGHT_CLOSE, OPEN, CLOSE)
_BOUNDARY: Final = re.compile("|".join(re.escape(LITERALS[mark]) for mark in _MARKS))
_BOUNDARY_TOKEN: Final = re.compile(f"[{''.join(_MARKS)}]")
_STOPS: Final = re.compile(f"[{RESPONSE}{TURN_END}]\\Z")
_HEADER: Final = re.compile(r".*?(?:call:|:)(.*?)[{(](.*)", re.DOTALL)
_QUOTE: Final = LITERALS[QUOTE]


def read_as_vllm(written: str, schemas: Mapping[str, JsonObject], *, by_ids: bool = False) -> Read:
    """Text, thought and calls of a reply.

    Args:
        written: The reply, private characters for control tokens.
        schemas: Of the tools on offer, by name.
        by_ids: Only real control tokens are taken for such, as in a stream. A reply that is read
            whole is read from its text, and what stands behind its first call is dropped.
    """
    text: list[str] = []
    thought: list[str] = []
    calls: list[tuple[str, str]] = []
    state, at = "text", 0
    whole = _STOPS.sub("", written)
    whole = whole if by_ids else spelled(whole)
    found: re.Match[str] | None
    for found in [*(_BOUNDARY_TOKEN if by_ids else _BOUNDARY).finditer(whole), None]:
        part = spelled(whole[at : found.start() if found else len(whole)])
        if state == "thought":
            thought.append(part)
        elif state == "call":
            call = _call(part, schemas)
            calls += [] if call is None else [call]
        elif by_ids or not calls:
            text.append(part)
        if found is not None:
            at = found.end()
            state = _next(state, spelled(found[0]))
    shown = "".join(text)
    reasoning = "".join(thought).removeprefix("thought\n")
    return Read(shown.rstrip() if calls and not by_ids else shown, reasoning, tuple(calls))


def _next(state: str, literal: str) -> str:
    if literal == LITERALS[OPEN]:
        return "call"
    if state == "call":
        return "text" if literal == LITERALS[CLOSE] else "call"
    if literal == LITERALS[THOUGHT_OPEN]:
        return "thought"
    return "text" if literal == LITERALS[THOUGHT_CLOSE] else state


def _call(part: str, schemas: Mapping[str, JsonObject]) -> tuple[str, str] | None:
    header = _HEADER.fullmatch(part)
    if header is None:
        return None
    name, text = header[1].strip(), header[2].strip()
    if text.endswith("}") or (text.endswith(")") and text.count("(") < text.count(")")):
        text = text[:-1]
    arguments = _members(text)
    properties = schemas.get(name, {}).get("properties", {})
    _typed_members(arguments, properties)
    return name, json.dumps(arguments, ensure_ascii=False)


# --- values: nothing is ever refused -----------------------------------------------------------


def _members(text: str) -> dict[str, Any]:
    members: dict[str, Any] = {}
    at = 0
    while (at := _past(text, at, " ,\n\t")) < len(text):
        colon = text.find(":", at)
        if colon < 0:
            break
        key = text[at:colon].strip()
        if key.startswith(_QUOTE) and key.endswith(_QUOTE) and len(key) >= 2 * len(_QUOTE):
            key = key[len(_QUOTE) : -len(_QUOTE)]
        at = _past(text, colon + 1, " \n\t")
        if at >= len(text):
            members[key] = ""
            break
        value, end = _value(text, at, ",}]")
        if end == at:
            break
        members[key], at = value, end
    return members


def _items(text: str) -> list[Any]:
    items: list[Any] = []
    at = 0
    while (at := _past(text, at, " ,\n\t")) < len(text):
        value, end = _value(text, at, ",]")
        if end == at:
            break
        items.append(value)
        at = end
    return items


def _value(text: str, at: int, stops: str) -> tuple[Any, int]:
    if text.startswith(_QUOTE, at):
        start = at + len(_QUOTE)
        end = text.find(_QUOTE, start)
        return (text[start:], len(text)) if end < 0 else (text[start:end], end + len(_QUOTE))
    if text[at] in "{[":
        end, closed = _closing(text, at)
        inner = text[at + 1 : end - 1] if closed else text[at + 1 :]
        return (_members(inner) if text[at] == "{" else _items(inner)), end
    end = at
    while end < len(text) and text[end] not in stops:
        end += 1
    return text[at:end].strip(), end


def _closing(text: str, at: int) -> tuple[int, bool]:
    """Behind the bracket that closes the one at a place, strings skipped."""
    opener, closer = text[at], {"{": "}", "[": "]"}[text[at]]
    depth, at = 1, at + 1
    while at < len(text) and depth:
        if text.startswith(_QUOTE, at):
            end = text.find(_QUOTE, at + len(_QUOTE))
            at = len(text) if end < 0 else end + len(_QUOTE)
            continue
        depth += (text[at] == opener) - (text[at] == closer)
        at += 1
    return at, depth == 0


def _past(text: str, at: int, what: str) -> int:
    while at < len(text) and text[at] in what:
        at += 1
    return at


# --- types: whatever the schema asks for -------------------------------------------------------


def _typed_members(members: dict[str, Any], properties: Mapping[str, Any]) -> None:
    for key, value in members.items():
        if isinstance(properties.get(key), dict):
            members[key] = _typed(value, properties[key])


def _typed(value: Any, schema: JsonObject) -> Any:
    if isinstance(value, dict):
        _typed_members(value, schema.get("properties", {}))
        return value
    if isinstance(value, list):
        item = schema.get("items")
        return [_typed(each, item) for each in value] if isinstance(item, dict) else value
    return _coerced(value, _types(schema))


def _types(schema: JsonObject) -> set[str]:
    found: set[str] = set()
    for branch in [schema, *schema.get("anyOf", ())]:
        kind = branch.get("type", [])
        found |= {kind} if isinstance(kind, str) else set(kind)
    return found or {"string"}


def _coerced(text: str, types: set[str]) -> Any:
    if "null" in types and text.lower() == "null":
        return None
    if "integer" in types and re.fullmatch(r"\s*[-+]?\d+(?:_\d+)*\s*", text):
        return int(text)
    if "number" in types and (number := _number(text)) is not None:
        return number
    if "boolean" in types and (word := text.lower().strip()) in ("true", "1", "false", "0"):
        return word in ("true", "1")
    if types & {"object", "array"} and (parsed := _parsed(text)) is not None:
        return parsed
    return text if "string" in types else _parsed(text, text)


def _number(text: str) -> float | int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else number


def _parsed(text: str, default: Any = None) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return default
