"""Twelve tools that write down how they were called.

It needs nothing but Python: each client imports it in an environment of its own.
"""

from __future__ import annotations

import inspect
import json
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Literal

RAN: list[tuple[str, dict[str, Any]]] = []
"""Names and arguments of the calls that ran, in order."""


def _ran(name: str, given: dict[str, Any]) -> str:
    RAN.append((name, given))
    return json.dumps({"ran": name, "arguments": given})


def send_mail(
    to: str,
    subject: str,
    body: str,
    urgency: Literal["low", "normal", "high"] = "normal",
) -> str:
    """Send a mail."""
    return _ran("send_mail", {"to": to, "subject": subject, "body": body, "urgency": urgency})


def read_file(path: str, offset: int = 0, limit: int = 100) -> str:
    """Read a file."""
    return _ran("read_file", {"path": path, "offset": offset, "limit": limit})


def edit_file(path: str, old: str, new: str, everywhere: bool = False) -> str:
    """Replace text in a file."""
    return _ran("edit_file", {"path": path, "old": old, "new": new, "everywhere": everywhere})


def weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius", days: int = 1) -> str:
    """Get the weather."""
    return _ran("weather", {"city": city, "unit": unit, "days": days})


def book_table(restaurant: str, people: int, when: str, note: str | None = None) -> str:
    """Book a table."""
    given = {"restaurant": restaurant, "people": people, "when": when, "note": note}
    return _ran("book_table", given)


def refund(order: int, reason: str, amount: float | None = None) -> str:
    """Pay money back."""
    return _ran("refund", {"order": order, "reason": reason, "amount": amount})


def tag_issue(number: int, labels: list[str], close: bool = False) -> str:
    """Label an issue."""
    return _ran("tag_issue", {"number": number, "labels": labels, "close": close})


def add(a: int, b: int) -> str:
    """Add two numbers."""
    return _ran("add", {"a": a, "b": b})


def translate(text: str, target: str, formal: bool = False) -> str:
    """Translate a text."""
    return _ran("translate", {"text": text, "target": target, "formal": formal})


def play(song: str, artist: str | None = None, volume: float = 0.5) -> str:
    """Play a song."""
    return _ran("play", {"song": song, "artist": artist, "volume": volume})


def sort_numbers(numbers: list[float], descending: bool = False) -> str:
    """Sort numbers."""
    return _ran("sort_numbers", {"numbers": numbers, "descending": descending})


def create_event(title: str, start: str, attendees: list[str], online: bool = False) -> str:
    """Create an event."""
    given = {"title": title, "start": start, "attendees": attendees, "online": online}
    return _ran("create_event", given)


ALL: list[Callable[..., str]] = [
    send_mail,
    read_file,
    edit_file,
    weather,
    book_table,
    refund,
    tag_issue,
    add,
    translate,
    play,
    sort_numbers,
    create_event,
]


def with_defaults(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments and, where they are silent, the tool's defaults."""
    (tool,) = (tool for tool in ALL if tool.__name__ == name)
    parameters = inspect.signature(tool).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    return defaults | arguments


async def record(ask: Callable[[str], Awaitable[object]], cases: int) -> str:
    """Puts every case to a client; a line for each says what ran, and what the client died of."""
    lines: list[str] = []
    for number in range(cases):
        RAN.clear()
        crash = ""
        try:
            await ask(f"case {number}")
        except Exception:  # noqa: BLE001 - whatever a client dies of is what is counted
            crash = traceback.format_exc(limit=-1)
        lines.append(json.dumps({"case": number, "ran": RAN, "crash": crash}) + "\n")
    return "".join(lines)
