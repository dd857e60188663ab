from __future__ import annotations

from typing import Any

import pytest
from agentkit_evals.core import Case, EvalError, Trial, Turn
from agentkit_evals.parts import Ablation, model_without
from agentkit_evals.subject import Subject

from agentkit import Agent, Context, ContextCompacted, Toolset, tool
from agentkit.testing import FaultServer, ScriptedModel, call, say

pytestmark = pytest.mark.anyio

TRIAL = Trial(Case("a"), 0, 7)


@tool(effect="pure")
def read(page: int | str) -> str:
    """Read a page.

    Args:
        page: Which.
    """
    return f"page {page}: " + "word " * 200


async def asked(*off: Ablation) -> dict[str, Any]:
    """The request of an agent that is made by a subject without some parts."""
    turn = Turn(text="Go.", tools=Toolset([read]))
    with FaultServer(then=say("Done.")) as server:
        server.takes_grammar = True
        async with Subject(model=server.url, off=off).opened() as make:
            await make(TRIAL, 0, turn).run("Go.")
    request: dict[str, Any] = server.requests[-1]
    return request


async def test_a_grammar_is_sent_unless_it_is_switched_off() -> None:
    assert "structured_outputs" in await asked()
    assert "structured_outputs" not in await asked("grammar")


async def test_without_reasoning_the_template_is_told() -> None:
    assert (await asked("reasoning"))["chat_template_kwargs"]["enable_thinking"] is False


async def test_without_lowering_the_server_is_shown_the_schema_as_it_is() -> None:
    def shown(request: dict[str, Any]) -> Any:
        return request["tools"][0]["function"]["parameters"]["properties"]["page"]

    whole = read.definition.parameters["properties"]["page"]
    assert "anyOf" in whole
    assert shown(await asked("lowering")) == whole
    assert "anyOf" not in shown(await asked())


@pytest.mark.parametrize(("off", "compacted"), [((), True), (("compaction",), False)])
async def test_without_compaction_the_whole_conversation_is_sent(
    off: tuple[Ablation, ...], compacted: bool
) -> None:
    script = ScriptedModel([*(call("read", page=n) for n in range(12)), say("Read.")])
    model = model_without(script, off)
    agent = Agent(model, tools=[read], context=Context(compact_at=1_000), observers=())
    events = [event async for event in agent.stream("Read the book.")]
    assert any(isinstance(event, ContextCompacted) for event in events) == compacted
    sent = str(script.requests[-1].messages)
    assert all(f"page {n}: word" in sent for n in range(12)) == (not compacted)


async def test_without_recovery_a_wrong_call_is_the_answer() -> None:
    wrong = "call:read{page:1"
    turn = Turn(text="Go.", tools=Toolset([read]))
    cases: list[tuple[tuple[Ablation, ...], int]] = [((), 2), (("recovery",), 1)]
    for off, replies in cases:
        with FaultServer(then=say(wrong)) as server:
            async with Subject(model=server.url, off=off).opened() as make:
                result = await make(TRIAL, 0, turn).run("Go.")
        assert result.steps == 1
        assert len(server.requests) >= replies
        assert (result.stop_reason == "answer") == bool(off)


async def test_a_reference_has_no_parts() -> None:
    with pytest.raises(EvalError, match="nothing of it can be switched off"):
        await Subject(model="gold", off=("grammar",)).pinned()
