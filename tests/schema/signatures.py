"""A table of signatures: what the model writes, and what the function must then receive."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import ipaddress
import re
import typing
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar, Union

import typing_extensions
from pydantic import (
    AnyUrl,
    BaseModel,
    BeforeValidator,
    Field,
    PositiveInt,
    SecretStr,
    StringConstraints,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import Doc, TypeAliasType

T = TypeVar("T")
Bounded = TypeVar("Bounded", bound=int)
OrderId = NewType("OrderId", int)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mood(enum.StrEnum):
    GOOD = "good"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.0


@dataclasses.dataclass
class Line:
    points: list[Point]
    colour: Colour | None = None


@pydantic_dataclass
class Checked:
    when: dt.date


class Address(BaseModel):
    street: str
    since: dt.date | None = None


class Person(BaseModel):
    name: str
    address: Address
    tags: set[str] = set()


class Node(BaseModel):
    value: int
    children: list[Node] = []


class Circle(BaseModel):
    kind: Literal["circle"]
    radius: float


class Square(BaseModel):
    kind: Literal["square"]
    side: float


class Box(BaseModel, Generic[T]):
    item: T


class Open(BaseModel, extra="allow"):
    x: int


class Aliased(BaseModel):
    from_: str = Field(alias="from")


class OldStyle(typing.TypedDict):
    name: str
    age: typing.NotRequired[int]


class NewStyle(typing_extensions.TypedDict, total=False):
    name: typing_extensions.Required[str]
    inner: Point


class Pair(NamedTuple):
    left: int
    right: str = "r"


Tree = TypeAliasType("Tree", "dict[str, Tree] | int")
Shape = Annotated[Circle | Square, Field(discriminator="kind")]


@dataclasses.dataclass(frozen=True)
class Case:
    function: Callable[..., object]
    arguments: dict[str, Any]
    expected: object


WORKING: list[Case] = []
"""Those that must work."""


def works(
    arguments: dict[str, Any], expected: object
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    def register(function: Callable[..., object]) -> Callable[..., object]:
        WORKING.append(Case(function, arguments, expected))
        return function

    return register


# --- scalars -----------------------------------------------------------------------------------


@works({"x": 3}, 3)
def integer(x: int) -> object:
    return x


@works({"x": "3"}, 3)
def integer_from_text(x: int) -> object:
    return x


@works({"x": 3.0}, 3)
def integer_from_float(x: int) -> object:
    return x


@works({"x": 3}, 3.0)
def number_from_integer(x: float) -> object:
    return x


@works({"x": "true"}, True)
def boolean_from_text(x: bool) -> object:
    return x


@works({"x": "3"}, "3")
def text(x: str) -> object:
    return x


@works({"x": None}, None)
def null(x: None) -> object:
    return x


@works({"x": {"a": [1, None]}}, {"a": [1, None]})
def anything(x: Any) -> object:
    return x


@works({"x": [1]}, [1])
def an_object(x: object) -> object:
    return x


@works({"x": "héllo"}, "héllo".encode())
def byte_string(x: bytes) -> object:
    return x


@works({"x": "12.50"}, Decimal("12.50"))
def decimal_from_text(x: Decimal) -> object:
    return x


@works({"x": 0.1}, Decimal("0.1"))
def decimal_from_number(x: Decimal) -> object:
    return x


@works({"x": "1+2j"}, 1 + 2j)
def complex_number(x: complex) -> object:
    return x


@works({"x": "1/3"}, Fraction(1, 3))
def fraction(x: Fraction) -> object:
    return x


@works({"x": 7}, 7)
def new_type(x: OrderId) -> object:
    return x


# --- choices -----------------------------------------------------------------------------------


@works({"x": "late"}, "late")
def literal(x: Literal["damaged", "late"]) -> object:
    return x


@works({"x": '"late"'}, "late")
def literal_in_quotes(x: Literal["damaged", "late"]) -> object:
    return x


@works({"x": "2"}, 2)
def integer_literal_from_text(x: Literal[1, 2]) -> object:
    return x


@works({"x": "red"}, Colour.RED)
def enum_member(x: Colour) -> object:
    return x


@works({"x": "'red'"}, Colour.RED)
def enum_member_in_quotes(x: Colour) -> object:
    return x


@works({"x": "2"}, Level.HIGH)
def int_enum_from_text(x: Level) -> object:
    return x


@works({"x": "good"}, Mood.GOOD)
def str_enum(x: Mood) -> object:
    return x


@works({"x": 1}, Access.READ)
def flag(x: Access) -> object:
    return x


# --- unions ------------------------------------------------------------------------------------


@works({"x": None}, None)
def optional(x: Optional[int]) -> object:  # noqa: UP045 - newcomers write it so
    return x


@works({"x": "4"}, 4)
def optional_from_text(x: int | None) -> object:
    return x


@works({"x": "null"}, None)
def optional_from_the_word_null(x: int | None) -> object:
    return x


@works({"x": "4"}, "4")
def union_prefers_the_exact_type(x: Union[int, str]) -> object:  # noqa: UP007 - newcomers write it so
    return x


@works({"x": {"kind": "square", "side": 2}}, Square(kind="square", side=2.0))
def discriminated_union(x: Shape) -> object:
    return x


@works({"x": {"kind": "circle", "radius": "2.5"}}, Circle(kind="circle", radius=2.5))
def plain_union_of_models(x: Circle | Square) -> object:
    return x


@works({"x": [1, "a", None]}, [1, "a", None])
def list_of_unions(x: list[int | str | None]) -> object:
    return x


# --- containers --------------------------------------------------------------------------------


@works({"x": [1, "2"]}, [1, 2])
def list_of_integers(x: list[int]) -> object:
    return x


@works({"x": "[1, 2]"}, [1, 2])
def list_from_json_text(x: list[int]) -> object:
    return x


@works({"x": [1, "a"]}, (1, "a"))
def fixed_tuple(x: tuple[int, str]) -> object:
    return x


@works({"x": [1, 2]}, (1, 2))
def open_tuple(x: tuple[int, ...]) -> object:
    return x


@works({"x": [2, 1, 2]}, {1, 2})
def a_set(x: set[int]) -> object:
    return x


@works({"x": ["a"]}, frozenset({"a"}))
def a_frozenset(x: frozenset[str]) -> object:
    return x


@works({"x": [1]}, deque([1]))
def a_deque(x: deque[int]) -> object:
    return x


@works({"x": {"1": 2.0}}, {1: 2.0})
def dict_with_integer_keys(x: dict[int, float]) -> object:
    return x


@works({"x": '{"a": 1}'}, {"a": 1})
def dict_from_json_text(x: dict[str, int]) -> object:
    return x


@works({"x": {"a": 1}}, {"a": 1})
def bare_dict(x: dict) -> object:  # type: ignore[type-arg] # newcomers write it so
    return x


@works({"x": [1, "a"]}, [1, "a"])
def bare_list(x: list) -> object:  # type: ignore[type-arg] # newcomers write it so
    return x


@works({"x": [1]}, [1])
def sequence(x: Sequence[int]) -> object:
    return x


@works({"x": [1, 2]}, [1, 2])
def iterable(x: Iterable[int]) -> object:
    return list(x)


@works({"x": {"a": 1}}, {"a": 1})
def mapping(x: Mapping[str, int]) -> object:
    return x


@works({"x": {"b": 1}}, OrderedDict({"b": 1}))
def ordered_dict(x: OrderedDict[str, int]) -> object:
    return x


@works({"x": [[{"a": ["2026-01-31"]}]]}, [[{"a": [dt.date(2026, 1, 31)]}]])
def deeply_nested(x: list[list[dict[str, list[dt.date]]]]) -> object:
    return x


# --- things with a text form -------------------------------------------------------------------


@works({"x": "2026-01-31"}, dt.date(2026, 1, 31))
def date(x: dt.date) -> object:
    return x


@works({"x": "2026-01-31T09:30:00"}, dt.datetime(2026, 1, 31, 9, 30))
def datetime(x: dt.datetime) -> object:
    return x


@works({"x": "09:30"}, dt.time(9, 30))
def time_of_day(x: dt.time) -> object:
    return x


@works({"x": "PT90M"}, dt.timedelta(minutes=90))
def duration(x: dt.timedelta) -> object:
    return x


@works({"x": "a/b.txt"}, Path("a/b.txt"))
def path(x: Path) -> object:
    return x


@works({"x": "/a"}, PurePosixPath("/a"))
def pure_path(x: PurePosixPath) -> object:
    return x


@works({"x": "12345678-1234-5678-1234-567812345678"}, uuid.UUID("12345678123456781234567812345678"))
def a_uuid(x: uuid.UUID) -> object:
    return x


@works({"x": "10.0.0.1"}, ipaddress.IPv4Address("10.0.0.1"))
def ip_address(x: ipaddress.IPv4Address) -> object:
    return x


@works({"x": "a+"}, re.compile("a+"))
def pattern(x: re.Pattern[str]) -> object:
    return x


@works({"x": "https://example.org/a"}, "https://example.org/a")
def url(x: AnyUrl) -> object:
    return str(x)


@works({"x": "hush"}, "hush")
def secret(x: SecretStr) -> object:
    return x.get_secret_value()


# --- structures --------------------------------------------------------------------------------


@works({"p": {"x": 1, "y": 2}}, Point(1, 2.0))
def a_dataclass(p: Point) -> object:
    return p


@works({"p": '{"x": "1"}'}, Point(1, 0.0))
def dataclass_from_json_text(p: Point) -> object:
    return p


@works(
    {"line": {"points": [{"x": 1}, '{"x": 2}'], "colour": "blue"}},
    Line([Point(1), Point(2)], Colour.BLUE),
)
def nested_dataclass(line: Line) -> object:
    return line


@works({"x": {"when": "2026-01-31"}}, Checked(dt.date(2026, 1, 31)))
def pydantic_dataclasses(x: Checked) -> object:
    return x


@works(
    {"person": {"name": "Ada", "address": {"street": "Main", "since": None}, "tags": ["a", "a"]}},
    Person(name="Ada", address=Address(street="Main"), tags={"a"}),
)
def nested_models(person: Person) -> object:
    return person


@works({"people": [{"street": "A"}, {"street": "B"}]}, [Address(street="A"), Address(street="B")])
def list_of_models(people: list[Address]) -> object:
    return people


@works(
    {"tree": {"value": 1, "children": [{"value": 2}]}},
    Node(value=1, children=[Node(value=2)]),
)
def recursive_model(tree: Node) -> object:
    return tree


@works({"tree": {"a": {"b": 3}}}, {"a": {"b": 3}})
def recursive_alias(tree: Tree) -> object:
    return tree


@works({"x": {"item": "5"}}, Box[int](item=5))
def generic_model(x: Box[int]) -> object:
    return x


@works({"x": {"x": 1, "more": True}}, Open.model_validate({"x": 1, "more": True}))
def model_that_takes_more(x: Open) -> object:
    return x


@works({"x": {"from": "a"}}, Aliased.model_validate({"from": "a"}))
def model_with_alias(x: Aliased) -> object:
    return x


@works({"x": {"name": "a", "age": "3"}}, {"name": "a", "age": 3})
def old_typed_dict(x: OldStyle) -> object:
    return x


@works({"x": [{"name": "a"}]}, [{"name": "a"}])
def list_of_old_typed_dicts(x: list[OldStyle]) -> object:
    return x


@works({"x": {"name": "a", "inner": {"x": 1}}}, {"name": "a", "inner": Point(1)})
def new_typed_dict(x: NewStyle) -> object:
    return x


@works({"x": [1, "a"]}, Pair(1, "a"))
def named_tuple(x: Pair) -> object:
    return x


@works({"x": {"left": 1}}, Pair(1))
def named_tuple_from_object(x: Pair) -> object:
    return x


@works({"x": "5"}, "5")
def type_variable(x: T) -> T:
    return x


@works({"x": "5"}, 5)
def bounded_type_variable(x: Bounded) -> Bounded:
    return x


# --- annotations that say more -----------------------------------------------------------------


@works({"x": 5}, 5)
def constrained(x: Annotated[int, Field(ge=1, le=9)]) -> object:
    return x


@works({"x": 5}, 5)
def positive(x: PositiveInt) -> object:
    return x


@works({"x": " ab "}, "ab")
def stripped(x: Annotated[str, StringConstraints(strip_whitespace=True, max_length=2)]) -> object:
    return x


@works({"x": 5}, 5)
def described_by_a_string(x: Annotated[int, "how many"]) -> object:
    return x


@works({"x": 5}, 5)
def described_by_doc(x: Annotated[int, Doc("how many")]) -> object:
    return x


@works({"from": "a"}, "a")
def parameter_with_alias(source: Annotated[str, Field(alias="from")]) -> object:
    return source


@works({}, 7)
def default_in_field(x: Annotated[int, Field(default=7)] = 7) -> object:
    return x


@works({"x": "a,b"}, ["a", "b"])
def own_validator(x: Annotated[list[str], BeforeValidator(lambda v: v.split(","))]) -> object:
    return x


@works({"x": " 2026-01-31 "}, dt.date(2026, 1, 31))
def own_validator_of_text(x: Annotated[dt.date, BeforeValidator(str.strip)]) -> object:
    return x


@works({}, 5)
def field_as_default(x: int = Field(5, ge=1)) -> object:
    return x


# --- kinds of parameters -----------------------------------------------------------------------


@works({"a": 1}, (1, 5))
def default(a: int, b: int = 5) -> object:
    return a, b


@works({"a": 1, "b": None}, (1, 5))
def null_for_something_optional(a: int, b: int = 5) -> object:
    return a, b


@works({"a": "x", "b": None}, ("x", None))
def wrong_default(a: str, b: str = None) -> object:  # type: ignore[assignment]  # noqa: RUF013 - newcomers write it so
    return a, b


@works({"b": 2, "a": 1}, (1, 2))
def keyword_only(*, a: int, b: int) -> object:
    return a, b


@works({"a": 1, "b": 2}, (1, 2))
def positional_only(a: int, b: int, /) -> object:
    return a, b


@works({"b": 2}, (1, 2))
def positional_only_with_a_gap(a: int = 1, b: int = 3, /) -> object:
    return a, b


@works({"first": 1, "rest": ["2", 3]}, (1, (2, 3)))
def typed_args(first: int, *rest: int) -> object:
    return first, rest


@works({"a": 1, "size": 2, "weight": "3"}, (1, {"size": 2.0, "weight": 3.0}))
def typed_kwargs(a: int, **more: float) -> object:
    return a, more


@works({"name": "a", "inner": {"x": 1}}, {"name": "a", "inner": Point(1)})
def unpacked_kwargs(**options: typing_extensions.Unpack[NewStyle]) -> object:
    return options


@works({"a": 1, "b": 2, "c": [3], "d": 4, "e": 5}, (1, 2, (3,), 4, {"e": 5}))
def everything(a: int, /, b: int, *c: int, d: int, **e: int) -> object:
    return a, b, c, d, e


@works(
    {"json": 1, "copy": 2, "schema": 3, "self_": 4, "type": 5, "description": 6},
    (1, 2, 3, 4, 5, 6),
)
def names_of_pydantic(
    json: int,
    copy: int,
    schema: int,
    self_: int,
    type: int,  # noqa: A002 - the point
    description: int,
) -> object:
    return json, copy, schema, self_, type, description


@works({"model_config": 1, "model_fields": 2, "validate": 3, "_x": 4, "class_": 5}, (1, 2, 3, 4, 5))
def more_names(model_config: int, model_fields: int, validate: int, _x: int, class_: int) -> object:
    return model_config, model_fields, validate, _x, class_


@works({}, "done")
def no_parameters() -> object:
    return "done"


# --- callables of other kinds ------------------------------------------------------------------


class Shop:
    def method(self, order: int, why: Literal["late"] = "late") -> object:
        return type(self).__name__, order, why

    @classmethod
    def of_class(cls, order: int) -> object:
        return cls.__name__, order

    @staticmethod
    def static(order: int) -> object:
        return order

    def __call__(self, point: Point) -> object:
        return point


def wrapped(function: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> object:
        return "wrapped", function(*args, **kwargs)

    return wrapper


works({"order": "3"}, ("Shop", 3, "late"))(Shop().method)
works({"order": "3"}, ("Shop", 3))(Shop.of_class)
works({"order": "3"}, 3)(Shop.static)
works({"point": {"x": 1}}, Point(1))(Shop())
works({"b": "2"}, (1, 2))(functools.partial(default, 1))
works({"a": "1"}, (1, 9))(functools.partial(default, b=9))
works({"p": {"x": 1}}, ("wrapped", Point(1)))(wrapped(a_dataclass))
works({"x": 1, "y": 2}, Point(1, 2.0))(Point)
