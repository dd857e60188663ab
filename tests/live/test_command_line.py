"""`agentkit run` and the example as a user starts them, against a real vLLM; and used wrongly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentkit.events import dump_event
from agentkit.serving.process import free_port
from agentkit.testing import FaultServer, damaged, say
from agentkit.trace import open_run
from tests.live.client import KEY, URL, guarded, live, replies_end, request
from tests.live.relay import relay

pytestmark = live

REPO = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from agentkit.cli import main; main()", "run"]
QUESTION = "Where is Agent defined?"
PATIENCE = 200.0
"""Seconds of one command; the server may share two busy cores with everything else."""


def environment(runs: Path, **variables: str) -> dict[str, str]:
    """The user's own, without what this session may have set for agentkit."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AGENTKIT_")}
    paths = os.pathsep.join(str(REPO / folder) for folder in (".", "tools"))
    own = {"PYTHONPATH": paths, "AGENTKIT_RUNS": str(runs), "AGENTKIT_API_KEY": KEY}
    return plain | own | variables


def agentkit_run(runs: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `agentkit run ...`."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(runs, **variables),
        cwd=REPO,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def events(runs: Path) -> list[dict[str, object]]:
    """The events of the newest run."""
    recording = open_run("last", runs).whole()
    return [json.loads(dump_event(timed.event)) for timed in recording.events]


def complaint(code: int, stderr: str) -> str:
    """The one sentence that a failed command says."""
    assert code not in (0, 130)
    (said,) = [line for line in stderr.splitlines() if line.startswith("agentkit: ")]
    return said


@replies_end
def test_a_question_is_asked_of_the_real_model_and_the_run_is_kept(tmp_path: Path) -> None:
    arguments = ("--project", str(REPO), "--model", URL, "--seed", "1", "--max-tokens", "400")
    code, out, err = agentkit_run(tmp_path, QUESTION, *arguments)
    lines = events(tmp_path)
    assert [lines[0]["event"], lines[-1]["event"]] == ["RunStarted", "RunFinished"]
    stop = lines[-1]["stop_reason"]
    assert code == (0 if stop == "answer" else 3), err
    assert out.strip() or stop != "answer"


@replies_end
def test_the_example_runs_over_this_repository(tmp_path: Path) -> None:
    example = "examples/project_assistant/main.py"
    done = subprocess.run(
        [sys.executable, example, "--model", URL, "--project", ".", QUESTION],
        env=environment(tmp_path),
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


# --- used wrongly ------------------------------------------------------------------------------


def test_a_server_that_is_down_is_named(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code, _, err = agentkit_run(tmp_path, QUESTION, "--model", url)
    assert f"no server answers at {url}" in complaint(code, err)


def test_a_wrong_model_name_is_answered_with_the_right_one(tmp_path: Path) -> None:
    served = request("GET", "/v1/models").json()["data"][0]["id"]
    code, _, err = agentkit_run(tmp_path, QUESTION, "--model", URL, "--model-name", "gemma9")
    said = complaint(code, err)
    assert "gemma9" in said
    assert served in said


@guarded
def test_a_wrong_key_is_said_without_showing_it(tmp_path: Path) -> None:
    key = "not-the-key-7f3a"
    code, _, err = agentkit_run(tmp_path, QUESTION, "--model", URL, AGENTKIT_API_KEY=key)
    assert "AGENTKIT_API_KEY" in complaint(code, err)
    assert key not in err
    assert all(
        key.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()
    )


def test_a_server_without_the_tool_parser_is_told_which_flags_it_needs(tmp_path: Path) -> None:
    with FaultServer(then=damaged(say("never said"), "no_tool_parser")) as server:
        code, _, err = agentkit_run(tmp_path, QUESTION, "--model", server.url)
    said = complaint(code, err)
    assert "--enable-auto-tool-choice --tool-call-parser gemma4" in said


def test_a_missing_project_directory_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    code, _, err = agentkit_run(tmp_path, QUESTION, "--project", str(missing), "--model", URL)
    assert str(missing) in complaint(code, err)


def test_no_model_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    code, _, err = agentkit_run(tmp_path, QUESTION)
    said = complaint(code, err)
    assert "--model" in said
    assert "AGENTKIT_BASE_URL" in said


@pytest.mark.skipif(sys.platform == "win32", reason="process groups and SIGINT are POSIX")
def test_ctrl_c_in_mid_reply_leaves_a_whole_run_file_and_nothing_running(tmp_path: Path) -> None:
    with relay(URL) as held:
        process = subprocess.Popen(
            [*COMMAND, QUESTION, "--model", held.url],
            env=environment(tmp_path),
            cwd=REPO,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # a group of its own, as a terminal gives a command
        )
        assert held.holding.wait(PATIENCE), "the reply never began"
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        assert held.gone.wait(10), "the connection to the server stayed open"
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "agentkit: stopped" in err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    lines = events(tmp_path)
    assert lines[0]["event"] == "RunStarted"
    assert lines[-1]["event"] == "RunFinished"
    assert lines[-1]["stop_reason"] == "cancelled"
