from __future__ import annotations

import logging

import pytest

from agentkit import Agent, Event, RunFinished, tool
from agentkit.events import ModelCalled
from agentkit.testing import ScriptedModel, call, say


@tool(effect="pure")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.mark.anyio
async def test_an_observer_that_raises_is_logged_once_and_left_out_of_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []
    seen: list[Event] = []

    def broken(_run_id: str, event: Event) -> None:
        told.append(type(event).__name__)
        if isinstance(event, ModelCalled):
            raise LookupError("a bug")

    def watching(_run_id: str, event: Event) -> None:
        seen.append(event)

    model = ScriptedModel([call("add", a=1, b=2), say("3")])
    with caplog.at_level(logging.WARNING, logger="agentkit"):
        result = await Agent(model, tools=[add], observers=[broken, watching]).run("1 + 2?")
    assert result.output == "3"
    assert told == ["RunStarted", "StepStarted", "ToolCallDelta", "ModelCalled"]
    assert isinstance(seen[-1], RunFinished)
    (record,) = caplog.records
    assert "LookupError" in record.getMessage()
    assert "ModelCalled" in record.getMessage()


@pytest.mark.anyio
async def test_an_observer_left_out_of_one_run_watches_the_next() -> None:
    told: list[str] = []

    def broken(run_id: str, _event: Event) -> None:
        told.append(run_id)
        raise LookupError("a bug")

    agent = Agent(ScriptedModel([say("a"), say("b")]), observers=[broken])
    await agent.run("hi", run_id="first")
    await agent.run("hi", run_id="second")
    assert told == ["first", "second"]
