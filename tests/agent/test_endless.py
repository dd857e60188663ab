"""Replies that would not end: left while they stream, and asked for otherwise."""

from __future__ import annotations

import pytest

from agentkit import Agent, ModelSettings, RunResult, StepRestarted, VLLMModel, tool
from agentkit.events import Event
from agentkit.testing import say
from agentkit.testing.faults import FaultServer
from agentkit.testing.faults.served import Served, ServedCall

pytestmark = pytest.mark.anyio

OPEN = '<|tool_call>call:look{name:<|"|>'
GARBAGE = " ".join(f"w{n * 7919 % 1000}" for n in range(300))


@tool(effect="pure")
async def look(name: str) -> str:
    """Looks."""
    return name


def in_a_call(text: str) -> Served:
    """A call that is cut inside its text; the server's parser makes a whole one of it."""
    call = ServedCall("look", '{"name": "' + text[:40] + '"}')
    return Served(calls=(call,), finish_reason="length", cut=True, native=OPEN + text)


async def run_on(
    server: FaultServer, *, stream: bool
) -> tuple[RunResult[str], list[StepRestarted]]:
    restarts: list[StepRestarted] = []

    def watch(_run_id: str, event: Event) -> None:
        if isinstance(event, StepRestarted):
            restarts.append(event)

    async with VLLMModel(server.url, stream=stream) as model:
        settings = ModelSettings(max_tokens=2_000, seed=5)
        agent = Agent(model, tools=[look], settings=settings, observers=[watch])
        return await agent.run("Look."), restarts


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("text", "why"),
    [("ha " * 3_000, "repeated itself"), (GARBAGE, "cut by its bound")],
    ids=["a loop", "garbage"],
)
async def test_a_call_that_does_not_end_under_the_grammar_is_asked_for_without_it(
    text: str, why: str, stream: bool
) -> None:
    server = FaultServer([in_a_call(text), say("done")])
    server.takes_grammar = True
    async with server:
        result, restarts = await run_on(server, stream=stream)
    assert (result.stop_reason, result.output) == ("answer", "done")
    assert [why in restart.reason for restart in restarts] == [True]
    first, second = server.requests
    assert "structured_outputs" in first
    assert "structured_outputs" not in second
    assert (first["seed"], second["seed"]) == (5, 6)


async def test_a_loop_that_comes_again_ends_the_run_with_its_name() -> None:
    async with FaultServer(then=say("round and round, " * 2_000)) as server:
        server.behave(Served(text="round and round, " * 2_000, finish_reason="length", cut=True))
        result, _ = await run_on(server, stream=True)
    assert result.stop_reason == "loop"
    assert len(server.requests) == 2
