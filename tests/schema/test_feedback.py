# ruff: noqa: E501 - the messages stand here in full
"""What a model is told of wrong arguments: forty kinds of them, each message in full."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, AnyUrl, BaseModel, Field

from agentkit.messages import ToolCall, ToolResult
from agentkit.toolset import Toolset


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Shade(enum.StrEnum):
    RED = "red"
    NOT = "it's, or not"


class Country(enum.Enum):
    IT = "Italy"
    FR = "France"
    DE = "Germany"
    ES = "Spain"
    PT = "Portugal"
    AT = "Austria"
    CH = "Switzerland"
    BE = "Belgium"
    NL = "Netherlands"
    LU = "Luxembourg"
    DK = "Denmark"
    SE = "Sweden"
    NO = "Norway"


@dataclasses.dataclass
class Item:
    sku: str
    count: int


class Order(BaseModel):
    items: list[Item]
    ship_to: str


class Circle(BaseModel):
    kind: Literal["circle"]
    radius: float


class Square(BaseModel):
    kind: Literal["square"]
    side: float


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


def integer(n: int) -> None: ...
def number(n: float) -> None: ...
def money(n: Decimal) -> None: ...
def boolean(b: bool) -> None: ...
def string(s: str) -> None: ...
def maybe(n: int | None) -> None: ...
def either(n: int | bool | list[str]) -> None: ...
def quoted(c: Literal[Shade.RED, Shade.NOT]) -> None: ...


def choice(c: Literal["damaged", "late"]) -> None: ...
def colour(c: Colour) -> None: ...
def country(c: Country) -> None: ...
def day(d: dt.date) -> None: ...
def moment(d: dt.datetime) -> None: ...
def hour(d: dt.time) -> None: ...
def span(d: dt.timedelta) -> None: ...
def unique(u: uuid.UUID) -> None: ...
def link(u: AnyUrl) -> None: ...
def numbers(ns: list[int]) -> None: ...
def pair(p: tuple[int, str]) -> None: ...
def table(t: dict[str, int]) -> None: ...
def item(i: Item) -> None: ...
def order(o: Order) -> None: ...
def shape(s: Annotated[Circle | Square, Field(discriminator="kind")]) -> None: ...
def limited(n: Annotated[int, Field(ge=1, le=7)]) -> None: ...
def code(s: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]) -> None: ...
def short(s: Annotated[str, Field(max_length=3)]) -> None: ...
def some(ns: Annotated[list[int], Field(min_length=2)]) -> None: ...
def even(n: Annotated[int, AfterValidator(_even)]) -> None: ...
def letter(c: Literal["a", "b"]) -> None: ...
def nothing() -> None: ...
def many(city: str, days: int, units: Literal["metric", "imperial"] = "metric") -> None: ...


TABLE: list[tuple[Callable[..., None], dict[str, Any], str]] = [
    (integer, {"n": "abc"}, 'Error: integer was not run. n: got "abc", want an integer.'),
    (integer, {"n": 3.5}, "Error: integer was not run. n: got 3.5, want a whole number."),
    (integer, {"n": True}, "Error: integer was not run. n: got true, want an integer."),
    (integer, {"n": None}, "Error: integer was not run. n: got null, want an integer."),
    (integer, {"n": [1]}, "Error: integer was not run. n: got [1], want an integer."),
    (integer, {"n": "3.7"}, 'Error: integer was not run. n: got "3.7", want an integer.'),
    (integer, {}, "Error: integer was not run. n: is missing, want an integer."),
    (integer, {"n": 1, "m": 2}, "Error: integer was not run. m: is not a parameter; there is n."),
    (
        integer,
        {"N": 1},
        "Error: integer was not run. n: is missing, want an integer. N: is not a parameter (did you mean n?).",
    ),
    (number, {"n": "a lot"}, 'Error: number was not run. n: got "a lot", want a number.'),
    (number, {"n": "nan"}, 'Error: number was not run. n: got "nan", want a number.'),
    (number, {"n": False}, "Error: number was not run. n: got false, want a number."),
    (money, {"n": "12,50 €"}, 'Error: money was not run. n: got "12,50 €", want a number.'),
    (boolean, {"b": "maybe"}, 'Error: boolean was not run. b: got "maybe", want true or false.'),
    (boolean, {"b": 2}, "Error: boolean was not run. b: got 2, want true or false."),
    (string, {"s": 7}, "Error: string was not run. s: got 7, want a string."),
    (string, {"s": {"a": 1}}, 'Error: string was not run. s: got {"a":1}, want a string.'),
    (
        string,
        {"s": ["x" * 200]},
        'Error: string was not run. s: got ["xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…, want a string.',
    ),
    (maybe, {"n": "several"}, 'Error: maybe was not run. n: got "several", want an integer.'),
    (
        either,
        {"n": "x"},
        'Error: either was not run. n: got "x", want an integer or true or false or a list.',
    ),
    (
        choice,
        {"c": "lost"},
        'Error: choice was not run. c: got "lost", want "damaged" or "late".',
    ),
    (
        choice,
        {"c": "Late"},
        'Error: choice was not run. c: got "Late", want "damaged" or "late" (did you mean "late"?).',
    ),
    (
        letter,
        {"c": "A"},
        'Error: letter was not run. c: got "A", want "a" or "b" (did you mean "a"?).',
    ),
    (
        quoted,
        {"c": "its"},
        'Error: quoted was not run. c: got "its", want "red" or "it\'s, or not".',
    ),
    (
        colour,
        {"c": "rde"},
        'Error: colour was not run. c: got "rde", want "red" or "blue" (did you mean "red"?).',
    ),
    (
        country,
        {"c": "Germani"},
        'Error: country was not run. c: got "Germani", want "Italy", "France", "Germany", "Spain", "Portugal", "Austria", "Switzerland", "Belgium" or 5 more (did you mean "Germany"?).',
    ),
    (
        country,
        {"c": 7},
        'Error: country was not run. c: got 7, want "Italy", "France", "Germany", "Spain", "Portugal", "Austria", "Switzerland", "Belgium" or 5 more.',
    ),
    (
        day,
        {"d": "tomorrow"},
        'Error: day was not run. d: got "tomorrow", want a date like 2026-07-31.',
    ),
    (
        day,
        {"d": 20260131},
        "Error: day was not run. d: got 20260131, want a date like 2026-07-31.",
    ),
    (
        day,
        {"d": "2026-02-30"},
        'Error: day was not run. d: got "2026-02-30", want a date like 2026-07-31.',
    ),
    (
        moment,
        {"d": "9:30"},
        'Error: moment was not run. d: got "9:30", want a date and time like 2026-07-31T14:30:00Z.',
    ),
    (
        hour,
        {"d": "half past nine"},
        'Error: hour was not run. d: got "half past nine", want a time like 14:30:00.',
    ),
    (span, {"d": 90}, "Error: span was not run. d: got 90, want a duration like PT1H30M."),
    (
        span,
        {"d": "an hour"},
        'Error: span was not run. d: got "an hour", want a duration like PT1H30M.',
    ),
    (unique, {"u": "17"}, 'Error: unique was not run. u: got "17", want a UUID.'),
    (link, {"u": "example"}, 'Error: link was not run. u: got "example", want a URL.'),
    (numbers, {"ns": "1,2"}, 'Error: numbers was not run. ns: got "1,2", want a list.'),
    (
        numbers,
        {"ns": [1, "b", None]},
        'Error: numbers was not run. ns[1]: got "b", want an integer. ns[2]: got null, want an integer.',
    ),
    (numbers, {"ns": 5}, "Error: numbers was not run. ns: got 5, want a list."),
    (pair, {"p": [1]}, "Error: pair was not run. p[1]: is missing."),
    (pair, {"p": [1, "a", 2]}, 'Error: pair was not run. p: got [1,"a",2], want at most 2 items.'),
    (table, {"t": [1]}, "Error: table was not run. t: got [1], want an object."),
    (table, {"t": {"a": "x"}}, 'Error: table was not run. t.a: got "x", want an integer.'),
    (item, {"i": {"sku": "A1"}}, "Error: item was not run. i.count: is missing."),
    (
        item,
        {"i": {"sku": "A1", "count": 2, "colour": "red"}},
        "Error: item was not run. i.colour: is not a field here.",
    ),
    (item, {"i": "A1"}, 'Error: item was not run. i: got "A1", want an object.'),
    (
        order,
        {"o": {"items": [{"sku": "a", "count": 1}, {"sku": 2, "count": "two"}], "ship_too": "x"}},
        'Error: order was not run. o.items[1].sku: got 2, want a string. o.items[1].count: got "two", want an integer. o.ship_to: is missing. o.ship_too: is not a field here.',
    ),
    (
        shape,
        {"s": {"kind": "triangle"}},
        'Error: shape was not run. s: got {"kind":"triangle"}, want kind to be one of "circle" or "square".',
    ),
    (
        shape,
        {"s": {"radius": 1}},
        "Error: shape was not run. s: got {\"radius\":1}, want an object with the field 'kind'.",
    ),
    (
        shape,
        {"s": {"kind": "circle", "radius": "wide"}},
        'Error: shape was not run. s.radius: got "wide", want a number.',
    ),
    (limited, {"n": 9}, "Error: limited was not run. n: got 9, want at most 7."),
    (limited, {"n": 0}, "Error: limited was not run. n: got 0, want at least 1."),
    (
        code,
        {"s": "abc"},
        'Error: code was not run. s: got "abc", want text that matches ^[A-Z]{3}$.',
    ),
    (
        short,
        {"s": "abcdef"},
        'Error: short was not run. s: got "abcdef", want at most 3 characters.',
    ),
    (some, {"ns": [1]}, "Error: some was not run. ns: got [1], want at least 2 items."),
    (even, {"n": 3}, "Error: even was not run. n: got 3, want another value: must be even."),
    (nothing, {"x": 1}, "Error: nothing was not run. x: is not a parameter; there is none."),
    (
        many,
        {"days": "soon", "units": "furlongs", "town": "Turin"},
        'Error: many was not run. city: is missing, want a string. days: got "soon", want an integer. units: got "furlongs", want "metric" or "imperial". town: is not a parameter; there is city, days, units.',
    ),
]


def _message(function: Callable[..., None], arguments: dict[str, Any]) -> str:
    call = ToolCall("1", function.__name__, arguments)
    result = Toolset([function]).validate(call)
    assert isinstance(result, ToolResult), result
    assert result.is_error
    assert result.kind == "invalid_arguments"
    assert isinstance(result.content, str)
    return result.content


@pytest.mark.parametrize(("function", "arguments", "expected"), TABLE)
def test_each_kind_of_wrong_arguments_gets_its_words(
    function: Callable[..., None], arguments: dict[str, Any], expected: str
) -> None:
    assert _message(function, arguments) == expected


@pytest.mark.parametrize(
    "jargon", ["http", "pydantic", "<class", "__main__", "test_feedback", "()"]
)
def test_no_message_holds_a_class_path_or_a_url(jargon: str) -> None:
    assert [m for *_, m in TABLE if jargon in m] == []


def test_a_message_stays_short_however_much_is_wrong() -> None:
    wrong = {f"unknown_parameter_number_{n}": ["x" * 1_000] * 10 for n in range(200)}
    text = _message(many, wrong)
    assert len(text) < 300
    assert text.endswith(" more.")


def test_a_message_stays_short_with_a_long_field_and_a_long_choice() -> None:
    def f(**kwargs: Literal["' or '" * 50, 'it\'s "quoted"' * 50]) -> None: ...  # type: ignore[valid-type] # made up

    text = _message(f, {"k" * 500: "v" * 500})
    assert len(text) < 300


def test_after_one_comes_the_singular() -> None:
    def f(
        names: Annotated[list[str], Field(min_length=1)],
        code: Annotated[str, Field(min_length=1)],
        long: Annotated[str, Field(min_length=11)],
    ) -> None: ...

    text = _message(f, {"names": [], "code": "", "long": "x"})
    assert "at least 1 item." in text
    assert "at least 1 character." in text
    assert "at least 11 characters" in text
