from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agentkit.cli.app import app
from tests.servers import (
    MODEL,
    asks,
    call_chunks,
    chunk,
    cuts,
    fails,
    says,
    serving,
    stalls,
    streamed,
)

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]
KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def _plain_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGENTKIT_BASE_URL", "AGENTKIT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AGENTKIT_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "shop.py").write_text("class Shop: ...\n")
    return folder


def agentkit(*arguments: object) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def recorded(tmp_path: Path) -> list[dict[str, Any]]:
    """The events of the newest run, as it is exported."""
    exported = agentkit("runs", "export", "last", "--output", tmp_path / "exported.jsonl")
    assert exported.exit_code == 0, exported.stderr
    assert list((tmp_path / "runs").glob("*.jsonl")) == [], "a run is kept once"
    content = (tmp_path / "exported.jsonl").read_bytes()
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def complaint(result: Result) -> str:
    """The one line that a failed command has to say, beside where the run is."""
    assert isinstance(result.exception, SystemExit | None), "no traceback"
    beside = ("look at it with: ", "go on with: ", "run file: ")
    (said,) = [line for line in result.stderr.splitlines() if not line.startswith(beside)]
    assert said.startswith("agentkit: ")
    return said


# --- used rightly ------------------------------------------------------------------------------


def test_the_answer_goes_to_standard_output_and_all_else_to_standard_error(
    project: Path, tmp_path: Path
) -> None:
    with serving(asks("find_definition", name="Shop"), says("In shop.py.")) as server:
        result = agentkit("run", "Where is Shop?", "--project", project, "--model", server.url)
    assert result.exit_code == 0
    assert result.stdout == "In shop.py.\n"
    assert "→ find_definition(name='Shop')" in result.stderr
    assert "shop.py:1: class Shop: ..." in result.stderr
    assert [line["event"] for line in recorded(tmp_path)][-1] == "RunFinished"
    assert "look at it with: agentkit runs show " in result.stderr


def test_the_options_reach_the_server(project: Path) -> None:
    with serving(says("Yes.")) as server:
        options = ["--temperature", 0, "--seed", 7, "--max-tokens", 99, "--thinking"]
        result = agentkit("run", "?", "-p", project, "-m", server.url, *options)
    assert result.exit_code == 0
    body = server.requests[0].body
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.0, 7, 99)
    assert body["chat_template_kwargs"]["enable_thinking"] is True
    assert {tool["function"]["name"] for tool in body["tools"]} >= {"list_files", "read_file"}


def test_address_and_key_come_from_the_environment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(says("Yes."), key=KEY) as server:
        monkeypatch.setenv("AGENTKIT_BASE_URL", server.url)
        monkeypatch.setenv("AGENTKIT_API_KEY", KEY)
        result = agentkit("run", "?", "-p", project)
    assert result.exit_code == 0
    assert KEY not in result.output


def test_a_path_outside_the_project_is_refused_and_the_run_goes_on(
    project: Path, tmp_path: Path
) -> None:
    with serving(asks("read_file", path="/etc/passwd"), says("I may not.")) as server:
        result = agentkit("run", "Read /etc/passwd", "-p", project, "-m", server.url)
    assert result.exit_code == 0
    assert "outside the project" in result.stderr
    assert "root:" not in result.output
    (refused,) = [line for line in recorded(tmp_path) if line["event"] == "ToolFinished"]
    assert refused["result"]["is_error"]


def test_a_stream_that_is_cut_says_that_what_was_shown_is_void(project: Path) -> None:
    with serving(cuts(chunk({"content": "Half an"})), says("Whole.")) as server:
        result = agentkit("run", "?", "-p", project, "-m", server.url)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "Whole."
    assert "what was shown of this step is void" in result.stderr


def test_control_characters_of_a_model_do_not_reach_the_terminal(project: Path) -> None:
    with serving(says("red \x1b[31m bell \x07 done")) as server:
        result = agentkit("run", "?", "-p", project, "-m", server.url)
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout
    assert "done" in result.stdout


