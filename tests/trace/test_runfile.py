from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, ModelConnectionError, RunFiles, VLLMModel, tool
from agentkit.events import Event, RunFinished, RunResult, RunStarted, TextDelta, ToolFinished
from agentkit.messages import ToolCall, ToolResult
from agentkit.testing import ScriptedModel, call, say
from agentkit.trace import runs_directory
from tests.servers import MODEL, fails, says, serving

KEY = "sk-very-secret"


@tool(effect="pure")
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def lines_of(file: Path) -> list[dict[str, Any]]:
    content = file.read_bytes()
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def files_in(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def write(files: RunFiles, run_id: str, *events: Event) -> None:
    """A whole run of these events."""
    for event in (RunStarted(run_id, "m", ()), *events, RunFinished(RunResult("", "answer", ()))):
        files(run_id, event)


def kinds_of(file: Path) -> list[str]:
    return [line["event"] for line in lines_of(file)]


# --- what is in it -----------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_run_leaves_a_line_for_each_event_but_no_deltas(tmp_path: Path) -> None:
    model = ScriptedModel([call("add", a=1, b=2), say("It is 3.", reasoning="Sum them.")])
    files = RunFiles(tmp_path)
    result = await Agent(model, tools=[add], observers=[files]).run("1 + 2?")
    assert kinds_of(files.path(result.run_id)) == [
        "RunStarted",
        "StepStarted",
        "ModelCalled",
        "StepFinished",
        "ToolStarted",
        "ToolFinished",
        "StepStarted",
        "ModelCalled",
        "StepFinished",
        "RunFinished",
    ]


@pytest.mark.anyio
async def test_the_conversation_can_be_read_back_from_the_lines(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    model = ScriptedModel([call("add", a=1, b=2), say("It is 3.")])
    result = await Agent(model, tools=[add], observers=[files]).run("1 + 2?")
    first, *rest = lines_of(files.path(result.run_id))
    assert first["messages"] == [{"content": "1 + 2?", "role": "user"}]
    finished = [line for line in rest if line["event"] == "StepFinished"]
    assert finished[0]["message"]["tool_calls"][0]["arguments"] == {"a": 1, "b": 2}
    assert [line["result"]["content"] for line in rest if line["event"] == "ToolFinished"] == ["3"]
    assert rest[-1]["output"] == "It is 3."
    assert rest[-1]["stop_reason"] == "answer"
    assert all(isinstance(line["time"], float) for line in rest)


@pytest.mark.anyio
async def test_a_run_whose_model_failed_ends_its_file_with_the_reason(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    agent = Agent(ScriptedModel([ModelConnectionError("gone")]), observers=[files])
    with pytest.raises(ModelConnectionError):
        await agent.run("hi", run_id="r")
    last = lines_of(files.path("r"))[-1]
    assert (last["event"], last["stop_reason"], last["explanation"]) == (
        "RunFinished",
        "error",
        "gone",
    )


@pytest.mark.anyio
async def test_runs_at_the_same_time_have_a_file_each(tmp_path: Path) -> None:
    agent = Agent(ScriptedModel([say("Hi.")] * 20), observers=[RunFiles(tmp_path)])
    results = await agent.run_many(["hi"] * 20)
    assert {file.stem for file in files_in(tmp_path)} == {result.run_id for result in results}
    for file in files_in(tmp_path):
        assert kinds_of(file)[-1] == "RunFinished"


@pytest.mark.anyio
async def test_the_key_and_the_password_of_the_address_are_in_no_run_file(tmp_path: Path) -> None:
    echoes = fails(400, {"error": {"message": f"bad key {KEY}", "code": 400}})
    with serving(echoes) as server:
        url = server.url.replace("http://", "http://user:pass-word@")
        model = VLLMModel(url, api_key=KEY, headers={"x-token": KEY})
        agent = Agent(model, observers=[RunFiles(tmp_path)])
        (result,) = await agent.run_many(["hi"])
        await agent.aclose()
    (file,) = files_in(tmp_path)
    assert result.stop_reason == "error"
    assert kinds_of(file)[-1] == "RunFinished"
    text = file.read_text()
    assert KEY not in text
    assert "pass-word" not in text
    assert "bad key [the key]" in text


def test_text_that_no_json_can_hold_is_written_with_a_question_mark(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    odd = ToolCall("call_0", "f", {"n": float("nan"), "o": {1, 2}, "p": Path("x")})
    half = ToolResult("call_0", "half \udcff and whole 😀")
    write(files, "r", ToolFinished(odd, half, 1))
    finished = lines_of(files.path("r"))[1]
    assert finished["result"]["content"] == "half ? and whole 😀"
    assert finished["call"]["arguments"]["p"] == "x"


# --- where it is -------------------------------------------------------------------------------


def test_the_directory_is_what_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_RUNS", "/somewhere")
    assert runs_directory() == Path("/somewhere")
    monkeypatch.setenv("AGENTKIT_RUNS", "off")
    assert runs_directory() is None


def test_by_default_it_is_the_users_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTKIT_RUNS")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert runs_directory() == Path("/state/agentkit/runs")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert runs_directory() == Path("/home/ada/.local/state/agentkit/runs")


@pytest.mark.anyio
async def test_without_observers_given_each_run_leaves_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_RUNS", str(tmp_path / "deep" / "runs"))
    result = await Agent(ScriptedModel([say("Hi.")])).run("hi")
    assert (tmp_path / "deep" / "runs" / f"{result.run_id}.jsonl").is_file()


def test_others_cannot_list_the_runs(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "runs")
    write(files, "r")
    assert (tmp_path / "runs").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("run_id", ["../../evil", "a/b", "..", "/etc/x", "a\0b", "invoice 7/ä"])
def test_no_run_id_leads_out_of_the_directory(tmp_path: Path, run_id: str) -> None:
    files = RunFiles(tmp_path / "runs")
    write(files, run_id)
    assert [file.parent for file in tmp_path.rglob("*.jsonl")] == [tmp_path / "runs"]
    assert kinds_of(files.path(run_id)) == ["RunStarted", "RunFinished"]


# --- disks and kills ---------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("trouble", ["a file in the way", "a full disk", "a name too long"])
async def test_a_disk_that_refuses_does_not_stop_the_run_and_is_said_once(
    tmp_path: Path, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    directory, run_id = tmp_path / "runs", "r"
    if trouble == "a file in the way":
        directory.write_text("")
    elif trouble == "a full disk":
        directory.mkdir()
        (directory / "r.jsonl").symlink_to("/dev/full")
    else:
        run_id = "r" * 300
    agent = Agent(
        ScriptedModel([call("add", a=1, b=2), say("3")]),
        tools=[add],
        observers=[RunFiles(directory)],
    )
    with caplog.at_level(logging.WARNING, logger="agentkit"):
        result = await agent.run("1 + 2?", run_id=run_id)
    assert result.output == "3"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "run file not written" in caplog.text


def test_events_of_a_run_that_never_began_here_are_left_out(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    files("r", RunFinished(RunResult("", "answer", ())))
    files("r", TextDelta("x"))
    assert list(tmp_path.iterdir()) == []


_KILLED = """
import sys, anyio
from pathlib import Path
from agentkit import Agent, RunFiles, tool
from agentkit.testing import ScriptedModel, call, calls

@tool(effect="pure")
async def wait() -> str:
    "Wait."
    print("waiting", flush=True)
    await anyio.sleep_forever()
    return ""

@tool(effect="pure")
def add(a: int, b: int) -> int:
    "Add."
    return a + b

model = ScriptedModel([call("add", a=1, b=2), call("wait")])
agent = Agent(model, tools=[add, wait], observers=[RunFiles(Path(sys.argv[1]))])
agent.run_sync("go", run_id="r")
"""


@pytest.mark.slow
def test_the_file_is_complete_up_to_the_moment_of_a_kill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert kinds_of(tmp_path / "r.jsonl") == [
        "RunStarted",
        "StepStarted",
        "ModelCalled",
        "StepFinished",
        "ToolStarted",
        "ToolFinished",
        "StepStarted",
        "ModelCalled",
        "StepFinished",
        "ToolStarted",
    ]


@pytest.mark.anyio
async def test_the_model_of_a_run_is_named(tmp_path: Path) -> None:
    with serving(says("Hi.")) as server:
        agent = Agent(VLLMModel(server.url, MODEL), observers=[RunFiles(tmp_path)])
        await agent.run("hi", run_id="r")
        await agent.aclose()
    assert lines_of(tmp_path / "r.jsonl")[0]["model"] == MODEL
