"""Signatures as people write them, each with what has to come of it.

A signature either registers, and then a call of it arrives as its generator knows, or it is refused
where it is registered, by a message that names the function and the parameter.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import ipaddress
import pathlib
import re
import sys
import typing as t
import uuid
from collections import abc
from dataclasses import dataclass

import typing_extensions as te
from pydantic import (
    AfterValidator,
    AliasPath,
    AnyUrl,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    Json,
    RootModel,
    SecretStr,
    WrapValidator,
    conint,
    constr,
    field_validator,
    model_validator,
)

T = t.TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    S = 1
    L = 2


class Shade(str, enum.Enum):  # noqa: UP042 - as people write it
    DARK = "dark"


class Mode(enum.StrEnum):
    ON = enum.auto()


class Bits(enum.Flag):
    R = 1
    W = 2


class IntBits(enum.IntFlag):
    R = 1
    W = 2


class Ratio(enum.Enum):
    HALF = 0.5


class Alias(enum.Enum):
    ONE = 1
    UNO = 1  # noqa: PIE796 - the point


@dataclass
class Item:
    sku: str
    count: int = 1


@dataclass(frozen=True)
class Frozen:
    n: int


class Inner(BaseModel):
    n: int


class Model(BaseModel):
    inner: Inner
    tags: list[str] = []


class Node(BaseModel):
    value: int
    next: Node | None = None


class Root(RootModel[list[int]]):
    pass


class Cat(BaseModel):
    kind: t.Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: t.Literal["dog"]
    name: str


class Checked(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def even(cls, n: int) -> int:
        if n % 2:
            raise ValueError("is odd")
        return n


class Before(BaseModel):
    day: dt.date

    @model_validator(mode="before")
    @classmethod
    def unpack(cls, value: t.Any) -> t.Any:
        return {"day": value} if isinstance(value, str) else value


class Aliased(BaseModel):
    from_: int = Field(alias="from")


class Movie(te.TypedDict):
    title: str
    year: te.NotRequired[int]


class Loose(te.TypedDict, total=False):
    a: int


class Branch(t.TypedDict, total=False):
    """On Python 3.11 pydantic reads none of `typing`; this one holds itself."""

    v: int
    kids: list[Branch]


class Held(t.TypedDict, t.Generic[T]):
    it: T


class Open(t.TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc] # pydantic's way
    a: int


class Pair(t.NamedTuple):
    x: int
    y: str = "a"


Plain = collections.namedtuple("Plain", ["x"])  # pyright: ignore[reportUntypedNamedTuple] - users have it
Bound = t.TypeVar("Bound", bound=int)
Either = t.TypeVar("Either", int, str)


class Box(BaseModel, t.Generic[T]):
    it: T


@dataclass
class Crate(t.Generic[T]):
    it: T


UserId = t.NewType("UserId", int)
Record = t.TypedDict("Record", {"title": str, "from": int}, total=False)
Named = te.TypeAliasType("Named", Record)


def double(n: int) -> int:
    return n * 2


def percent(text: t.Any) -> t.Any:
    return text.rstrip("%") if isinstance(text, str) else text


def wrap(value: t.Any, handler: t.Any) -> t.Any:
    return handler(value)


@dataclass(frozen=True)
class Entry:
    """A type, a JSON value for it, and what has to arrive."""

    annotation: t.Any
    wire: t.Any
    value: t.Any


DAY = dt.date(2026, 7, 31)
NOON = dt.datetime(2026, 7, 31, 12)
ZOO: list[Entry] = [
    *(Entry(int, 3, 3), Entry(float, 2.5, 2.5), Entry(str, "a", "a"), Entry(bool, True, True)),
    *(Entry(bytes, "a", b"a"), Entry(None, None, None), Entry(t.Any, [1], [1])),
    *(Entry(object, "x", "x"), Entry(complex, "1+2j", 1 + 2j)),
    Entry(decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    Entry(fractions.Fraction, "1/2", fractions.Fraction(1, 2)),
    *(Entry(dt.date, "2026-07-31", DAY), Entry(dt.datetime, "2026-07-31T12:00:00", NOON)),
    Entry(dt.time, "12:00:00", dt.time(12)),
    Entry(dt.timedelta, "PT1H", dt.timedelta(hours=1)),
    Entry(uuid.UUID, str(uuid.UUID(int=7)), uuid.UUID(int=7)),
    Entry(pathlib.Path, "a/b", pathlib.Path("a/b")),
    Entry(ipaddress.IPv4Address, "1.2.3.4", ipaddress.IPv4Address("1.2.3.4")),
    Entry(ipaddress.IPv6Network, "::/64", ipaddress.IPv6Network("::/64")),
    Entry(re.Pattern[str], "a+", re.compile("a+")),
    Entry(AnyUrl, "http://a.b/c", AnyUrl("http://a.b/c")),
    Entry(SecretStr, "x", SecretStr("x")),
    Entry(ByteSize, "1KB", 1000),
    Entry(Json[list[int]], "[1]", [1]),
    *(Entry(Color, "red", Color.RED), Entry(Size, 2, Size.L), Entry(Shade, "dark", Shade.DARK)),
    *(Entry(Mode, "on", Mode.ON), Entry(Bits, 2, Bits.W), Entry(IntBits, 1, IntBits.R)),
    *(Entry(Ratio, 0.5, Ratio.HALF), Entry(Alias, 1, Alias.UNO)),
    *(Entry(t.Literal["a", 1, None], "a", "a"), Entry(t.Literal[True], True, True)),
    Entry(t.Literal[Shade.DARK], "dark", Shade.DARK),
    *(Entry(list[int], [1], [1]), Entry(list, [1, "a"], [1, "a"]), Entry(t.List[int], [1], [1])),  # noqa: UP006 - as people write it
    *(Entry(set[int], [1, 2], {1, 2}), Entry(frozenset[str], ["a"], frozenset("a"))),
    Entry(set[Frozen], [{"n": 1}], {Frozen(1)}),
    *(Entry(tuple[int, str], [1, "a"], (1, "a")), Entry(tuple[int, ...], [1, 2], (1, 2))),
    Entry(tuple[()], [], ()),
    *(Entry(dict[str, int], {"a": 1}, {"a": 1}), Entry(dict, {"a": 1}, {"a": 1})),
    Entry(dict[int, str], {"1": "a"}, {1: "a"}),
    Entry(dict[Color, int], {"red": 1}, {Color.RED: 1}),
    Entry(dict[dt.date, int], {"2026-07-31": 1}, {DAY: 1}),
    Entry(dict[str, list[Item]], {"a": [{"sku": "x"}]}, {"a": [Item("x")]}),
    Entry(collections.deque[int], [1], collections.deque([1])),
    Entry(collections.Counter[str], {"a": 2}, collections.Counter("aa")),
    Entry(collections.OrderedDict[str, int], {"a": 1}, collections.OrderedDict(a=1)),
    Entry(collections.defaultdict[str, int], {"a": 1}, {"a": 1}),
    *(Entry(abc.Sequence[int], [1], [1]), Entry(abc.Mapping[str, int], {"a": 1}, {"a": 1})),
    *(Entry(abc.Iterable[int], [1], [1]), Entry(abc.Collection[int], [1], [1])),
    *(Entry(abc.MutableSequence[int], [1], [1]), Entry(abc.Set[int], [1], frozenset({1}))),
    *(Entry(int | str, "a", "a"), Entry(int | str, 1, 1), Entry(t.Optional[int], None, None)),  # noqa: UP045 - as people write it
    *(Entry(t.Union[int, list[int]], [1], [1]), Entry(float | int, 1, 1)),  # noqa: UP007 - as people write it
    Entry(Cat | Dog, {"kind": "dog", "name": "a"}, Dog(kind="dog", name="a")),
    Entry(
        t.Annotated[Cat | Dog, Field(discriminator="kind")],
        {"kind": "cat", "lives": 9},
        Cat(kind="cat", lives=9),
    ),
    *(Entry(Item, {"sku": "a"}, Item("a")), Entry(Inner, {"n": 1}, Inner(n=1))),
    Entry(Model, {"inner": {"n": 1}, "tags": ["x"]}, Model(inner=Inner(n=1), tags=["x"])),
    Entry(Node, {"value": 1, "next": {"value": 2}}, Node(value=1, next=Node(value=2))),
    *(Entry(Root, [1], Root([1])), Entry(Checked, {"n": 2}, Checked(n=2))),
    Entry(Before, "2026-07-31", Before(day=DAY)),
    Entry(Before, {"day": "2026-07-31"}, Before(day=DAY)),
    Entry(Aliased, {"from": 1}, Aliased(**{"from": 1})),
    *(Entry(Movie, {"title": "a"}, {"title": "a"}), Entry(Loose, {}, {})),
    Entry(Branch, {"v": 1, "kids": [{"v": "2"}]}, {"v": 1, "kids": [{"v": 2}]}),
    *(Entry(Held[int], {"it": "1"}, {"it": 1}), Entry(Open, {"a": 1, "z": 2}, {"a": 1, "z": 2})),
    *(Entry(t.Tuple, [1, "a"], (1, "a")), Entry(list[Record], [{"title": "a"}], [{"title": "a"}])),  # noqa: UP006 - as people write it
    # Of a union pydantic takes the text or the whole number here, so it is no date and no float.
    *(Entry(dt.date | str, "2026", "2026"), Entry(float | int, 2**53 + 1, 2**53 + 1)),
    *(Entry(Pair, [1, "b"], Pair(1, "b")), Entry(Plain, [1], Plain(1))),
    *(Entry(Box[int], {"it": 1}, Box[int](it=1)), Entry(Crate[str], {"it": "a"}, Crate("a"))),
    *(Entry(UserId, 5, 5), Entry(Bound, 5, 5), Entry(Either, "a", "a"), Entry(t.AnyStr, "a", "a")),
    Entry(t.Annotated[int, Field(ge=1, le=9)], 3, 3),
    Entry(t.Annotated[str, Field(pattern="^a", max_length=3)], "ab", "ab"),
    Entry(t.Annotated[list[int], Field(min_length=1)], [1], [1]),
    Entry(t.Annotated[int, AfterValidator(double)], 3, 6),
    Entry(t.Annotated[int, BeforeValidator(percent)], "50%", 50),
    Entry(t.Annotated[dt.date, WrapValidator(wrap)], "2026-07-31", DAY),
    *(Entry(conint(gt=0), 3, 3), Entry(constr(to_upper=True), "a", "A")),
    Entry(t.Annotated[int, "words"], 3, 3),
    Entry(t.Annotated[int, te.Doc("words")], 3, 3),
]
"""Types that a model can fill."""


class Closable(t.Protocol):
    def close(self) -> None: ...


class ByPath(BaseModel):
    """pydantic's schema shows `a`, and its validator reads it nowhere."""

    a: int = Field(validation_alias=AliasPath("x", 0))