def test_square_brackets_of_a_model_are_text_and_no_markup(project: Path) -> None:
    with serving(says("[bold]x[/bold] [/nonsense]")) as server:
        result = agentkit("run", "?", "-p", project, "-m", server.url)
    assert result.stdout == "[bold]x[/bold] [/nonsense]\n"


# --- ended without an answer -------------------------------------------------------------------


def test_the_step_limit_ends_with_its_own_code(project: Path) -> None:
    endless = [asks("search_text", text=str(number)) for number in range(9)]
    with serving(*endless) as server:
        result = agentkit("run", "?", "-p", project, "-m", server.url, "--max-steps", 2)
    assert result.exit_code == 3
    assert "no answer: stopped after 2 steps" in result.stderr


def test_a_cut_answer_ends_with_its_own_code(project: Path) -> None:
    half = streamed([chunk({"content": "Half"}), chunk({}, "length")])
    with serving(half) as server:
        result = agentkit("run", "?", "-p", project, "-m", server.url)
    assert result.exit_code == 3
    assert "agentkit: no answer" in result.stderr


# --- used wrongly ------------------------------------------------------------------------------


def test_no_model_given_says_how_to_give_one(project: Path) -> None:
    result = agentkit("run", "?", "--project", project)
    assert result.exit_code == 2
    assert "no model given" in complaint(result)
    assert "AGENTKIT_BASE_URL" in complaint(result)


@pytest.mark.parametrize("question", ["", " \n\t"])
def test_an_empty_question_is_refused_and_nobody_is_asked(project: Path, question: str) -> None:
    with serving(says("Yes.")) as server:
        result = agentkit("run", question, "-p", project, "-m", server.url)
    assert result.exit_code == 2
    assert complaint(result) == "agentkit: the question is empty; say what to find out or do"
    assert server.requests == []


def test_a_variable_that_holds_no_address_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_BASE_URL", "localhost:8000")
    result = agentkit("run", "?", "--project", project)
    assert result.exit_code == 2
    assert "AGENTKIT_BASE_URL=localhost:8000: not an address" in complaint(result)


@pytest.mark.parametrize("address", ["localhost:8000", "http://[::1", "http://h:99999/v1", "gemma"])
def test_an_address_that_is_none_says_how_it_should_look(project: Path, address: str) -> None:
    result = agentkit("run", "?", "-p", project, "-m", address)
    assert result.exit_code in (1, 2)
    assert "http://localhost:8000/v1" in complaint(result)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    result = agentkit("run", "?", "-p", tmp_path / "nowhere", "-m", "http://127.0.0.1:1/v1")
    assert result.exit_code == 2
    assert str(tmp_path / "nowhere") in complaint(result)


def test_a_server_that_is_down_is_named(project: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        result = agentkit("run", "?", "-p", project, "-m", url)
    assert result.exit_code == 1
    assert f"no server answers at {url}" in complaint(result)
    assert recorded(tmp_path)[-1]["stop_reason"] == "error"


def test_a_wrong_model_name_lists_the_right_ones(project: Path) -> None:
    refusal = {"error": {"message": "The model `gemma9` does not exist."}}
    with serving(fails(404, refusal)) as server:
        result = agentkit("run", "?", "-p", project, "-m", server.url, "--model-name", "gemma9")
    assert result.exit_code == 1
    assert f"no model 'gemma9'; it serves: {MODEL}" in complaint(result)


def test_a_wrong_key_says_where_to_set_it_and_is_not_shown(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_API_KEY", KEY)
    with serving(says("Yes."), key="sk-right") as server:
        result = agentkit("run", "?", "-p", project, "-m", server.url)
    assert result.exit_code == 1
    assert "AGENTKIT_API_KEY" in complaint(result)
    assert KEY not in result.output
    assert KEY not in json.dumps(recorded(tmp_path))


def test_a_server_without_parsers_is_told_its_flags(project: Path) -> None:
    words = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    with serving(fails(400, {"error": {"message": words, "code": 400}})) as server:
        result = agentkit("run", "?", "-p", project, "-m", server.url)
    assert result.exit_code == 1
    assert "--enable-auto-tool-choice --tool-call-parser gemma4" in complaint(result)


# --- as a process ------------------------------------------------------------------------------


def process_of(*arguments: str, runs: Path) -> subprocess.Popen[str]:
    environment = {name: v for name, v in os.environ.items() if not name.startswith("AGENTKIT_")}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "tools")]),
        "AGENTKIT_RUNS": str(runs),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "agentkit", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("moment", ["in mid reply", "before the reply"])
