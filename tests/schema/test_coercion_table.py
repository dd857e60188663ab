"""`docs/coercion.md` is true: every row is run, beside pydantic and as a tool of somebody else."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pytest
from pydantic import TypeAdapter, ValidationError

from agentkit.schema.foreign import ForeignArguments
from agentkit.schema.jsontype import InvalidValueError, json_type

PAGE = Path(__file__).parents[2] / "docs" / "coercion.md"


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    M = 1
    L = 2


@dataclass
class Point:
    x: int
    y: int = 2


NAMES: dict[str, Any] = {
    **{kind.__name__: kind for kind in (Color, Size, Point, Decimal, UUID, IPv4Address)},
    **{kind.__name__: kind for kind in (date, datetime, time, timedelta)},
    "Literal": Literal,
    "UTC": UTC,
}
REFUSED = object()


@dataclass(frozen=True)
class Row:
    declared: str
    written: str
    arrives: str
    lax: str
    why: str

    @property
    def annotation(self) -> Any:
        return eval(self.declared, dict(NAMES))

    @property
    def value(self) -> Any:
        return json.loads(self.written)

    def __str__(self) -> str:
        return f"{self.declared} from {self.written}"


def rows() -> list[Row]:
    found = []
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.append(Row(*(cell.replace("\\|", "|").strip("`") for cell in cells)))
    return found


def meant(cell: str) -> Any:
    return REFUSED if cell == "–" else eval(cell, dict(NAMES))  # noqa: RUF001 - our own page


def equal(one: Any, two: Any) -> bool:
    if isinstance(one, float) and isinstance(two, float) and math.isnan(one):
        return math.isnan(two)
    return type(one) is type(two) and bool(one == two)


ROWS = rows()


def test_no_row_stands_twice() -> None:
    assert len(set(map(str, ROWS))) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_row_is_what_happens(row: Row) -> None:
    try:
        got = json_type(row.annotation, {}).read(row.value)
    except InvalidValueError:
        got = REFUSED
    assert equal(got, meant(row.arrives)), got


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_row_that_differs_from_pydantic_gives_its_reason(row: Row) -> None:
    try:
        lax = TypeAdapter(row.annotation).validate_json(row.written)
    except ValidationError:
        lax = REFUSED
    assert equal(lax, meant(row.lax)), lax
    assert bool(row.why) is not equal(meant(row.lax), meant(row.arrives))


PYTHON_ALONE = {
    *("date", "datetime", "time", "timedelta", "UUID", "complex"),
    *("float", "Decimal", "set[int]", "dict[int, str]", "dict[date, str]"),
}
"""Types that say less as JSON Schema than they do in Python."""

FOREIGN = [r for r in ROWS if r.declared not in PYTHON_ALONE and "e+18" not in r.written]


@pytest.mark.parametrize("row", FOREIGN, ids=str)
def test_a_tool_of_somebody_else_stands_on_the_same_ladder(row: Row) -> None:
    kind = json_type(row.annotation, {})
    inner = {key: value for key, value in kind.schema.items() if key != "$defs"}
    if row.declared == "Point":
        inner["additionalProperties"] = False
    schema = {
        "type": "object",
        "properties": {"it": inner},
        "required": ["it"],
        "$defs": kind.schema.get("$defs", {}),
    }
    found = ForeignArguments(schema).check({"it": row.value})
    assert isinstance(found, dict) is (meant(row.arrives) is not REFUSED), found
    if isinstance(found, dict):
        assert equal(kind.read(found["it"]), meant(row.arrives))