class Odd(enum.Enum):
    THING = object()


class Empty(enum.Enum):
    pass


class Days(enum.Enum):
    FIRST = DAY


class Pairs(enum.Enum):
    ONE = (1, 2)


REFUSED_TYPES: list[t.Any] = [
    *(abc.Callable[[int], int], type[int], Closable, Odd, Days, Pairs, t.Literal[Color.RED]),
    *(set[Inner], set[Item], frozenset[list[int]], set[dict[str, int]], dict[tuple[int, int], str]),
    *(dict[t.Literal[1, 2], str], set[tuple[list[int], int]], slice, range, memoryview, bytearray),
    *(t.Annotated[str, Field(ge=1)], t.Annotated[int, Field(min_length=1)]),
    *(t.Annotated[int, Field(pattern="a")], t.Annotated[list[int], Field(multiple_of=2)]),
    *(t.Annotated[str, Field(pattern="(?<=a)b")], t.Annotated[str, Field(pattern="(")]),
    *(t.Annotated[str, Field(pattern=r"(a)\1")], t.Annotated[int, Field(ge="a")]),
    *(list[abc.Callable[[], None]], dict[str, Closable], t.NoReturn, re.Match[str], object()),
    *(list["Nowhere"], "Nowhere", abc.AsyncIterator[int], abc.Awaitable[int], t.IO[str]),  # type: ignore[name-defined]  # noqa: F821 - the mistake
    *(ByPath, list[ByPath], te.Unpack[tuple[int, str]]),
    *(Empty, Empty | None, int | Odd, int | type[str], abc.Callable[[], int] | None),
]
"""Types that no model can fill."""


