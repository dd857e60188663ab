from __future__ import annotations

import io
import os
import select
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentkit.errors import ServerNotReadyError
from agentkit.serving.process import (
    RunningServer,
    free_port,
    last_line,
    progress_line,
    running_server,
)

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
REPO = HERE.parents[1]

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="uses pidfd and /proc")


@contextmanager
def fake_server(tmp_path: Path) -> Generator[RunningServer]:
    port = free_port()
    command = [sys.executable, str(HERE / "fake_server.py"), str(port), str(tmp_path / "pids")]
    with running_server(
        command,
        url=f"http://127.0.0.1:{port}",
        log=tmp_path / "server.log",
        environment={},
        progress=lambda _: None,
        grace=0.3,
    ) as server:
        yield server


def pids_in(tmp_path: Path) -> list[int]:
    return [int(pid) for pid in (tmp_path / "pids").read_text().split()]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@linux_only
def test_leaving_the_block_ends_the_server_and_workers_that_ignore_sigterm(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server:
        pids = pids_in(tmp_path)
        assert alive(pids) == pids
    assert alive([*pids, server.pid]) == []


@linux_only
def test_an_exception_in_the_block_ends_the_server_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), fake_server(tmp_path):
        raise KeyboardInterrupt
    assert alive(pids_in(tmp_path)) == []


@linux_only
def test_ending_the_guard_ends_what_it_guards(tmp_path: Path) -> None:
    with fake_server(tmp_path) as server:
        guard = os.pidfd_open(server.pid)
        os.kill(server.pid, signal.SIGTERM)
        ended, _, _ = select.select([guard], [], [], 30)
        os.close(guard)
        assert ended
        assert alive(pids_in(tmp_path)) == []


@linux_only
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_when_its_owner_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    owner = subprocess.Popen(
        [sys.executable, str(HERE / "owner.py"), str(free_port()), str(tmp_path / "pids")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    with owner:
        assert owner.stdout is not None
        guard = os.pidfd_open(int(owner.stdout.readline()))
        owner.send_signal(number)
        assert owner.wait(30) != 0
    ended, _, _ = select.select([guard], [], [], 30)  # a pidfd is readable once its process ended
    os.close(guard)
    assert ended
    assert alive(pids_in(tmp_path)) == []


def test_a_server_that_ends_early_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(ServerNotReadyError, match=r"exit code 3 .* out of memory"),
        running_server(
            [sys.executable, "-c", "print('out of memory'); raise SystemExit(3)"],
            url=f"http://127.0.0.1:{free_port()}",
            log=tmp_path / "server.log",
            environment={},
            progress=lambda _: None,
        ),
    ):
        pytest.fail("it never answered")


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with (
        pytest.raises(ServerNotReadyError, match="did not answer"),
        running_server(
            [sys.executable, "-c", "import signal; signal.pause()"],
            url=f"http://127.0.0.1:{free_port()}",
            log=tmp_path / "server.log",
            environment={},
            progress=lambda _: None,
            deadline=0.5,
        ),
    ):
        pytest.fail("it never answered")


def test_a_crash_of_the_server_shows_in_the_guards_exit_code(tmp_path: Path) -> None:
    guard = REPO / "agentkit" / "executors" / "supervisor.py"
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    command = [sys.executable, "-I", str(guard), "command", "1", sys.executable, "-c", crash]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait(30) == 128 + signal.SIGKILL


# --- what is shown while a server starts -------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_last_line_of_a_log_skips_what_is_blank(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("first\nloading 10 %\rloading 20 %\r\n \n")
    assert last_line(log) == "loading 20 %"


def test_a_log_that_is_not_there_yet_has_no_last_line(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none") == ""


def test_the_last_line_of_a_long_log_is_found_without_reading_it_all(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * 100_000 + "\nthe end\n")
    assert last_line(log) == "the end"


def test_a_terminal_sees_one_line_rewritten_in_place() -> None:
    terminal = Terminal()
    show = progress_line("starting", terminal)
    show("loading weights")
    show("ready")
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().count("\rstarting: ") == 2
    assert "loading weights" in terminal.getvalue()


def test_a_log_file_is_not_flooded() -> None:
    out = io.StringIO()
    show = progress_line("starting", out)
    for _ in range(100):
        show("loading")
    assert out.getvalue() == ""
