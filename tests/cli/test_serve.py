"""`agentkit serve`: the command on standard output, the server until Ctrl-C, exit codes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentkit.cli.app import app
from agentkit.serving.process import free_port

pytestmark = pytest.mark.slow

REPO = Path(__file__).parents[2]
MODEL = "google/gemma-4-E2B-it"
FAKE_VLLM = f"""#!{sys.executable}
import http.server, os, sys

class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

flags = sys.argv[1:]
print("key", os.environ.get("VLLM_API_KEY"), flush=True)
port = int(flags[flags.index("--port") + 1])
if "--die" in flags:
    sys.exit("out of memory")
server = http.server.HTTPServer(("127.0.0.1", port), Healthy)
if "--die-later" in flags:
    server.handle_request()
    sys.exit(3)
server.serve_forever()
"""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="a script as a program on the path")


def environment(folder: Path) -> Mapping[str, str]:
    """One in which `vllm` is a fake of a few lines."""
    program = folder / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(FAKE_VLLM)
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "AGENTKIT_CACHE": str(folder / "cache"),
        "PYTHONPATH": str(REPO),
        "AGENTKIT_API_KEY": "sesame",
    }


def serving(folder: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "agentkit", "serve", MODEL, "--port", str(free_port())]
    return subprocess.Popen(
        [*command, *flags],
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_dry_run_prints_the_command_and_says_what_was_never_tried() -> None:
    done = CliRunner().invoke(
        app, ["serve", MODEL, "--dry-run", "--window", "5000", "--", "--seed", "7"]
    )
    assert done.exit_code == 0
    assert f"vllm serve {MODEL}" in done.stdout
    assert "--max-model-len 5000" in done.stdout
    assert done.stdout.rstrip().endswith("--seed 7")
    assert "not verified by agentkit's tests: E2B on a GPU" in done.stderr


def test_a_compose_file_does_not_depend_on_the_variables_of_this_machine() -> None:
    done = CliRunner().invoke(
        app, ["serve", MODEL, "--print", "compose"], env={"DO_NOT_TRACK": "1"}
    )
    assert 'DO_NOT_TRACK: "1"' in done.stdout


def test_a_dry_run_of_the_demonstration_model_names_its_folder_and_installs_nothing(
    tmp_path: Path,
) -> None:
    done = CliRunner().invoke(
        app, ["serve", "tiny", "--dry-run"], env={"AGENTKIT_CACHE": str(tmp_path)}
    )
    assert done.exit_code == 0
    assert f"--model {REPO / 'agentkit' / 'models' / 'tiny'}" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["./nowhere"], "there is no ./nowhere: name the folder"),
        (["."], "holds no checkpoint: there is no config.json"),
        ([""], "there is no model given"),
        ([MODEL, "--port", "99999"], "--port"),
        ([MODEL, "--chat-template", "nowhere.jinja"], "nowhere.jinja"),
        (["tiny", "--print", "compose"], "a compose file is for GPUs"),
    ],
)
def test_what_vllm_would_stumble_over_later_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["serve", "--dry-run", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in " ".join(done.stderr.replace("│", " ").split())


def test_without_a_vllm_it_says_where_one_comes_from(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["serve", MODEL], env={"PATH": str(tmp_path)})
    assert done.exit_code == 2
    assert "pip install vllm==" in done.stderr


@linux_only
@pytest.mark.parametrize(
    ("host", "words"),
    [("127.0.0.1", "is taken: name another with --port"), ("192.0.2.1", "no server can listen at")],
)
def test_where_no_server_can_listen_is_said_before_one_is_started(
    tmp_path: Path, host: str, words: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        env = environment(tmp_path)
        done = CliRunner().invoke(app, ["serve", MODEL, "--host", host, "--port", port], env=env)
    assert done.exit_code == 2
    assert words in done.stderr
    assert not (tmp_path / "cache").exists()


@linux_only
def test_ctrl_c_stops_the_server_and_its_log_is_kept(tmp_path: Path) -> None:
    process = serving(tmp_path, "--no-doctor")
    assert process.stderr is not None
    for line in process.stderr:
        if "Ctrl-C stops it" in line:
            break
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "nothing of the server is left" in told
    (log,) = (tmp_path / "cache" / "logs").iterdir()
    assert "key sesame" in log.read_text()


@pytest.mark.slow
@linux_only
@pytest.mark.parametrize(
    ("flag", "told"),
    [("--die", "out of memory"), ("--die-later", "ended by itself with exit code 3")],
)
def test_a_server_that_ends_by_itself_is_an_error_that_quotes_its_log(
    tmp_path: Path, flag: str, told: str
) -> None:
    process = serving(tmp_path, "--no-doctor", "--", flag)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert told in said
