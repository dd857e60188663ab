from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import Agent, Cancellation, ModelConnectionError, SQLiteJournal, ToolContext, tool
from agentkit.agent import BatchProgress
from agentkit.messages import ModelRequest, UserMessage, text_of
from agentkit.testing import Reply, ScriptedModel, call, say
from tests.agent.batches import kill_and_resume


def question(request: ModelRequest) -> str:
    return next(text_of(m.content) for m in request.messages if isinstance(m, UserMessage))


def answer(request: ModelRequest) -> Reply:
    """The question again; `fail` has no server."""
    if question(request) == "fail":
        raise ModelConnectionError("the server is gone")
    return say(f"{question(request)}!")


@pytest.mark.anyio
async def test_each_run_can_have_deps_of_its_own() -> None:
    @tool(effect="pure")
    def who(context: ToolContext[Any]) -> str:
        """Tells the deps."""
        return str(context.deps)

    def step(request: ModelRequest) -> Reply:
        last = request.messages[-1]
        return call("who") if isinstance(last, UserMessage) else say(text_of(last.content or ""))

    agent = Agent(ScriptedModel([step] * 6), tools=[who], observers=())
    results = await agent.run_many(["a", "b", "c"], deps_each=[1, 2, 3])
    assert [result.output for result in results] == ["1", "2", "3"]
    with pytest.raises(ValueError, match="deps_each has 2 values for 3 inputs"):
        await agent.run_many(["a", "b", "c"], deps_each=[1, 2])


@pytest.mark.anyio
async def test_progress_is_told_as_each_run_ends() -> None:
    seen: list[BatchProgress[str]] = []
    agent = Agent(ScriptedModel([answer] * 3), observers=())
    results = await agent.run_many(["a", "fail", "c"], concurrency=1, on_progress=seen.append)
    assert [(p.position, p.done, p.total) for p in seen] == [(0, 1, 3), (1, 2, 3), (2, 3, 3)]
    assert [p.result for p in seen] == results
    assert [r.stop_reason for r in results] == ["answer", "error", "answer"]


@pytest.mark.anyio
async def test_a_cancelled_batch_keeps_what_is_done_and_begins_nothing_more() -> None:
    cancellation = Cancellation()

    @tool
    async def wait() -> str:
        """Waits."""
        cancellation.cancel()
        await anyio.sleep_forever()
        return "never"

    def step(request: ModelRequest) -> Reply:
        return call("wait") if question(request) == "b" else answer(request)

    model = ScriptedModel([step] * 9)
    agent = Agent(model, tools=[wait], observers=())
    results = await agent.run_many(["a", "b", "c", "d"], concurrency=1, cancellation=cancellation)
    assert [r.stop_reason for r in results] == ["answer", "cancelled", "cancelled", "cancelled"]
    assert results[0].output == "a!"
    assert results[1].messages, "what it had done"
    assert results[2].explanation == "the batch was cancelled before this run began"
    assert len(model.requests) == 2


@pytest.mark.anyio
async def test_a_batch_in_a_journal_goes_on_with_what_is_not_finished(tmp_path: Path) -> None:
    journal = SQLiteJournal(tmp_path / "journal.db")
    questions = ["a", "fail", "c"]
    first = ScriptedModel([answer] * 3)
    agent = Agent(first, observers=())
    before = await agent.run_many(questions, journal=journal, batch="b")
    assert [r.run_id for r in before] == ["b-000000", "b-000001", "b-000002"]
    assert before[1].stop_reason == "error"

    again = ScriptedModel([say("now")])
    after = await agent.override(model=again).run_many(questions, journal=journal, batch="b")
    assert [r.output for r in after] == ["a!", "now", "c!"]
    assert len(again.requests) == 1, "only the one without an answer is asked again"

    other = await agent.override(model=ScriptedModel([])).run_many(
        ["z", "fail", "c"], journal=journal, batch="b"
    )
    assert [r.stop_reason for r in other] == ["error", "answer", "answer"]
    assert "began with another input" in other[0].explanation
    with pytest.raises(ValueError, match="give journal= and batch= together"):
        await agent.run_many(questions, journal=journal)
    journal.close()


@pytest.mark.slow
def test_a_batch_that_is_killed_twice_answers_each_input_once() -> None:
    counts = kill_and_resume(12, seed=1)
    assert (counts["kills"], counts["inputs answered once"]) == (2, 12)