def _shaped(entry: Entry) -> t.Iterator[tuple[str, t.Any]]:
    """The ways in which a parameter of a type can stand in a signature."""

    def required(it: t.Any) -> object:
        return it

    def positional(it: t.Any, /) -> object:
        return it

    def keyword(*, it: t.Any) -> object:
        return it

    async def later(it: t.Any) -> object:
        return it

    for function in (required, positional, keyword, later):
        function.__annotations__ = {"it": entry.annotation}
        yield function.__name__, function

    class Tools:
        def run(self, it: t.Any) -> object:
            return it

    Tools.run.__annotations__ = {"it": entry.annotation}
    yield "method", Tools().run


def signatures() -> t.Iterator[tuple[str, t.Any, dict[str, t.Any], dict[str, t.Any]]]:
    """Name, callable, arguments as a model writes them, values that have to arrive."""
    for number, entry in enumerate(ZOO):
        for shape, function in _shaped(entry):
            yield f"{number}-{shape}", function, {"it": entry.wire}, {"it": entry.value}
    yield from _whole()


def _unpacked() -> t.Iterator[tuple[str, t.Any, dict[str, t.Any], dict[str, t.Any]]]:
    class Options(te.TypedDict):
        size: int
        color: te.NotRequired[str]

    def unpacked(**options: te.Unpack[Options]) -> None: ...

    unpacked.__annotations__["options"] = te.Unpack[Options]
    yield "unpacked", unpacked, {"size": "3"}, {"size": 3}

    def named(**options: t.Any) -> None: ...

    named.__annotations__["options"] = te.Unpack[Named]
    yield "unpacked, with a keyword for a name", named, {"from": "3"}, {"from": 3}

    def generic(**options: t.Any) -> None: ...

    generic.__annotations__["options"] = te.Unpack[Held[list[int]]]
    yield "unpacked, generic", generic, {"it": ["3"]}, {"it": [3]}


