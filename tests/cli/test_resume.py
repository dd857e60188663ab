from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agentkit import Agent, SQLiteJournal
from agentkit.cli.app import app
from agentkit.testing import ScriptedModel, say
from tests.servers import asks, fails, says, serving, stalls

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _plain_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTKIT_BASE_URL", raising=False)
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


def killed_in_its_second_step(project: Path, tmp_path: Path, *more: str) -> None:
    with serving(asks("find_definition", name="Shop"), stalls()) as server:
        arguments = ["run", "Where is Shop?", "-p", str(project), "-m", server.url, *more]
        process = subprocess.Popen(
            [sys.executable, "-m", "agentkit", *arguments],
            cwd=REPO,
            env={**os.environ, "AGENTKIT_RUNS": str(tmp_path / "runs")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert server.stalled.wait(30)
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_killed_run_is_listed_told_and_goes_on(project: Path, tmp_path: Path) -> None:
    killed_in_its_second_step(project, tmp_path)
    listed = agentkit("runs", "list")
    (_, row) = listed.stdout.splitlines()
    assert row.split()[3:7] == ["died", "1", "1", "0"]
    assert row.endswith("Where is Shop?")
    told = agentkit("runs", "show", "last").stdout
    assert "→ find_definition(name=" in told
    assert "shop.py:1: class Shop: ..." in told
    with serving(says("In shop.py.")) as server:
        resumed = agentkit("runs", "resume", "last", "--model", server.url)
        assert [m["role"] for m in server.requests[0].body["messages"]] == [
            "system",
            "user",
            "assistant",
            "tool",
        ]
    assert (resumed.exit_code, resumed.stdout) == (0, "In shop.py.\n")
    assert "find_definition" not in resumed.stderr, "what was shown is not shown again"
    assert agentkit("runs", "list").stdout.splitlines()[1].split()[3] == "answer"
    again = agentkit("runs", "resume", "last", "--model", server.url)
    assert (again.exit_code, again.stdout) == (0, "In shop.py.\n"), "nobody is asked again"


def test_a_recorded_answer_cannot_drive_the_terminal(project: Path) -> None:
    with serving(says("\x1b]0;title\x07Yes.")) as server:
        agentkit("run", "?", "-p", project, "-m", server.url)
        again = agentkit("runs", "resume", "last")
    assert again.exit_code == 0
    assert again.stdout.endswith("Yes.\n")
    assert not any(c in again.stdout for c in "\x1b\x07")


def test_an_id_is_whole_in_a_narrow_terminal(project: Path) -> None:
    with serving(says("Yes.")) as server:
        agentkit("run", "?", "-p", project, "-m", server.url)
    (wide,) = agentkit("runs", "list").stdout.splitlines()[1:]
    narrow = CliRunner().invoke(app, ["runs", "list"], env={"COLUMNS": "40", "TTY_COMPATIBLE": "1"})
    assert wide.split()[0] in narrow.stdout


def test_the_options_of_the_run_are_kept(project: Path, tmp_path: Path) -> None:
    journal = tmp_path / "elsewhere.db"
    with serving(fails(400, {"error": {"message": "no"}})) as server:
        options = ["--temperature", 0, "--seed", 7, "--journal", journal]
        failed = agentkit("run", "?", "-p", project, "-m", server.url, *options)
        assert failed.exit_code == 1
        (hint,) = [line for line in failed.stderr.splitlines() if line.startswith("go on with: ")]
        said = hint.removeprefix("go on with: agentkit ").split()
    with serving(says("Yes.")) as server:
        resumed = agentkit(*said, "-m", server.url)
    assert (resumed.exit_code, resumed.stdout) == (0, "Yes.\n")
    body = server.requests[0].body
    assert (body["temperature"], body["seed"]) == (0.0, 7)
    assert not (tmp_path / "runs" / "journal.db").exists()


def test_a_limit_can_be_raised(project: Path) -> None:
    look = asks("find_definition", name="Shop")
    with serving(look, says("In shop.py.")) as server:
        arguments = ("-p", project, "-m", server.url, "--max-steps", 1)
        ended = agentkit("run", "Where is Shop?", *arguments)
        assert ended.exit_code == 3
        assert ended.stderr.splitlines()[-1].endswith(" --max-steps 2"), "the hint leads further"
        assert agentkit("runs", "resume", "last").exit_code == 3
        resumed = agentkit("runs", "resume", "last", "--max-steps", 5)
    assert (resumed.exit_code, resumed.stdout) == (0, "In shop.py.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("resume", "last"), "there is no journal"),
        (("runs", "list"), "there are no runs in"),
        (("runs", "list", "--journal", "gone.db"), "there is no journal gone.db"),
        (("resume", "no-such", "--journal", "kept.db"), "has no run no-such; agentkit runs list"),
        (("runs", "show", "no-such", "--journal", "kept.db"), "there is no run 'no-such'"),
        (("resume", "mine", "--journal", "kept.db"), "resume it from its own program"),
    ],
)
def test_what_cannot_be_resumed_is_said_with_the_remedy(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = SQLiteJournal("kept.db")
    agent = Agent(ScriptedModel([say("Yes.")]), observers=())
    agent.run_sync("?", journal=kept, run_id="mine")
    kept.close()
    result = agentkit(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_a_default_journal_that_cannot_be_written_does_not_stop_a_run(
    project: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "journal.db").write_text("something else entirely " * 100)
    with serving(says("Yes."), says("No.")) as server:
        result = agentkit("run", "?", "-p", project, "-m", server.url)
        named = agentkit(
            "run", "?", "-p", project, "-m", server.url, "--journal", tmp_path / "runs/journal.db"
        )
    assert (result.exit_code, result.stdout) == (0, "Yes.\n")
    assert "what is said here is not kept" in result.stderr
    assert (named.exit_code, named.stdout) == (1, "")
