"""The replies: known arguments, damaged in the ways and numbers of the first such measurement."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from soak.readers import tools
from tests.reading.damage import Kind, Meant, Unit, damaged, whole
from tests.reading.mentions import WAYS
from tests.reading.schemas import SchemaTool, tool_of
from tests.reading.tokens import RESPONSE, TURN_END, spelled

_SEED: Final = 11
_TABLE: Final = (
    "send_mail! to=s subject=s body=t urgency?=low|normal|high",
    "read_file! path=p offset?=i limit?=i",
    "edit_file! path=p old=c new=c everywhere?=b",
    "weather! city=s unit?=celsius|fahrenheit days?=i",
    "book_table! restaurant=s people=i when=d note?=t*",
    "refund! order=i reason=t amount?=f*",
    "tag_issue! number=i labels=[s] close?=b",
    "add! a=i b=i",
    "translate! text=t target=s formal?=b",
    "play! song=s artist?=s* volume?=f",
    "sort_numbers! numbers=[f] descending?=b",
    "create_event! title=s start=d attendees=[s] online?=b",
)
TOOLS: Final = {tool.name: tool for tool in map(tool_of, _TABLE)}
"""The twelve functions of `tools.py`, as their schemas say it."""

_DAMAGES: Final[dict[str, tuple[Kind, int]]] = {
    "opening quote gone": ("opening quote", 240),
    "closing quote gone": ("closing quote", 240),
    "single quotes": ("single quotes", 240),
    "JSON values": ("JSON quotes", 240),
    "whole JSON": ("whole JSON", 240),
    "kwargs": ("kwargs", 240),
    "namespace": ("namespace", 240),
    "last brace gone": ("brace", 240),
    "comma gone": ("comma", 220),
    "two in one pair": ("several in one pair", 240),
    "undeclared argument": ("undeclared", 240),
    "`None`, `True`": ("constants", 87),
    "no `call:`": ("no call", 240),
}
MENTIONS: Final = {
    "quoted in prose, spelled": 240,
    "quoted in prose, without its tokens": 240,
    "quoted in prose, by real tokens": 240,
}
"""Replies that mention a call. What stands between real call tokens is a call by every rule, so the
last of them is told and not judged.
"""
MAY_RUN: Final = "quoted in prose, by real tokens"


@dataclass(frozen=True)
class Case:
    """A reply and what was meant by it.

    Attributes:
        kind: The row of the table.
        written: The reply, private characters for control tokens.
        meant: The calls; none where one is only mentioned.
        mentioned: The call that is mentioned.
    """

    kind: str
    written: str
    meant: tuple[Meant, ...] = ()
    mentioned: Meant | None = None

    @property
    def offered(self) -> list[dict[str, Any]]:
        """The tools as a request lists them."""
        return [
            {
                "type": "function",
                "function": {"name": tool.name, "description": "", "parameters": tool.schema},
            }
            for tool in TOOLS.values()
        ]


def cases(share: float = 1.0) -> list[Case]:
    """All of them, or a share of each kind; the same each time."""
    source = random.Random(_SEED)
    found = [*_none(source, round(240 * share))]
    for row, (kind, number) in _DAMAGES.items():
        for _ in range(round(number * share)):
            unit = _unit(kind, source)
            found.append(Case(row, unit.written + RESPONSE, unit.meant))
    for row, number in MENTIONS.items():
        found += _mentions(row, round(number * share), source)
    return found


def _draw(source: random.Random) -> tuple[SchemaTool, Meant]:
    tool = source.choice([*TOOLS.values()])
    return tool, Meant(tool.name, tool.arguments(source))


def _none(source: random.Random, number: int) -> Iterator[Case]:
    for _ in range(number):
        _, meant = _draw(source)
        yield Case("none", whole(meant).written + RESPONSE, (meant,))


def _unit(kind: Kind, source: random.Random) -> Unit:
    while True:
        tool, other = source.choice([*TOOLS.values()]), source.choice([*TOOLS.values()])
        unit = damaged(tool, [other], (kind,), source)
        if unit is not None:
            return unit


def _mentions(row: str, number: int, source: random.Random) -> Iterator[Case]:
    forms: dict[str, Callable[[Meant], str]] = {
        "quoted in prose, spelled": lambda call: spelled(whole(call).written),
        "quoted in prose, without its tokens": lambda call: spelled(whole(call).written[1:-1]),
        MAY_RUN: lambda call: whole(call).written,
    }
    ways = [*WAYS.values()]
    for n in range(number):
        _, call = _draw(source)
        yield Case(row, ways[n % len(ways)](forms[row](call)) + TURN_END, (), call)


def full_key(name: str, arguments: dict[str, Any]) -> str:
    """The same for calls that mean the same: defaults are filled in."""
    known = name in TOOLS
    return Meant(name, tools.with_defaults(name, arguments) if known else arguments).key
