"""A strict reader of Gemma 4's native calls, by token: exactly what the format says, or nothing.

It is written for judging: it repairs nothing, knows no schema, and shares no code with agentkit.
A string is what stands between two quote tokens, and no token of the call's own syntax can stand
in one. White space between the elements is let pass, as every known reader does.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from tests.reading.damage import Meant
from tests.reading.tokens import CLOSE, OPEN, QUOTE

_UNIT: Final = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}")
_NAME: Final = re.compile(r"call:([\w.:/-]+)\{")
_KEY: Final = re.compile(r"\s*([\w$/-](?:[\w$/. -]*[\w$/.-])?):")
_STRING: Final = re.compile(f"\\s*{QUOTE}([^{QUOTE}]*){QUOTE}")
_SCALAR: Final = re.compile(
    r"\s*(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?=\s*[,}\]])"
)
_SPACE: Final = re.compile(r"\s*")


class _NotExactError(Exception):
    pass


def read_strictly(unit: str) -> Meant | None:
    """The call of a unit that is written exactly as the format has it."""
    found = _UNIT.fullmatch(unit)
    return None if found is None else read_body(found[1])


def read_body(body: str) -> Meant | None:
    """The call that stands between a pair of call tokens, if it is written exactly."""
    name = _NAME.match(body)
    if name is None:
        return None
    try:
        arguments, end = _object(body, name.end())
    except (_NotExactError, RecursionError):
        return None
    return None if body[end:].strip() else Meant(name[1], arguments)


def _object(body: str, at: int) -> tuple[dict[str, Any], int]:
    members: dict[str, Any] = {}
    at = _skip(body, at)
    if body[at : at + 1] == "}":
        return members, at + 1
    while True:
        key = _KEY.match(body, at)
        if key is None or key[1] in members:
            raise _NotExactError
        members[key[1]], at = _value(body, key.end())
        at = _skip(body, at)
        if body[at : at + 1] == "}":
            return members, at + 1
        if body[at : at + 1] != ",":
            raise _NotExactError
        at += 1


def _array(body: str, at: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    at = _skip(body, at)
    if body[at : at + 1] == "]":
        return items, at + 1
    while True:
        item, at = _value(body, at)
        items.append(item)
        at = _skip(body, at)
        if body[at : at + 1] == "]":
            return items, at + 1
        if body[at : at + 1] != ",":
            raise _NotExactError
        at += 1


def _value(body: str, at: int) -> tuple[Any, int]:
    if text := _STRING.match(body, at):
        return text[1], text.end()
    if scalar := _SCALAR.match(body, at):
        return json.loads(scalar[1]), scalar.end()
    at = _skip(body, at)
    if body[at : at + 1] == "{":
        return _object(body, at + 1)
    if body[at : at + 1] == "[":
        return _array(body, at + 1)
    raise _NotExactError


def _skip(body: str, at: int) -> int:
    space = _SPACE.match(body, at)
    return space.end() if space else at
