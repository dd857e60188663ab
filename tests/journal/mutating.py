"""Records with something changed in them, read by the one reader: typed errors only, no code run.

Each is a line of a run file, or an entry of a journal, of any kind that a golden run has; bytes and
JSON values of it are changed at random.
"""

from __future__ import annotations

import io
import json
import random
import sqlite3
from collections import Counter
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from agentkit.cli.runs import tell
from agentkit.errors import JournalError
from agentkit.events.lines import Values
from agentkit.journal import load_entry, summary_of
from agentkit.trace import TraceError, parts_of, read_file
from agentkit.trace.page import page_of
from agentkit.trace.recording import lines_of, requests_of

GOLDEN = Path(__file__).parents[1] / "golden"
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    1e308,
    10**40,
    "",
    "\x00",
    "x" * 300,
    [],
    {},
    [[]],
    {"a": 1},
)
STRAY = ('"', "{", "}", "[", ",", ":", "\\", "0", "null", "\ud800", "\ufffd", "é", '{"$same":"x"}')


@cache
def bodies() -> tuple[str, ...]:
    """The entries of all golden journals."""
    found: list[str] = []
    for journal in sorted(GOLDEN.glob("*/journal.db")):
        with closing(sqlite3.connect(f"file:{journal}?mode=ro&immutable=1", uri=True)) as kept:
            found += [body for (body,) in kept.execute("SELECT body FROM events")]
    return tuple(found)


@cache
def files() -> tuple[list[bytes], ...]:
    """The lines of all golden run files."""
    every = sorted(GOLDEN.glob("*/*.jsonl"))
    return tuple(file.read_bytes().splitlines() for file in every)


def mutated(text: str, rng: random.Random) -> str:
    """The text with one to three things changed."""
    for _ in range(rng.randint(1, 3)):
        text = _value(text, rng) if rng.random() < 0.5 else _letters(text, rng)
    return text


def _letters(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    cut = rng.choice((0, 0, 1, 3, 40, len(text)))
    return text[:at] + rng.choice((*STRAY, "")) + text[at + cut :]


def _value(text: str, rng: random.Random) -> str:
    """One value of the JSON replaced, moved or taken out."""
    try:
        body = json.loads(text)
    except ValueError:
        return _letters(text, rng)
    places = list(_places(body))
    if not places:
        return text
    holder, key = rng.choice(places)
    odd = rng.choice((*ODD, {"$same": "x" * 24}, {"$as_is": 1}))
    if rng.random() < 0.2:
        del holder[key]
    elif isinstance(holder, dict) and rng.random() < 0.2:
        holder[rng.choice(("event", "step", "odd"))] = holder.pop(key)
    else:
        holder[key] = odd
    return json.dumps(body)


def _places(value: Any) -> Any:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield value, key
            yield from _places(inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield value, number
            yield from _places(inner)


def entries(seed: int, number: int) -> Counter[str]:
    """So many mutated entries of journals, each read by itself.

    Raises:
        Exception: One was neither read nor refused with a `JournalError`.
    """
    rng, counts = random.Random(seed), Counter[str]()
    for _ in range(number):
        text = mutated(rng.choice(bodies()), rng)
        try:
            load_entry(text, Values())
            counts["read"] += 1
        except JournalError:
            counts["refused"] += 1
    return counts


def lines(folder: Path, seed: int, number: int) -> Counter[str]:
    """So many mutated lines in run files, and all views made of what can be read of them.

    Raises:
        Exception: A view was not made, and no typed error said why.
    """
    rng, counts = random.Random(seed), Counter[str]()
    file = folder / "mutated.jsonl"
    for _ in range(number):
        whole = list(rng.choice(files()))
        at = rng.randrange(len(whole))
        text = mutated(whole[at].decode(), rng)
        whole[at] = text.encode("utf-8", "surrogatepass")
        file.write_bytes(b"\n".join([*whole, b""]))
        try:
            recording = read_file(file)
            summary_of("mutated", lines_of(file))
        except (TraceError, JournalError):
            counts["refused"] += 1
            continue
        counts["damage told" if recording.damage else "read"] += 1
        parts = parts_of(recording.events)
        for _request in requests_of(each.event for each in recording.events):
            pass
        page_of(parts, recording.damage)
        tell(parts, Console(file=io.StringIO()), damage=recording.damage, full=True)
    return counts
