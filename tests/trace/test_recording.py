from __future__ import annotations

from pathlib import Path

import pytest

from agentkit import Agent, RunFiles, ToolContext, tool
from agentkit.messages import AssistantMessage
from agentkit.policy import Approve, Policy
from agentkit.testing import Reply, ScriptedModel, call, calls, say
from agentkit.trace import TraceError, parts_of, read_events
from tests.pausing import pause_of

pytestmark = pytest.mark.anyio


@tool(effect="pure")
async def add(context: ToolContext[None], a: int, b: int) -> int:
    """Add two numbers."""
    context.report("adding")
    return a + b


@tool(labels={"writes"})
async def save() -> str:
    """Save."""
    return "saved"


async def record(directory: Path, *script: Reply, run_id: str = "r") -> Path:
    files = RunFiles(directory)
    agent = Agent(ScriptedModel(script), tools=[add, save], observers=[files])
    await agent.run("go", run_id=run_id)
    return files.path(run_id)


# --- as steps ----------------------------------------------------------------------------------


async def test_a_run_is_told_as_steps_with_their_calls(tmp_path: Path) -> None:
    file = await record(
        tmp_path,
        calls(("Add", {"a": 1, "b": 2}), ("nope", {})),
        say("It is 3.", reasoning="Sum."),
    )
    (part,) = parts_of(read_events(file))
    first, second = part.steps
    assert [ran.call.name for ran in first.ran.values()] == ["add", "nope"]
    added, refused = first.ran.values()
    assert added.started is not None
    assert added.finished is not None
    assert added.started <= added.finished
    assert (added.progress, [repair.was for repair in added.repairs]) == (["adding"], ["Add"])
    assert (added.failed, refused.failed, refused.started) == (False, True, None)
    assert first.failed
    assert not second.failed
    assert len(second.asked[0].request.messages) == 4
    assert second.finished is not None
    assert second.finished.message == AssistantMessage("It is 3.", reasoning="Sum.")
    assert part.usage.input_tokens == 20
    assert part.result is not None
    assert part.result.output == "It is 3."
    assert part.began <= first.began <= first.ended <= second.began <= part.ended


async def test_a_pause_and_what_came_after_are_two_parts(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    policy = Policy.ask("writes")
    model = ScriptedModel([call("save"), say("Done.")])
    agent = Agent(model, tools=[save], observers=[files], policy=policy)
    paused = await agent.run("go", run_id="r")
    await agent.resume(pause_of(paused), {pause_of(paused).waiting[0].id: Approve()})
    before, after = parts_of(read_events(files.path("r")))
    (waiting,) = before.steps[0].ran.values()
    assert waiting.asked is not None
    assert waiting.end is None
    saved, answered = after.steps
    assert [ran.call.name for ran in saved.ran.values()] == ["save"]
    assert answered.finished is not None
    assert after.result is not None
    assert after.result.stop_reason == "answer"


# --- reading -----------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_line_that_a_kill_cut_is_left_out(tmp_path: Path) -> None:
    file = await record(tmp_path, call("add", a=1, b=2), say("3"))
    whole = file.read_bytes()
    events = read_events(file)
    lines = whole.count(b"\n")
    for length in range(whole.index(b"\n") + 1, len(whole), 37):
        file.write_bytes(whole[:length])
        got = read_events(file)
        assert got == events[: whole[:length].count(b"\n")]
    assert len(events) == lines
    file.write_bytes(whole[:20])
    with pytest.raises(TraceError, match="its one line is cut"):
        read_events(file)


async def test_a_run_that_goes_on_after_a_kill_mends_the_cut_line(tmp_path: Path) -> None:
    file = await record(tmp_path, say("Hi."))
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    await record(tmp_path, say("Hi again."))
    first, second = parts_of(read_events(file))
    assert first.result is None
    assert second.result is not None
    assert second.result.output == "Hi again."


@pytest.mark.parametrize("line", ["{}", "no json", '{"event":"Other"}', '{"event":"StepStarted"}'])
async def test_a_line_that_is_no_event_is_named(tmp_path: Path, line: str) -> None:
    file = await record(tmp_path, say("Hi."))
    file.write_bytes(file.read_bytes() + line.encode() + b"\n")
    with pytest.raises(TraceError, match="line 6 is no event of a run"):
        read_events(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"gone\.jsonl cannot be read: No such file"):
        read_events(tmp_path / "gone.jsonl")
