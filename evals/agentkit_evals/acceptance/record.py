"""What an acceptance found: parts with a verdict each, and one sentence about all of them.

It is meant to be shown to others: every text in it goes through `Discretion` first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from ipaddress import ip_address
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from agentkit.gemma4.profiles import profile_for
from agentkit.messages import JsonObject
from agentkit.redaction import redacted
from agentkit.wording import pluralize

Outcome: TypeAlias = Literal["passed", "warned", "failed", "not run"]
"""`warned` is what agentkit works around, or what a reader should know."""


MORE_TIME: Final = "--minutes gives a slow server more time"
"""What to do about a part that was not done in time."""


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The one that counts of several; `passed` of none."""
    found = set(outcomes)
    return "failed" if "failed" in found else "warned" if "warned" in found else "passed"


Cell: TypeAlias = str | int | float | None
Row: TypeAlias = Mapping[str, Cell]
"""A line of a table, by the names of its columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of an acceptance.

    Attributes:
        name: The name by which it is chosen, such as `scenarios`.
        title: What it is about.
        outcome: Its verdict.
        says: What came of it, in a sentence.
        remedy: What to do about it; empty where nothing is to be done.
        seconds: How long it took.
        figures: Its most telling numbers, by their names.
        tables: Everything that was seen, by the heading of each table.
    """

    name: str
    title: str
    outcome: Outcome
    says: str
    remedy: str = ""
    seconds: float = 0.0
    figures: Mapping[str, Cell] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """All parts, and what they were played on.

    Attributes:
        model: The served name.
        server: Which program serves it, with its version, as far as it says.
        address: What kind of address it has; never the address.
        agentkit: Version of the library.
        made: When it was begun, ISO 8601 in UTC.
        window: Tokens of prompt and reply together, if the server says.
        control: What the server can hold calls to.
        template: Which chat template it uses.
        fingerprint: That of the server's kind, as `agentkit doctor --require` takes it; empty
            where the examination was not finished.
        parts: In the order in which they were played.
    """

    model: str
    server: str
    address: str
    agentkit: str
    made: str
    window: int | None
    control: str
    template: str
    fingerprint: str
    parts: tuple[Part, ...]

    @property
    def profile(self) -> str:
        """Which Gemma 4 it is, as far as its name says."""
        return profile_for(self.model).name

    @property
    def is_demonstration(self) -> bool:
        """Whether it is the model that comes with agentkit."""
        return is_demonstration(self.model)

    @property
    def accepted(self) -> bool:
        """Whether no part failed."""
        return all(part.outcome != "failed" for part in self.parts)

    @property
    def exit_code(self) -> int:
        """0 accepted, 1 not."""
        return int(not self.accepted)

    @property
    def sentence(self) -> str:
        """The verdict for a person."""
        by_outcome: dict[Outcome, list[str]] = {}
        for part in self.parts:
            by_outcome.setdefault(part.outcome, []).append(part.title)
        if failed := by_outcome.get("failed"):
            of = f"{len(failed)} of {pluralize(len(self.parts), 'part')} failed"
            said = f"Not accepted: {of} ({'; '.join(failed)})."
        elif warned := by_outcome.get("warned"):
            doubts = pluralize(len(warned), "reservation")
            said = f"Accepted, with {doubts} ({'; '.join(warned)})."
        else:
            said = "Accepted: agents can rely on this server."
        if left_out := by_outcome.get("not run"):
            said += f" Not run: {'; '.join(left_out)}."
        return said

    @property
    def caution(self) -> str:
        """What a reader must know of the model; empty where there is nothing."""
        if not self.is_demonstration:
            return ""
        return (
            "This is the demonstration model that comes with agentkit: two million parameters. "
            "What is found of the server holds; scores mean nothing of a released Gemma 4."
        )

    def to_json(self) -> JsonObject:
        """The report for programs; `format` is counted up when a member changes its meaning."""
        return {
            "format": 1,
            "accepted": self.accepted,
            "verdict": self.sentence,
            "caution": self.caution,
            "demonstration": self.is_demonstration,
            **asdict(self),
            "profile": self.profile,
            "parts": [asdict(part) for part in self.parts],
        }


