"""Arguments that cannot be kept exactly: refused with a reason, before any intent."""

import math
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, SQLiteJournal
from agentkit.journal import CallIntended
from agentkit.messages import ToolMessage
from agentkit.policy import Edit, Policy
from agentkit.testing import ScriptedModel, call, say
from agentkit.toolset import make_tool

pytestmark = pytest.mark.anyio


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


REFUSED: list[tuple[Any, str]] = [
    ("to \ud800", "half of a surrogate pair"),
    (10**4300, "more than 4,300 digits"),
    (deep(500), "nested more than 128 deep"),
    (deep(50_000), "nested more than 128 deep"),
    (math.nan, "no number of JSON"),
    ([-math.inf], "no number of JSON"),
]


@pytest.mark.parametrize(
    ("value", "why"), REFUSED, ids=["half", "long", "deep", "abyss", "nan", "infinite"]
)
async def test_such_a_call_is_never_intended_and_the_model_reads_why(
    value: Any, why: str, tmp_path: Path
) -> None:
    ran: list[Any] = []

    def pay(to: Any) -> str:
        """Pays."""
        ran.append(to)
        return "paid"

    with SQLiteJournal(tmp_path / "runs.db") as journal:
        model = ScriptedModel([call("pay", to=value), say("done")])
        agent = Agent(model, tools=[make_tool(pay)])
        result = await agent.run("pay", run_id="r", journal=journal)
        entries = [record.entry for record in await journal.read("r")]
        again = await agent.resume("r", journal=journal)  # reads every entry back
    assert (result.output, again.output) == ("done", "done")
    assert ran == []
    assert not any(isinstance(entry, CallIntended) for entry in entries)
    told = model.requests[1].messages[-1]
    assert isinstance(told, ToolMessage)
    assert why in str(told.content)
    assert str(told.content).isprintable()


async def test_a_persons_edit_is_held_to_the_same_bounds() -> None:
    for value, why in REFUSED:
        with pytest.raises(ValueError, match=why):
            Edit({"to": value})


async def test_an_edit_within_the_bounds_runs(tmp_path: Path) -> None:
    ran: list[int] = []

    def pay(amount: int) -> str:
        """Pays."""
        ran.append(amount)
        return "paid"

    largest = 10**4300 - 1
    agent = Agent(
        ScriptedModel([call("pay", amount=1), say("done")]),
        tools=[make_tool(pay)],
        policy=Policy(lambda _call: "ask"),
        approve=lambda _approval: Edit({"amount": largest}),
    )
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        await agent.run("pay", journal=journal)
    assert ran == [largest]
