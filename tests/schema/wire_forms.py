"""Values, the forms in which a model writes them, and what each form has to come to.

A reference written apart from the ladder: it makes forms from a value that it knows, so it needs to
read none. For each form it says the value that must arrive, or that the form must be refused.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Final, Literal
from uuid import UUID


class Refused:
    """What a form has to come to that has no meaning, or two."""

    def __repr__(self) -> str:
        return "refused"


REFUSED: Final = Refused()


@dataclass(frozen=True)
class Form:
    """One way to write a value.

    Attributes:
        name: What is done to it.
        wire: The JSON.
        outcome: What has to arrive; `REFUSED` for nothing.
    """

    name: str
    wire: Any
    outcome: Any


@dataclass(frozen=True)
class Kind:
    """A type: its annotation, and what the reference knows of it."""

    annotation: Any
    textual: bool = False
    """Every text is one of its values."""

    def sample(self, rng: random.Random) -> Any:
        raise NotImplementedError

    def wire(self, value: Any) -> Any:
        return value

    def forms(self, rng: random.Random, value: Any) -> Iterator[Form]:
        raise NotImplementedError

    def nothing(self) -> Iterator[Form]:
        """null and the texts that say so; a nullable type takes them."""
        for text in ("null", "None"):
            yield Form("null text", text, text if self.textual else REFUSED)
        yield Form("null", None, REFUSED)

    def as_text(self, value: Any) -> Iterator[Form]:
        text = json.dumps(self.wire(value))
        yield Form("as text", text, value)
        yield Form("as text in spaces", f" {text}\n", value)
        yield Form("as text twice", json.dumps(text), value)


class Int(Kind):
    def sample(self, rng: random.Random) -> int:
        return rng.choice((rng.randint(-9, 99), rng.randint(-(2**70), 2**70)))

    def forms(self, rng: random.Random, value: int) -> Iterator[Form]:
        yield Form("as it is", value, value)
        yield from self.as_text(value)
        small = abs(value) <= 2**53
        yield Form("float for integer", float(value), value if small else REFUSED)
        yield Form("with a fraction", value % 100 + 0.5, REFUSED)
        yield Form("true for a number", True, REFUSED)
        yield Form("leading zeros", f"0{abs(value) + 1}", REFUSED)
        yield Form("words", rng.choice(("three", "1,000", "0x10", "1 2", "", "--1", "³")), REFUSED)
        yield from self.nothing()


class Float(Kind):
    def sample(self, rng: random.Random) -> float:
        return rng.choice((rng.uniform(-1e3, 1e3), rng.uniform(-1, 1) * 10 ** rng.randint(-9, 99)))

    def forms(self, rng: random.Random, value: float) -> Iterator[Form]:
        yield Form("as it is", value, value)
        yield from self.as_text(value)
        whole = rng.randint(-(2**53), 2**53)
        yield Form("integer for float", whole, float(whole))
        yield Form("integer text for float", str(whole), float(whole))
        yield Form("an integer that would be rounded", 2**53 + 2 * rng.randint(1, 99) + 1, REFUSED)
        yield Form("true for a number", False, REFUSED)
        yield Form("no number", rng.choice(("nan", "inf", "-Infinity", "1e999", "1.2.3")), REFUSED)
        yield from self.nothing()


class Bool(Kind):
    def sample(self, rng: random.Random) -> bool:
        return rng.random() < 0.5

    def forms(self, rng: random.Random, value: bool) -> Iterator[Form]:
        yield Form("as it is", value, value)
        yield from self.as_text(value)
        yield Form("in capitals", str(value).upper(), value)
        yield Form("as a word", "yes" if value else "no", value)
        yield Form("as a digit", int(value), value)
        yield Form("as a digit string", str(int(value)), value)
        yield Form("float for integer", float(value), value)
        yield Form("another number", rng.choice((2, -1, 0.5)), REFUSED)
        yield Form("words", rng.choice(("maybe", "", "tru")), REFUSED)
        yield from self.nothing()


class Text(Kind):
    def sample(self, rng: random.Random) -> str:
        return rng.choice(("", "3", "null", "true", '"q"', "[1]", "2026", "ä\n", "a b"))

    def forms(self, rng: random.Random, value: str) -> Iterator[Form]:
        yield Form("as it is", value, value)
        yield Form("a number for a text", rng.choice((3, 2.5, True)), REFUSED)
        yield from self.nothing()


class Chosen(Kind):
    """A `Literal` or an `Enum` of texts or of numbers."""

    def sample(self, rng: random.Random) -> Any:
        return rng.choice(VALUES[self.annotation])

    def wire(self, value: Any) -> Any:
        return value.value if isinstance(value, Enum) else value

    def forms(self, rng: random.Random, value: Any) -> Iterator[Form]:
        wire = self.wire(value)
        yield Form("as it is", wire, value)
        if isinstance(wire, str):
            quote = rng.choice(QUOTES)
            yield Form("quoted", f"{quote}{wire}{quote}", value)
            yield Form("quoted twice", json.dumps(wire), value)
            yield Form("in capitals", wire.upper(), REFUSED)
        else:
            yield from self.as_text(value)
            yield Form("float for integer", float(wire), value)
            yield Form("true for a number", True, REFUSED)
        yield Form("another one", rng.choice(("blue", 7, [], "")), REFUSED)
        yield from self.nothing()


QUOTES: Final = "'\"`"


class Day(Kind):
    def sample(self, rng: random.Random) -> date:
        return date(1900, 1, 1) + timedelta(days=rng.randrange(70_000))

    def wire(self, value: date) -> str:
        return value.isoformat()

    def forms(self, rng: random.Random, value: date) -> Iterator[Form]:
        yield Form("as it is", value.isoformat(), value)
        yield Form("quoted", json.dumps(value.isoformat()), value)
        yield Form("at midnight", f"{value.isoformat()}T00:00:00", value)
        yield Form("at another time", f"{value.isoformat()}T09:30:00", REFUSED)
        yield Form("digit string", digits(rng, value), REFUSED)
        yield Form("a number for a date", rng.choice((0, value.year, 86_400 * 9, 1.5)), REFUSED)
        yield Form("true for a date", True, REFUSED)
        yield Form("words", rng.choice(("tomorrow", "", "31.7.2026", "2026-02-30")), REFUSED)
        yield from self.nothing()


class Moment(Kind):
    def sample(self, rng: random.Random) -> datetime:
        zone = rng.choice((None, UTC))
        return datetime(2000, 1, 1, tzinfo=zone) + timedelta(seconds=rng.randrange(10**9))

    def wire(self, value: datetime) -> str:
        return value.isoformat()

    def forms(self, rng: random.Random, value: datetime) -> Iterator[Form]:
        yield Form("as it is", value.isoformat(), value)
        yield Form("quoted", json.dumps(value.isoformat()), value)
        yield Form("digit string", digits(rng, value), REFUSED)
        yield Form("a number for a date", rng.choice((0, value.year, 86_400 * 9, 1.5)), REFUSED)
        yield Form("words", rng.choice(("now", "", "09:30")), REFUSED)
        yield from self.nothing()


def digits(rng: random.Random, value: date) -> str:
    return rng.choice(("0", str(value.year), f"{value:%Y%m%d}", "86400", "1700000000", "-1", "1.5"))


class Exact(Kind):
    def sample(self, rng: random.Random) -> Decimal:
        return Decimal(rng.randint(-(10**20), 10**20)).scaleb(-rng.randint(0, 20))

    def wire(self, value: Decimal) -> str:
        return f"{value:f}"

    def forms(self, rng: random.Random, value: Decimal) -> Iterator[Form]:
        yield Form("as it is", f"{value:f}", value)
        yield Form("quoted", f'"{value:f}"', REFUSED)  # a number or a text of digits
        whole = rng.randint(-(2**70), 2**70)
        yield Form("integer for decimal", whole, Decimal(whole))
        yield Form("float for decimal", 0.1 + (part := rng.random()), Decimal(repr(0.1 + part)))
        yield Form("true for a number", True, REFUSED)
        yield Form("no number", rng.choice(("nan", "x", "")), REFUSED)
        yield from self.nothing()


class Ident(Kind):
    def sample(self, rng: random.Random) -> UUID:
        return UUID(int=rng.getrandbits(128))

    def wire(self, value: UUID) -> str:
        return str(value)

    def forms(self, rng: random.Random, value: UUID) -> Iterator[Form]:
        yield Form("as it is", str(value), value)
        yield Form("quoted", json.dumps(str(value)), value)
        yield Form("a number", rng.randint(0, 99), REFUSED)
        yield Form("words", rng.choice(("", "no", str(value)[:-1])), REFUSED)
        yield from self.nothing()


@dataclass(frozen=True)
class Holder(Kind):
    """A type with other types inside."""

    inner: tuple[Kind, ...] = ()

    def own(self, rng: random.Random, value: Any) -> Iterator[Form]:
        text = json.dumps(self.wire(value))
        yield Form("as it is", self.wire(value), value)
        yield from self.as_text(value)
        yield Form("in a fence", f"```json\n{text}\n```", value)
        yield Form("cut", text[:-1], REFUSED)
        yield Form("a scalar", rng.choice((5, True, 1.5, "words", "")), REFUSED)
        yield from self.nothing()


class ListOf(Holder):
    def sample(self, rng: random.Random) -> list[Any]:
        return [self.inner[0].sample(rng) for _ in range(rng.randrange(4))]

    def wire(self, value: list[Any]) -> Any:
        return [self.inner[0].wire(item) for item in value]

    def forms(self, rng: random.Random, value: list[Any]) -> Iterator[Form]:
        yield from self.own(rng, value)
        if value:
            at = rng.randrange(len(value))
            for form in self.inner[0].forms(rng, value[at]):
                wire = self.wire(value)
                wire[at] = form.wire
                outcome = [*value[:at], form.outcome, *value[at + 1 :]]
                refused = form.outcome is REFUSED
                yield Form(f"{form.name}, in a list", wire, REFUSED if refused else outcome)


class DictOf(Holder):
    def sample(self, rng: random.Random) -> dict[str, Any]:
        return {key: self.inner[0].sample(rng) for key in rng.sample("abcd", rng.randrange(4))}

    def wire(self, value: dict[str, Any]) -> Any:
        return {key: self.inner[0].wire(item) for key, item in value.items()}

    def forms(self, rng: random.Random, value: dict[str, Any]) -> Iterator[Form]:
        yield from self.own(rng, value)
        for key in [*value][:1]:
            for form in self.inner[0].forms(rng, value[key]):
                outcome = REFUSED if form.outcome is REFUSED else {**value, key: form.outcome}
                yield Form(f"{form.name}, in a dict", {**self.wire(value), key: form.wire}, outcome)


@dataclass(frozen=True)
class Record(Holder):
    """A dataclass of a required field and one with a default."""

    default: Any = None

    def sample(self, rng: random.Random) -> Any:
        return self.annotation(self.inner[0].sample(rng), self.inner[1].sample(rng))

    def wire(self, value: Any) -> Any:
        return {"need": self.inner[0].wire(value.need), "may": self.inner[1].wire(value.may)}

    def forms(self, rng: random.Random, value: Any) -> Iterator[Form]:
        yield from self.own(rng, value)
        wire = self.wire(value)
        yield Form("an unknown field", {**wire, "other": 1}, REFUSED)
        yield Form("a field missing", {"may": wire["may"]}, REFUSED)
        short = dataclasses.replace(value, may=self.default)
        yield Form("a default left out", {"need": wire["need"]}, short)
        for at, name in enumerate(("need", "may")):
            for form in self.inner[at].forms(rng, getattr(value, name)):
                outcome = form.outcome
                if outcome is not REFUSED:
                    outcome = dataclasses.replace(value, **{name: outcome})
                elif name == "may" and form.name in ("null", "null text"):
                    outcome = short
                yield Form(f"{form.name}, in {name}", {**wire, name: form.wire}, outcome)


class Nullable(Holder):
    def sample(self, rng: random.Random) -> Any:
        return self.inner[0].sample(rng) if rng.random() < 0.8 else None

    def wire(self, value: Any) -> Any:
        return None if value is None else self.inner[0].wire(value)

    def forms(self, rng: random.Random, value: Any) -> Iterator[Form]:
        inner = self.inner[0]
        for form in inner.forms(rng, inner.sample(rng) if value is None else value):
            if form.name == "null" or (form.name == "null text" and not inner.textual):
                yield Form(form.name, form.wire, None)
            else:
                yield form


class Color(Enum):
    RED = "red"
    GREEN = "green"


class Size(IntEnum):
    S = 2
    L = 5


VALUES: Final[dict[Any, tuple[Any, ...]]] = {
    Color: tuple(Color),
    Size: tuple(Size),
    Literal["one", "two"]: ("one", "two"),
    Literal[3, 4]: (3, 4),
}

LEAVES: Final[tuple[Kind, ...]] = (
    Int(int),
    Float(float),
    Bool(bool),
    Text(str, textual=True),
    Day(date),
    Moment(datetime),
    Exact(Decimal),
    Ident(UUID),
    *(Chosen(annotation) for annotation in VALUES),
)


def kind_of(rng: random.Random, depth: int = 2) -> Kind:
    """A random type."""
    if not depth or rng.random() < 0.4:
        return rng.choice(LEAVES)
    inner = kind_of(rng, depth - 1)
    match rng.randrange(4):
        case 0:
            return ListOf(list[inner.annotation], inner=(inner,))  # type: ignore[name-defined]  # made at run time
        case 1:
            return DictOf(dict[str, inner.annotation], inner=(inner,))  # type: ignore[name-defined]  # made at run time
        case 2 if not isinstance(inner, Nullable):
            return Nullable(inner.annotation | None, inner=(inner,))
        case _:
            may = rng.choice(LEAVES)
            default = may.sample(rng)
            made = dataclasses.make_dataclass(
                "Made",
                [
                    ("need", inner.annotation),
                    ("may", may.annotation, dataclasses.field(default=default)),
                ],
            )
            return Record(made, inner=(inner, may), default=default)
