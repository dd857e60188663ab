"""A run that died and is resumed sends what it would have sent, to the byte."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import Agent, Context, Limits, tool
from agentkit.events import RunResult
from agentkit.journal import SQLiteJournal
from agentkit.messages import ModelRequest
from agentkit.testing import call, calls, say
from agentkit.testing.scripted import Reply
from agentkit.toolset import Tool
from tests.agent.following import Windowed
from tests.mortal import Killed, Mortal

STEPS = 24


class World:
    """A tool whose results are long, and that dies where it is told to."""

    def __init__(self, seed: int, dies_at: int | None = None) -> None:
        self._seed, self._dies_at = seed, dies_at

    def tools(self) -> list[Tool[..., Any]]:
        @tool(effect="idempotent")
        def read(number: int) -> str:
            """Reads."""
            if number == self._dies_at:
                self._dies_at = None
                raise Killed
            rng = random.Random(self._seed * 1_000 + number)
            words = ["alpha", "beta", "error: none", "42", "ü\n"]
            return " ".join(rng.choices(words, k=rng.choice([5, 200, 900])))

        return [read]


def script(seed: int) -> list[Reply]:
    rng = random.Random(seed)
    made: list[Reply] = []
    for step in range(STEPS):
        old = 2 * rng.randrange(step) + 3 if step else 3
        kind = rng.random()
        if kind < 0.6 or step < 3:
            made.append(call("read", number=step))
        elif kind < 0.8:
            made.append(call("read_result", result=old, start=rng.randrange(20)))
        else:
            made.append(calls(("read", {"number": step}), ("recall", {"words": "alpha 42"})))
    return [*made, say("Done.")]


def model_of(seed: int, *, counted: bool, after: int = 0) -> Windowed:
    """The model of that script, behind so many replies that a record has."""
    replies = script(seed)[after:]

    def reply(request: ModelRequest) -> Reply:
        return replies[len(model.requests) - 1]

    model = Windowed(reply, 4_096, counted=counted)
    return model


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_requests_after_a_resumption_are_those_of_a_run_that_was_not_killed(
    tmp_path: Path, seed: int, counted: bool
) -> None:
    dies_at = random.Random(seed).randrange(12, STEPS - 1)
    options: dict[str, Any] = {
        "context": Context(compact_at=2_500),
        "limits": Limits(steps=100),
        "observers": (),
    }
    journal = SQLiteJournal(tmp_path / "runs.db")

    async def main() -> tuple[RunResult[Any], Windowed, Windowed, RunResult[Any]]:
        whole = model_of(seed, counted=counted)
        expected = await Agent(whole, tools=World(seed).tools(), **options).run("Read.", run_id="r")
        world, first = World(seed, dies_at), model_of(seed, counted=counted)
        agent = Agent(first, tools=world.tools(), executor=Mortal(), **options)
        with pytest.raises(Killed):
            await agent.run("Read.", journal=journal, run_id="r")
        rest = model_of(seed, counted=counted, after=len(first.requests))
        resumed = await Agent(rest, tools=world.tools(), **options).resume("r", journal=journal)
        return expected, whole, rest, resumed

    expected, whole, rest, resumed = anyio.run(main)
    journal.close()
    assert expected.context.compactions >= 2
    assert rest.requests
    assert [r.messages for r in whole.requests[-len(rest.requests) :]] == [
        r.messages for r in rest.requests
    ]
    assert resumed.messages == expected.messages
    assert resumed.context.compactions == expected.context.compactions
    assert resumed.context.prompts == expected.context.prompts
