"""A run that is cancelled, or fails, keeps what it had."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import (
    Agent,
    Cancellation,
    Limits,
    ModelConnectionError,
    NoAnswerError,
    RunFiles,
    RunFinished,
    SQLiteJournal,
    TextDelta,
    VLLMModel,
    tool,
)
from agentkit.events import (
    Event,
    ModelEvent,
    ReasoningDelta,
    ReplyInterrupted,
    RunResult,
    StepRestarted,
    ToolCallDelta,
)
from agentkit.messages import AssistantMessage, ModelRequest, ToolMessage
from agentkit.runtime import replay
from agentkit.testing import ScriptedModel, call, calls, say
from agentkit.trace import open_run, parts_of, requests_of
from tests.servers import asks, chunk, cuts, says, serving

pytestmark = pytest.mark.anyio


class Stops(ScriptedModel):
    """Says what it is to say, and then stops, or raises, in mid-reply."""

    def __init__(self, script: list[Any], last: list[ModelEvent], error: Exception | None) -> None:
        super().__init__(script)
        self._last, self._error = last, error
        self.stopped = anyio.Event()

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if len(self.requests) < len(self._script):
            async for event in super().generate(request):
                yield event
            return
        for event in self._last:
            yield event
        self.stopped.set()
        if self._error is not None:
            raise self._error
        await anyio.sleep_forever()


@tool
def look(where: str) -> str:
    """Looks."""
    return f"{where}: nothing"


SCRIPT = [calls(("look", {"where": "shelf"}))]
LAST: list[ModelEvent] = [
    TextDelta("void"),
    StepRestarted("the server stumbled", 2),
    ReasoningDelta("There is "),
    ReasoningDelta("nothing."),
    TextDelta("The shelf "),
    TextDelta("is"),
    ToolCallDelta(0, "look", '{"where": "dra'),
]


async def cancelled(journal: SQLiteJournal | None = None) -> tuple[RunResult, list[Event]]:
    """A run that is cancelled in mid-answer, in its second step."""
    model, cancellation = Stops(SCRIPT, LAST, None), Cancellation()
    seen: list[Event] = []
    agent = Agent(model, tools=[look], observers=[lambda _run, event: seen.append(event)])
    results: list[RunResult] = []

    async def run() -> None:
        results.append(
            await agent.run("go", cancellation=cancellation, journal=journal, run_id="r")
        )

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await model.stopped.wait()
        cancellation.cancel()
    return results[0], seen


def interrupted(events: list[Event]) -> ReplyInterrupted:
    (found,) = [event for event in events if isinstance(event, ReplyInterrupted)]
    return found


async def test_a_cancelled_run_keeps_its_text_its_finished_calls_and_its_usage() -> None:
    result, seen = await cancelled()
    assert (result.stop_reason, result.output) == ("cancelled", "The shelf is")
    assert result.usage.input_tokens == 10
    assert [m.content for m in result.messages if isinstance(m, ToolMessage)] == ["shelf: nothing"]
    kept = AssistantMessage("The shelf is", reasoning="There is nothing.")
    assert result.messages[-1] == kept
    cut = interrupted(seen)
    assert (cut.text, cut.reasoning, cut.step) == ("The shelf is", "There is nothing.", 2)
    assert cut.calls == (("look", '{"where": "dra'),)
    assert isinstance(seen[-1], RunFinished)


async def test_its_conversation_can_be_gone_on_with() -> None:
    result, _ = await cancelled()
    model = ScriptedModel([say("empty.")])
    await Agent(model, tools=[look], observers=()).run("Go on.", history=result.messages)
    assert [message.role for message in model.requests[0].messages][-3:] == [
        "tool",
        "assistant",
        "user",
    ]


async def test_the_journal_keeps_it_and_a_resumed_run_asks_again(tmp_path: Path) -> None:
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        await cancelled(journal)
        kept = open_run("r", journal=tmp_path / "runs.db")
        assert interrupted([each.event for each in kept.events]).text == "The shelf is"
        model = ScriptedModel([say("The shelf is empty.")])
        result = await Agent(model, tools=[look], observers=()).resume("r", journal=journal)
    assert result.output == "The shelf is empty."
    assert len(model.requests) == 1
    assert "The shelf is" not in str(model.requests[0].messages), "what was cut is not history"


@pytest.mark.parametrize("error", [ModelConnectionError("gone"), ValueError("a bug")])
async def test_a_run_that_fails_keeps_what_it_had(tmp_path: Path, error: Exception) -> None:
    files = RunFiles(tmp_path)
    agent = Agent(Stops(SCRIPT, LAST, error), tools=[look], observers=[files])
    with pytest.raises(type(error)):
        await agent.run("go", run_id="r")
    events = [each.event for each in open_run("r", tmp_path).events]
    assert interrupted(events).why == str(error)
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert (last.result.stop_reason, last.result.output) == ("error", "The shelf is")
    if isinstance(error, ModelConnectionError):
        assert error.result.output == "The shelf is"
        again = Agent(ScriptedModel([]), tools=[look], observers=())
        report = await replay(again, events)
        assert report.identical, str(report)


async def test_a_run_that_is_out_of_time_keeps_what_it_had() -> None:
    agent = Agent(Stops(SCRIPT, LAST, None), tools=[look], observers=())
    result = await agent.run("go", limits=Limits(seconds=0.5))
    assert (result.stop_reason, result.output) == ("seconds", "The shelf is")


async def test_a_typed_answer_that_was_cut_is_no_output() -> None:
    model, cancellation = Stops([], LAST, None), Cancellation()
    agent = Agent(model, output_type=int, observers=())

    async def cancel() -> None:
        await model.stopped.wait()
        cancellation.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(cancel)
        result = await agent.run("go", cancellation=cancellation)
        with pytest.raises(NoAnswerError, match="ended by 'cancelled'"):
            _ = result.output
        assert str(result.said) != "The shelf is"


# --- what goes over the wire -------------------------------------------------------------------


async def test_requests_and_replies_are_kept_as_they_went_over_the_wire(tmp_path: Path) -> None:
    long = "A long instruction. " * 40
    with serving(
        asks("look", where="shelf"), cuts(chunk({"content": "Half"})), says("Done.")
    ) as server:
        model = VLLMModel(server.url)
        files = RunFiles(tmp_path)
        agent = Agent(model, instructions=long, tools=[look], observers=[files])
        await agent.run("go", run_id="r")
        await model.aclose()
    bodies = [request.body for request in server.requests]
    (part,) = parts_of(open_run("r", tmp_path).events)
    sent = [each for step in part.steps for each in step.sent]
    assert len(sent) == len(bodies) == 3
    messages: list[Any] = []
    fields: dict[str, Any] = {}
    for told, body in zip(sent, bodies, strict=True):
        messages[told.same :] = told.messages
        fields = {k: v for k, v in fields.items() if k not in told.gone} | told.fields
        assert {"messages": messages, **fields} == body
    first, half, whole = [each.reply for step in part.steps for each in step.received]
    assert first["calls"] == [["look", '{"where": "shelf"}']]
    assert (half["text"], half["finish"]) == ("Half", None)
    assert (whole["text"], whole["finish"]) == ("Done.", "stop")
    assert (tmp_path / "r.jsonl").read_text().count("A long instruction. " * 40) == 1
    asked = [
        request for request, _ in requests_of(each.event for each in open_run("r", tmp_path).events)
    ]
    assert asked[-1].messages[0].content == long


async def test_versions_are_kept(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    await Agent(ScriptedModel([say("Hi.")]), observers=[files]).run("go", run_id="r")
    (part,) = parts_of(open_run("r", tmp_path).events)
    assert set(part.started.versions) == {"agentkit", "python", "platform"}


async def test_a_run_that_is_drained_ends_behind_its_step_and_can_be_gone_on_with(
    tmp_path: Path,
) -> None:
    cancellation = Cancellation()

    @tool
    def work() -> str:
        """Works, and is not stopped in the middle of it."""
        cancellation.drain()
        return "worked"

    model = ScriptedModel([call("work"), say("Done.")])
    agent = Agent(model, tools=[work], observers=())
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        drained = await agent.run("Go.", journal=journal, run_id="r", cancellation=cancellation)
        assert (drained.stop_reason, len(model.requests)) == ("cancelled", 1)
        assert str(drained.messages[-1].content) == "worked"
        assert (await agent.resume("r", journal=journal)).output == "Done."
