from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from agentkit import (
    Agent,
    Cancellation,
    Event,
    ModelConnectionError,
    RunContext,
    SQLiteJournal,
    StepFinished,
    ToolContext,
    tool,
)
from agentkit.agent import BatchProgress
from agentkit.agent.run import Detached
from agentkit.messages import ImagePart, ModelRequest, UserMessage, text_of
from agentkit.testing import Reply, ScriptedModel, call, say
from tests.agent.batches import kill_and_resume

pytestmark = pytest.mark.anyio
colour = ContextVar("colour", default="none")


async def test_a_batch_fails_as_a_run_does_and_looks_at_its_inputs_before_it_begins() -> None:
    def instructions(_context: RunContext[None]) -> str:
        raise KeyError("no tenant")

    model = ScriptedModel([say("1"), say("2")])
    with pytest.raises(KeyError, match="no tenant"):
        await Agent(model, instructions=instructions, observers=()).run_many(["a", "b"])
    broken = (ImagePart("data:image/png;base64,AAAA"),)
    with pytest.raises(ValueError, match="part 1 of the message, an image, is of no known kind"):
        await Agent(model, observers=()).run_many(["a", broken])
    assert model.requests == []


async def test_it_runs_beside_its_starter_and_keeps_its_value() -> None:
    ended = anyio.Event()

    async def call() -> int:
        return 7

    running = Detached(call, ended.set)
    await ended.wait()
    assert running.result() == 7
    await running.end()


async def test_what_it_raised_is_raised_by_result_and_by_nothing_else() -> None:
    ended = anyio.Event()

    async def call() -> int:
        raise KeyError("x")

    running = Detached(call, ended.set)
    await ended.wait()
    await running.end()
    with pytest.raises(KeyError):
        running.result()


async def test_ending_it_cancels_it_and_waits_for_its_clean_up() -> None:
    steps: list[str] = []
    began = anyio.Event()

    async def call() -> None:
        try:
            began.set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                steps.append("cleaned up")

    running = Detached(call, lambda: steps.append("finished"))
    await began.wait()
    await running.end()
    assert steps == ["cleaned up", "finished"]


async def test_ending_it_before_it_began_is_fine() -> None:
    running = Detached(anyio.sleep_forever, lambda: None)
    await running.end()


async def test_ending_waits_even_when_the_one_who_ends_is_cancelled() -> None:
    cleaned = anyio.Event()

    async def call() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()
                cleaned.set()

    began = Detached(call, lambda: None)
    await anyio.lowlevel.checkpoint()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await began.end()
    assert cleaned.is_set()


async def test_it_sees_the_starters_context_and_leaves_it_alone() -> None:
    ended = anyio.Event()

    async def call() -> str:
        seen = colour.get()
        colour.set("changed inside")
        return seen

    colour.set("blue")
    running = Detached(call, ended.set)
    await ended.wait()
    assert running.result() == "blue"
    assert colour.get() == "blue"


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


async def test_a_run_for_code_that_is_not_async_can_be_cancelled_by_who_watches_it() -> None:
    cancellation = Cancellation()

    def watch(_run_id: str, event: Event) -> None:
        if isinstance(event, StepFinished):
            cancellation.cancel()

    @tool(effect="pure")
    def look() -> str:
        """Looks."""
        return "nothing"

    agent = Agent(ScriptedModel([call("look"), say("never")]), tools=[look], observers=[watch])
    result = await anyio.to_thread.run_sync(
        lambda: agent.run_sync("Look.", cancellation=cancellation)
    )
    assert result.stop_reason == "cancelled"