def _whole() -> t.Iterator[tuple[str, t.Any, dict[str, t.Any], dict[str, t.Any]]]:
    names = [f"p{number}" for number in range(40)]
    body = f"def forty({', '.join(f'{n}: int = {i}' for i, n in enumerate(names))}): pass"
    scope: dict[str, t.Any] = {}
    exec(body, scope)
    yield "forty", scope["forty"], {"p7": "8", "p39": 1}, {"p7": 8, "p39": 1}

    def odd(
        größe: int,
        名前: str,  # noqa: N803 - the point
        _x: int,
        json: int,
        self_: int,
        model_config: int,
    ) -> None: ...

    given = {"größe": 1, "名前": "a", "_x": 2, "json": 3, "self_": 4, "model_config": 5}
    yield "unicode and reserved names", odd, given, given

    def rest(a: int, *more: int, **options: str) -> None: ...

    yield (
        "rest",
        rest,
        {"a": 1, "more": ["2", 3], "color": "red"},
        {"a": 1, "more": [2, 3], "color": "red"},
    )

    yield from _unpacked()
    yield (
        "partial",
        functools.partial(odd, größe=1),
        dict(list(given.items())[1:]),
        dict(list(given.items())[1:]),
    )

    @functools.singledispatch
    def dispatched(it: int) -> object:
        return it

    dispatched.__wrapped__.__annotations__["it"] = int  # type: ignore[attr-defined]  # functools sets it
    yield "singledispatch", dispatched, {"it": "3"}, {"it": 3}

    def aliased(it: t.Any = Field(alias="from", ge=1)) -> None: ...  # noqa: B008 - pydantic's way

    aliased.__annotations__ = {"it": int}
    yield "alias", aliased, {"from": 3}, {"it": 3}

    def fresh(it: t.Any = Field(default_factory=list)) -> None: ...  # noqa: B008 - pydantic's way

    fresh.__annotations__ = {"it": list[int]}
    yield "factory", fresh, {}, {}

    class Callable:
        def __call__(self, n: int) -> int:
            return n

    Callable.__call__.__annotations__ = {"n": int}
    yield "object", Callable(), {"n": 3.0}, {"n": 3}
    made = dataclasses.make_dataclass("Order", [("sku", str), ("count", int, 1)])
    yield "constructor", made, {"sku": "a", "count": "2"}, {"sku": "a", "count": 2}
    if sys.version_info >= (3, 12):
        exec(_NEW, scope)
        yield "type statement", scope["named"], {"it": [1]}, {"it": [1]}
        yield "type parameter", scope["generic"], {"it": 1, "all": ["a"]}, {"it": 1, "all": ["a"]}
        yield "bound parameter", scope["bound"], {"it": "1"}, {"it": 1}


