"""Arguments at the edge of what can be kept exactly: just inside each bound, and just outside."""

from __future__ import annotations

import hashlib
import json
import math
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import anyio

from agentkit import Agent, SQLiteJournal
from agentkit.exact import MAX_DEPTH, MAX_DIGITS
from agentkit.journal import CallIntended
from agentkit.messages import ToolMessage
from agentkit.testing import ScriptedModel, call, say
from agentkit.toolset import make_tool


def nested(levels: int, inner: Any, rng: random.Random) -> Any:
    """A value within so many lists and objects."""
    for _ in range(levels):
        inner = [inner] if rng.random() < 0.5 else {"k": inner}
    return inner


def inside(rng: random.Random) -> Any:
    """A value that can just be kept, as a part of the arguments."""
    return rng.choice(
        [
            10**MAX_DIGITS - rng.randint(1, 10**9),
            rng.randint(1, 10**9) - 10**MAX_DIGITS,
            nested(MAX_DEPTH - 1, rng.random(), rng),
            nested(MAX_DEPTH - 2, [], rng),
            sys.float_info.max * rng.random(),
            5e-324,
            -0.0,
            math.nextafter(rng.random(), 2),
            "\ud7ff\ue000\U0010ffff\ufffe\x00\x1f\x7f\u2028" + chr(rng.randint(1, 0xD7FF)),
            {"\x00": {"": [None, True, 2**63, -(2**63) - 1, 1e22, 1.0]}},
        ]
    )


def outside(rng: random.Random) -> Any:
    """A value that can just not be kept."""
    value = rng.choice(
        [
            10**MAX_DIGITS + rng.randint(0, 10**9),
            -(10**MAX_DIGITS) - rng.randint(0, 10**9),
            10 ** (MAX_DIGITS * rng.randint(2, 5)),
            chr(rng.randint(0xD800, 0xDFFF)),
            {"k" + chr(rng.randint(0xD800, 0xDFFF)): 1},
            math.nan,
            math.inf,
            -math.inf,
            {1: 2},
            {"bytes": b"x"},
        ]
    )
    if rng.random() < 0.2:
        return nested(MAX_DEPTH + rng.choice([0, 1, 500, 50_000]), 1, rng)
    return nested(rng.randint(0, 5), value, rng)


def digest(value: Any) -> str:
    """The same for the same value, to the last bit."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def refused(seed: int, values: int) -> Counter[str]:
    """So many values from outside the bounds, each in a run of its own, kept and resumed."""
    rng, counts = random.Random(seed), Counter[str]()
    with (
        tempfile.TemporaryDirectory() as folder,
        SQLiteJournal(Path(folder) / "runs.db") as journal,
    ):
        for number in range(values):
            anyio.run(_refused, outside(rng), f"run-{number}", journal)
            counts["values outside, no intent, refused in words"] += 1
    return counts


async def _refused(value: Any, run_id: str, journal: SQLiteJournal) -> None:
    ran: list[Any] = []

    def pay(to: Any) -> str:
        """Pays."""
        ran.append(to)
        return "paid"

    model = ScriptedModel([call("pay", to=value), say("done")])
    agent = Agent(model, tools=[make_tool(pay)], observers=())
    result = await agent.run("Pay.", run_id=run_id, journal=journal)
    again = await Agent(ScriptedModel([]), tools=[make_tool(pay)], observers=()).resume(
        run_id, journal=journal
    )
    entries = [record.entry for record in await journal.read(run_id)]
    assert (result.output, again.output, ran) == ("done", "done", [])
    assert not any(isinstance(entry, CallIntended) for entry in entries), value
    told = model.requests[1].messages[-1]
    assert isinstance(told, ToolMessage)
    text = str(told.content)
    assert told.is_error
    assert text.startswith("Error: pay was not run. Its arguments "), text
    assert len(text) < 300, text
    assert text.isprintable(), text
