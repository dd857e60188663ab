"""The suite `schema`: does the model fill every kind of parameter as it was asked to?

Each task offers one tool and says in words which values to call it with. The values that the tool
got are graded, to the last digit and character. A call that agentkit could repair is a pass; it is
among the invalid calls of the report.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import wraps
from typing import Any, Final, Literal

from agentkit import Tool, tool
from agentkit.messages import JsonObject
from agentkit_evals.tasks import Task, TaskSuite


def schema_suite() -> TaskSuite:
    """The suite."""
    return TaskSuite("schema", [_task(asked) for asked in _ASKED])


@dataclass(frozen=True, slots=True)
class _Asked:
    """One task, to make one call.

    Attributes:
        name: The id of the task; the part before the first `_` is its tag.
        words: The user's message.
        record: A function with the parameters and the docstring of the tool, which does nothing.
        arguments: The arguments as a model has to write them.
        got: The arguments that the tool has to get; default: the same.
    """

    name: str
    words: str
    record: Callable[..., None]
    arguments: JsonObject
    got: JsonObject | None = None


class _Log:
    """The arguments of all calls of a tool."""

    def __init__(self) -> None:
        self.calls: list[JsonObject] = []

    def recorder(self, record: Callable[..., None]) -> Tool[..., Any]:
        """The tool `record`, which logs its arguments, defaults included."""
        signature = inspect.signature(record)

        @tool(name="record")
        @wraps(record)
        def kept(*values: Any, **named: Any) -> str:
            bound = signature.bind(*values, **named)
            bound.apply_defaults()
            self.calls.append({name: _plain(value) for name, value in bound.arguments.items()})
            return "Done."

        return kept


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _task(asked: _Asked) -> Task[_Log]:
    wanted = asked.arguments if asked.got is None else asked.got

    def check(log: _Log) -> str | None:
        if not log.calls:
            return "call:none"
        if len(log.calls) > 1:
            return "call:again"
        (got,) = log.calls
        wrong = [name for name in wanted if not _same(got.get(name), wanted[name])]
        return f"value:{wrong[0]}" if wrong else None

    return Task(
        id=asked.name,
        turns=(asked.words,),
        world=_Log,
        tools=lambda log: [log.recorder(asked.record)],
        check=check,
        gold=((("record", asked.arguments),),),
        tags=(asked.name.partition("_")[0],),
    )


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one type: True is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


# --- tools -------------------------------------------------------------------------------------
# These functions do nothing: `_Log.recorder` wraps them, and logs their arguments.


@dataclass(frozen=True)
class Address:
    """Where something is.

    Attributes:
        street: With the number.
        city: Its name.
        floor: 0 is the ground floor.
    """

    street: str
    city: str
    floor: int = 0


@dataclass(frozen=True)
class Item:
    """A line of an order.

    Attributes:
        name: What it is.
        pieces: How many.
    """

    name: str
    pieces: int


def _text(text: str) -> None:
    """Record a text.

    Args:
        text: Exactly as it was given.
    """


def _whole(number: int) -> None:
    """Record a whole number.

    Args:
        number: Any size.
    """


def _real(number: float) -> None:
    """Record a number.

    Args:
        number: May have a fraction.
    """


def _exact(amount: Decimal) -> None:
    """Record an amount of money.

    Args:
        amount: With all its digits.
    """


def _flag(on: bool, loud: bool = False) -> None:
    """Record how it is switched.

    Args:
        on: Whether it is on.
        loud: Whether it is loud.
    """


def _choice(size: Literal["small", "medium", "extra large"]) -> None:
    """Record a size.

    Args:
        size: Of the shirt.
    """


def _maybe(name: str, note: str | None = None, copies: int = 1) -> None:
    """Record a document.

    Args:
        name: Of the document.
        note: Left out if there is none.
        copies: How many.
    """


def _names(names: list[str]) -> None:
    """Record names.

    Args:
        names: In their order.
    """


def _grid(rows: list[list[int]]) -> None:
    """Record a table of numbers.

    Args:
        rows: One list for each row.
    """


def _address(address: Address) -> None:
    """Record an address.

    Args:
        address: Where it is.
    """


def _order(items: list[Item], to: Address) -> None:
    """Record an order.

    Args:
        items: One for each thing that is ordered.
        to: Where it goes.
    """


def _prices(prices: dict[str, float]) -> None:
    """Record prices.

    Args:
        prices: From the name of a thing to its price.
    """


def _either(key: int | str) -> None:
    """Record a key.

    Args:
        key: A whole number where it is one, else a text.
    """


def _day(day: date) -> None:
    """Record a day.

    Args:
        day: Of the calendar.
    """


def _moment(moment: datetime) -> None:
    """Record a moment.

    Args:
        moment: Day and time, without a zone.
    """


def _many(
    first: str, last: str, age: int, height: float, member: bool, city: str, zip_code: str
) -> None:
    """Record a person.

    Args:
        first: First name.
        last: Last name.
        age: In years.
        height: In metres.
        member: Whether the person is a member.
        city: Where the person lives.
        zip_code: Of the city; digits, as text.
    """


_CODE: Final = 'def greet(name):\n    return f"Hi, {name}!"\n'
_MAIN_STREET: Final = {"street": "12 Main Street", "city": "Bern", "floor": 0}

_ASKED: Final[Sequence[_Asked]] = (
    _Asked("text_plain", "Record the text: good morning", _text, {"text": "good morning"}),
    _Asked(
        "text_quotes",
        'Record this text with its quotes: She said "it\'s fine".',
        _text,
        {"text": 'She said "it\'s fine".'},
    ),
    _Asked(
        "text_foreign", "Record the text: Grüße aus 東京 🙂", _text, {"text": "Grüße aus 東京 🙂"}
    ),
    _Asked(
        "text_braces",
        "Record the text between the bars, without them: |a{b:[1,2]},c|",
        _text,
        {"text": "a{b:[1,2]},c"},
    ),
    _Asked("text_digits", "Record the text 007 (three characters).", _text, {"text": "007"}),
    _Asked(
        "text_lines",
        f"Record this text, both of its lines and the line break at its end:\n{_CODE}",
        _text,
        {"text": _CODE},
    ),
    _Asked(
        "text_backslash",
        "Record the Windows path C:\\new\\table.txt as it is.",
        _text,
        {"text": "C:\\new\\table.txt"},
    ),
    _Asked("number_negative", "Record the whole number minus 17.", _whole, {"number": -17}),
    _Asked(
        "number_long",
        "Record the whole number 123456789012345678901234567890.",
        _whole,
        {"number": 123456789012345678901234567890},
    ),
    _Asked("number_fraction", "Record the number 0.125.", _real, {"number": 0.125}),
    _Asked("number_small", "Record six millionths as a number.", _real, {"number": 6e-6}),
    _Asked(
        "number_exact",
        "Record the amount 1234567890.123456789.",
        _exact,
        {"amount": "1234567890.123456789"},
        {"amount": Decimal("1234567890.123456789")},
    ),
    _Asked("flag_on", "Record that it is on, and loud.", _flag, {"on": True, "loud": True}),
    _Asked(
        "flag_default",
        "Record that it is off. Say nothing of how loud it is.",
        _flag,
        {"on": False},
        {"on": False, "loud": False},
    ),
    _Asked("choice_words", "Record the largest size there is.", _choice, {"size": "extra large"}),
    _Asked(
        "optional_left",
        "Record the document Lease, without a note.",
        _maybe,
        {"name": "Lease"},
        {"name": "Lease", "note": None, "copies": 1},
    ),
    _Asked(
        "optional_given",
        "Record three copies of the document Lease with the note: urgent",
        _maybe,
        {"name": "Lease", "note": "urgent", "copies": 3},
    ),
    _Asked(
        "list_names",
        "Record the names Ana, Bo and Cem, in this order.",
        _names,
        {"names": ["Ana", "Bo", "Cem"]},
    ),
    _Asked("list_one", "Record the one name Ana.", _names, {"names": ["Ana"]}),
    _Asked("list_none", "Record an empty list of names.", _names, {"names": []}),
    _Asked(
        "list_comma",
        "Record two names: 'Smith, John' and 'Doe, Jane', each with its comma.",
        _names,
        {"names": ["Smith, John", "Doe, Jane"]},
    ),
    _Asked(
        "list_nested",
        "Record the table with the rows 1 2 3 and 4 5 6.",
        _grid,
        {"rows": [[1, 2, 3], [4, 5, 6]]},
    ),
    _Asked(
        "object_plain",
        "Record the address 12 Main Street in Bern, third floor.",
        _address,
        {"address": {**_MAIN_STREET, "floor": 3}},
    ),
    _Asked(
        "object_default",
        "Record the address 12 Main Street in Bern; I know no floor.",
        _address,
        {"address": {"street": "12 Main Street", "city": "Bern"}},
        {"address": _MAIN_STREET},
    ),
    _Asked(
        "object_list",
        "Record an order of 2 pieces of lamp and 10 of bulb to 12 Main Street, Bern.",
        _order,
        {
            "items": [{"name": "lamp", "pieces": 2}, {"name": "bulb", "pieces": 10}],
            "to": {"street": "12 Main Street", "city": "Bern"},
        },
        {
            "items": [{"name": "lamp", "pieces": 2}, {"name": "bulb", "pieces": 10}],
            "to": _MAIN_STREET,
        },
    ),
    _Asked(
        "object_open",
        "Record the prices: tea 2.5, coffee 3.25, and green tea 2.75.",
        _prices,
        {"prices": {"tea": 2.5, "coffee": 3.25, "green tea": 2.75}},
    ),
    _Asked("union_number", "Record the key 42.", _either, {"key": 42}),
    _Asked("union_text", "Record the key forty-two, in letters.", _either, {"key": "forty-two"}),
    _Asked(
        "date_day",
        "Record the day 5 March 2031.",
        _day,
        {"day": "2031-03-05"},
        {"day": date(2031, 3, 5)},
    ),
    _Asked(
        "date_moment",
        "Record the moment half past four in the afternoon of 5 March 2031.",
        _moment,
        {"moment": "2031-03-05T16:30:00"},
        {"moment": datetime(2031, 3, 5, 16, 30)},
    ),
    _Asked(
        "many_seven",
        "Record Ana Ruiz, 41 years old, 1.68 m tall, a member, from Bern, zip code 03010.",
        _many,
        {
            "first": "Ana",
            "last": "Ruiz",
            "age": 41,
            "height": 1.68,
            "member": True,
            "city": "Bern",
            "zip_code": "03010",
        },
    ),
)