_NEW = """
type Numbers = list[int]
def named(it: Numbers): pass
def generic[T](it: T, all: list[T]): pass
def bound[T: int](it: T): pass
"""

_SECTION = {
    "google": [
        "Args:\n    a: {a}\n    b: {b}",
        "Args:\n    a (int): {a}\n    b (str, optional): {b}",
    ],
    "numpy": ["Parameters\n----------\na : int\n    {a}\nb : str, optional\n    {b}"],
    "sphinx": [":param a: {a}\n:param b: {b}", ":param int a: {a}\n:type b: str\n:param b: {b}"],
}
_BROKEN = {
    "bullets": "Args:\n    * a: {a}\n    * b: {b}",
    "dashes": "Args:\n    - a: {a}\n    - b: {b}",
    "quotes": "Args:\n    `a`: {a}\n    `b`: {b}",
    "not indented": "Args:\na: {a}\nb: {b}",
    "no colon": "Args:\n    a - {a}\n    b - {b}",
    "bold": "**Args:**\n    a: {a}\n    b: {b}",
    "next line": "Args:\n    a:\n        {a}\n    b:\n        {b}",
    "two spaces": "Arguments:\n  a: {a}\n  b: {b}",
    "capital": "ARGS:\n    a: {a}\n    b: {b}",
    "numpy quotes": "Parameters\n----------\n`a` : int\n    {a}\n`b`\n    {b}",
    "epytext": "@param a: {a}\n@param b: {b}",
    "numbers": "Args:\n    1. a: {a}\n    2. b: {b}",
    "straight quotes": "Args:\n    \"a\": {a}\n    'b': {b}",
    "braces": "Args:\n    a {{int}} -- {a}\n    b {{str}} -- {b}",
    "numpy on one line": "Parameters\n----------\na: {a}\nb: {b}",
    "escaped stars": ":param \\*a: {a}\n:param \\*\\*b: {b}",
}
_AROUND = {
    "": "{}",
    "text behind": "{}\n\nOnly on Mondays.",
    "a note before": "Note:\n    Only on Mondays.\n\n{}",
    "a warning behind": "{}\n\nWarning:\n    Only on Mondays.",
    "an example behind": "{}\n\nExample:\n    Only on Mondays.",
    "results behind": "{}\n\nReturns:\n    What it finds.",
}

DOCUMENTED: list[tuple[str, str, bool]] = [
    (
        f"{style} {around}",
        f"Finds.\n\n{frame.format(section.format(a='words of a', b='and b'))}",
        "Mondays" in frame,
    )
    for style, section in (
        *((name, section) for name, sections in _SECTION.items() for section in sections),
        *_BROKEN.items(),
    )
    for around, frame in _AROUND.items()
]
"""What it is, a docstring of `a` and `b`, whether it also says that it is only for Mondays."""