def is_demonstration(model: str) -> bool:
    """Whether a served name is that of the model that comes with agentkit."""
    return profile_for(model).name == "tiny"


class Discretion:
    """Leaves out of texts where the server is and how it is asked.

    Texts come from the server, from proxies before it, and from errors of the network, so what is
    left out goes by its form as well: addresses of every kind, and all secrets that are known.

    Args:
        url: The server's address.
        api_key: The key that it is asked with.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        host, port = _place(url)
        known = [f"{host}:{port}"] if host and port else []
        if "." in host or ":" in host:  # a single word, as within a container network, is a word
            known.append(host)
        places = "|".join(map(re.escape, known))
        self._places = re.compile(places, re.IGNORECASE) if places else None
        self._key = api_key if api_key and len(api_key) >= _SHORTEST_KEY else None

    def text(self, value: str) -> str:
        """A text that can be shown to others."""
        value = redacted(value)
        if self._key is not None:
            value = value.replace(self._key, "[secret]")
        value = _URL.sub(_ADDRESS, value)
        if self._places is not None:
            value = self._places.sub(_ADDRESS, value)
        return _IPV4.sub(_ADDRESS, _IPV6.sub(_without_ipv6, value))

    def part(self, part: Part) -> Part:
        """A part whose texts can be shown to others."""
        tables = {
            heading: [{name: self._cell(cell) for name, cell in row.items()} for row in rows]
            for heading, rows in part.tables.items()
        }
        figures = {name: self._cell(cell) for name, cell in part.figures.items()}
        return replace(
            part,
            says=self.text(part.says),
            remedy=self.text(part.remedy),
            figures=figures,
            tables=tables,
        )

    def _cell(self, cell: Cell) -> Cell:
        return self.text(cell) if isinstance(cell, str) else cell


_ADDRESS: Final = "[address]"
_SHORTEST_KEY: Final = 4
"""Characters: a shorter key is found in words that are none, and keeps nobody out."""

_URL: Final = re.compile(
    r"\b[a-z][a-z0-9+.-]{0,30}://(?=[^\s'\"`<>)\]},;])"
    r"(?:[^\s'\"`<>@/\[\]]*@)?(?:\[[^\]\s]*\])?[^\s'\"`<>)\]},;]*",  # an IPv6 host has brackets
    re.IGNORECASE,
)
_IPV6: Final = re.compile(
    r"(?<![\w:.])(?<!\w\[)(?:\[(?=[^\]\s]{0,64}\]))?"
    r"([\da-f]{0,4}(?::[\da-f]{0,4}){0,7}(?::(?:\d{1,3}\.){3}\d{1,3}|:[\da-f]{1,4}|::))"
    r"(?:%\w+)?(?:\](?::\d+)?)?(?!\w|:\w|\.\d)",
    re.IGNORECASE,
)
"""What may be an IPv6 address; times of day and much else look alike."""
_IPV4: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?![\w.]*\d)")


def _without_ipv6(found: re.Match[str]) -> str:
    try:
        is_address = found[1] != "::" and ip_address(found[1]).version == 6
    except ValueError:
        return found[0]
    return _ADDRESS if is_address else found[0]


def address_kind(url: str) -> str:
    """Scheme and kind of an address, such as `https, public address`; nothing that leads to it."""
    scheme = urlsplit(url).scheme or "http"
    host, _ = _place(url)
    return f"{scheme}, {_kind(host)}"


def _kind(host: str) -> str:
    if host == "localhost" or host.endswith(".localhost"):
        return "this machine"
    try:
        address = ip_address(host)
    except ValueError:
        inside = "." not in host or host.endswith((".local", ".internal", ".lan"))
        return "private network" if inside else "public address"
    if address.is_loopback or address.is_unspecified:
        return "this machine"
    return "private network" if address.is_private else "public address"


def _place(url: str) -> tuple[str, int | None]:
    """Host and port of an address; nothing of one that is none."""
    try:
        parts = urlsplit(url)
        return parts.hostname or "", parts.port
    except ValueError:
        return "", None