def test_ctrl_c_ends_the_run_with_one_line_and_a_whole_run_file(
    project: Path, tmp_path: Path, moment: str
) -> None:
    shown = [chunk({"content": "Half an answer"})] if moment == "in mid reply" else []
    look = streamed(call_chunks(("find_definition", {"name": "Shop"})))
    with serving(look, stalls(*shown)) as server:
        arguments = ("run", "Where is Shop?", "-p", str(project), "-m", server.url)
        with process_of(*arguments, runs=tmp_path / "runs") as process:
            assert server.stalled.wait(30)
            if shown:
                assert process.stdout is not None
                assert process.stdout.read(4) == "Half"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        assert server.left.wait(10), "the server was told"
    assert process.returncode == 130
    assert "agentkit: stopped" in err.splitlines()
    assert "Traceback" not in err
    lines = recorded(tmp_path)
    assert [line["event"] for line in lines][-1] == "RunFinished"
    assert lines[-1]["stop_reason"] == "cancelled"
    assert "ToolFinished" in {line["event"] for line in lines}


def test_a_reader_that_goes_away_ends_the_command_without_a_traceback(
    project: Path, tmp_path: Path
) -> None:
    with serving(says("word " * 20_000)) as server:
        arguments = ("run", "?", "-p", str(project), "-m", server.url)
        with process_of(*arguments, runs=tmp_path / "runs") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(4) == "word"
            process.stdout.close()
            err = process.stderr.read()
    assert "Traceback" not in err
    assert process.returncode != 0


def test_a_run_file_that_could_not_be_written_is_not_named(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("AGENTKIT_RUNS", str(tmp_path / "a-file"))
    with serving(says("Yes.")) as server:
        result = agentkit("run", "?", "-p", project, "-m", server.url)
    assert (result.exit_code, result.stdout) == (0, "Yes.\n")
    assert "run file: " not in result.stderr


# --- what it may do ----------------------------------------------------------------------------


def offered(body: dict[str, Any]) -> set[str]:
    return {tool["function"]["name"] for tool in body["tools"]}


def test_by_default_nothing_that_writes_or_executes_is_offered(project: Path) -> None:
    with serving(says("Yes.")) as server:
        agentkit("run", "?", "-p", project, "-m", server.url)
    own = {"recall", "read_result", "search_result"}  # of the conversation itself
    assert offered(server.requests[0].body) - own == {
        "find_definition",
        "search_text",
        "list_files",
        "read_file",
    }


@pytest.mark.parametrize(("typed", "written"), [("y\n", True), ("n not now\n", False), ("", False)])
def test_with_ask_a_person_decides_on_each_call_that_writes(
    project: Path, typed: str, written: bool
) -> None:
    with serving(asks("write_file", path="new.txt", content="tea"), says("Done.")) as server:
        arguments = ["run", "Write it", "-p", str(project), "-m", server.url, "--allow", "ask"]
        result = CliRunner().invoke(app, arguments, input=typed)
    assert result.exit_code == 0, result.output
    asked = "? write_file\n  │ new.txt\n  │ @@ -1,0 +1,1 @@\n  │ +tea\n  path: as above\n"
    assert f"{asked}  content:\n  │ tea\n" in result.stderr
    assert (project / "new.txt").exists() is written
    assert "run_command" in offered(server.requests[0].body)


def test_with_full_nobody_is_asked(project: Path) -> None:
    with serving(asks("run_command", command="echo tea > new.txt"), says("Done.")) as server:
        result = agentkit("run", "?", "-p", project, "-m", server.url, "--allow", "full")
    assert result.exit_code == 0, result.output
    assert (project / "new.txt").read_text() == "tea\n"


def test_the_demonstration_model_only_reads(project: Path) -> None:
    result = agentkit("run", "?", "-p", project, "-m", "tiny", "--allow", "full")
    assert result.exit_code == 2
    assert "--model tiny only reads" in complaint(result)
