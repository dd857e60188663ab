from __future__ import annotations

import codecs
import os
import resource
import sys
import time
from pathlib import Path

import anyio
import pytest
from agentkit_tools import Bounds, SandboxError, Shell
from agentkit_tools.commands import Output
from hypothesis import given
from hypothesis import strategies as st

from agentkit import Agent
from agentkit.messages import ToolCall
from agentkit.testing import ScriptedModel, call, say
from agentkit.toolset import ValidatedCall

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="commands run in a sandbox of Linux"
)


def answer(root: Path, command: str, *, bounds: Bounds | None = None, seconds: int = 20) -> str:
    """What a model reads of a command."""
    agent = Agent(
        ScriptedModel([call("run_command", command=command, seconds=seconds), say("done")]),
        toolsets=[Shell(root, bounds=bounds)],
        observers=(),
    )
    message = agent.run_sync("?").messages[-2]
    assert message.role == "tool"
    return str(message.content)


@pytest.mark.parametrize("bound", ["seconds", "memory", "processes", "output"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_bound_that_leaves_a_command_nothing_is_refused(bound: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"^{bound} is {value}; give a number above 0"):
        Bounds(**{bound: value})


def processes(mark: str) -> list[str]:
    """Command lines of running processes that hold a mark."""
    found: list[str] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
            except OSError:
                continue
            if mark in line:
                found.append(line)
    return found


def test_whoever_is_asked_about_a_command_reads_its_line(tmp_path: Path) -> None:
    checked = Shell(tmp_path).validate(ToolCall("1", "run_command", {"command": "rm -r out"}))
    assert isinstance(checked, ValidatedCall)
    assert checked.target == "rm -r out"


# --- results -----------------------------------------------------------------------------------


def test_a_command_runs_in_the_project_and_its_output_and_code_are_told(tmp_path: Path) -> None:
    text = answer(tmp_path, "pwd; echo on stderr >&2; exit 3")
    head, *lines = text.splitlines()
    assert head.startswith("exit code 3 (0.")
    assert lines == [str(tmp_path), "on stderr"]


def test_the_project_is_writable_and_the_python_of_the_agent_is_there(tmp_path: Path) -> None:
    text = answer(tmp_path, "python -c 'import pydantic; print(pydantic.__name__)' > made.txt")
    assert text.endswith("(no output)")
    assert (tmp_path / "made.txt").read_text() == "pydantic\n"


def test_colours_and_redrawn_lines_are_left_out(tmp_path: Path) -> None:
    text = answer(tmp_path, r"printf '\033[31mred\033[0m\r\n10%%\r100%%\n'")
    assert text.splitlines()[1:] == ["red", "100%"]


def test_a_long_output_is_kept_at_both_ends(tmp_path: Path) -> None:
    text = answer(tmp_path, "seq 100000", bounds=Bounds(output=600))
    lines = text.splitlines()
    assert lines[1:3] == ["1", "2"]
    assert lines[-1] == "100000"
    assert "bytes left out …]" in text
    assert len(text) < 800


def shown(output: bytes) -> str:
    """Output with each byte that is no UTF-8 as its number."""

    def number(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        wrong = error.object[error.start : error.end]
        return "".join(f"\\x{byte:02X}" for byte in wrong), error.end

    codecs.register_error("numbers", number)
    return output.decode("utf-8", "numbers")


@given(st.lists(st.binary(max_size=40)), st.integers(0, 60))
def test_an_output_is_its_beginning_and_its_end(pieces: list[bytes], most: int) -> None:
    output = Output(most)
    for piece in pieces:
        output.add(piece)
    whole = b"".join(pieces)
    if len(whole) <= most:
        assert output.text() == shown(whole)
    else:
        head, tail = whole[: most // 3], whole[len(whole) - (most - most // 3) :]
        note = f"\n[… {len(whole) - most:,} bytes left out …]\n"
        assert output.text() == shown(head) + note + shown(tail)


def test_a_name_that_is_no_utf8_is_printed_as_the_other_tools_take_it(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).touch()
    assert "caf\\xE9.txt" in answer(tmp_path, "ls")


@pytest.mark.parametrize("command", ["", "  ", "a\0b"])
def test_what_is_no_command_is_refused(tmp_path: Path, command: str) -> None:
    assert answer(tmp_path, command).startswith("Error: the command")


# --- ends --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_command_that_takes_too_long_is_stopped_with_all_that_it_started(tmp_path: Path) -> None:
    text = answer(tmp_path, "echo begun; setsid sleep 4321 & sleep 4321", seconds=1)
    assert text.startswith("stopped: it ran longer than 1 second (1.")
    assert text.endswith("begun")
    assert processes("sleep 4321") == []


def test_what_a_command_leaves_in_the_background_ends_with_it(tmp_path: Path) -> None:
    started = time.monotonic()
    assert answer(tmp_path, "(setsid sleep 4322 &) ; echo out").endswith("out")
    assert time.monotonic() - started < 15
    assert processes("sleep 4322") == []


@pytest.mark.slow
@pytest.mark.anyio
async def test_when_a_cancelled_call_is_over_no_process_is_left(tmp_path: Path) -> None:
    run = Shell(tmp_path).get("run_command")
    assert run is not None
    async with anyio.create_task_group() as group:
        group.start_soon(run.function, "touch begun; sleep 4323")
        while not (tmp_path / "begun").exists():  # noqa: ASYNC110 - another process makes it
            await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert processes("sleep 4323") == []


@pytest.mark.slow
@pytest.mark.anyio
async def test_commands_over_one_project_run_one_after_the_other(tmp_path: Path) -> None:
    run = Shell(tmp_path).get("run_command")
    other = Shell(tmp_path).get("run_command")  # as of another agent
    assert run is not None
    assert other is not None
    line = "test ! -e busy && touch busy && sleep 0.2 && rm busy"
    async with anyio.create_task_group() as group:
        for tool in (run, other, run):
            group.start_soon(tool.function, f"{line} || touch overlapped")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_fork_bomb_is_stopped(tmp_path: Path) -> None:
    text = answer(tmp_path, "bomb() { bomb | bomb & }; bomb; sleep 20", bounds=Bounds(processes=60))
    assert "processes" in text or "Resource temporarily unavailable" in text


def test_a_command_that_fills_the_disk_is_stopped(tmp_path: Path) -> None:
    small = Bounds(disk=4 << 20, file=2 << 20)
    text = answer(tmp_path, "for n in $(seq 99); do head -c 1M /dev/zero > f$n; done", bounds=small)
    assert text.startswith("stopped: the disk lost more than 4 MiB") or "exit code" in text
    assert "File size limit" in answer(tmp_path, "head -c 3M /dev/zero > big", bounds=small)


def test_memory_of_a_process_is_bounded(tmp_path: Path) -> None:
    bounds = Bounds(memory=200 << 20)
    assert "MemoryError" in answer(tmp_path, "python -c 'x = b\"x\" * (1 << 29)'", bounds=bounds)


# --- no sandbox --------------------------------------------------------------------------------


def pretender(folder: Path, body: str) -> Path:
    """A program that calls itself bubblewrap."""
    program = folder / "bwrap"
    folder.mkdir(parents=True)
    program.write_text(
        f"#!/bin/sh\nif [ $1 = --version ]; then echo bubblewrap 9.9; exit; fi\n{body}\n"
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def no_bwrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project where neither the system's program is found nor the wheel's."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "path", [])
    project = tmp_path / "project"
    project.mkdir()
    return project


def test_a_command_runs_where_more_than_1024_files_are_open(tmp_path: Path) -> None:
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < 1_300:
        pytest.skip("this process may not open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(least, 1_300), most))
    opened = [os.dup(0) for _ in range(1_030)]
    try:
        assert "exit code 0" in answer(tmp_path, "true")
    finally:
        for each in opened:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))


def test_more_closed_places_than_files_that_may_be_open_are_said_with_the_remedy(
    tmp_path: Path,
) -> None:
    for number in range(60):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "pyvenv.cfg").touch()
    assert "exit code 0" in answer(tmp_path, "true")
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/proc/self/fd")) + 80
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, most))
    try:
        said = answer(tmp_path, "true")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
    assert "61 places in the project are closed to commands" in said
    assert f"({few:,} files): raise the limit with `ulimit -n`" in said


def test_without_a_sandbox_nothing_runs_and_the_remedy_is_said(no_bwrap: Path) -> None:
    with pytest.raises(SandboxError, match="Install bubblewrap"):
        Shell(no_bwrap).check()
    text = answer(no_bwrap, "touch ran")
    assert "no command is run: there is no sandbox" in text
    assert "pip install" in text
    assert not (no_bwrap / "ran").exists()


def test_a_sandbox_that_does_not_work_counts_for_none(no_bwrap: Path) -> None:
    pretender(no_bwrap.parent / "bin", "echo 'No permissions to create new namespace' >&2; exit 1")
    with pytest.raises(SandboxError, match=r"No permissions.*user namespaces"):
        Shell(no_bwrap).check()


def test_a_program_that_only_passes_commands_on_is_found_out(no_bwrap: Path) -> None:
    body = 'while [ "$1" != -- ]; do shift; done; shift; PATH=/usr/bin:/bin; exec "$@"'
    pretender(no_bwrap.parent / "bin", body)
    with pytest.raises(SandboxError, match=r"bin/bwrap does not hold: not that"):
        Shell(no_bwrap).check()


def test_a_program_that_is_none_of_ours_to_trust_is_not_tried(no_bwrap: Path) -> None:
    program = pretender(no_bwrap.parent / "bin", "exit 1")
    program.chmod(0o777)
    with pytest.raises(SandboxError, match=r"no bwrap .* trusted .*written by everybody"):
        Shell(no_bwrap).check()
    program.chmod(0o755)
    program.write_text("#!/bin/sh\necho busybox\n")
    with pytest.raises(SandboxError, match=r"trusted .*bwrap --version says 'busybox'"):
        Shell(no_bwrap).check()


@pytest.mark.parametrize("through_a_link", [False, True])
def test_no_program_is_taken_from_the_project(
    no_bwrap: Path, monkeypatch: pytest.MonkeyPatch, through_a_link: bool
) -> None:
    program = pretender(no_bwrap / "tools", "touch ran")
    if through_a_link:
        outside = no_bwrap.parent / "bin"
        outside.mkdir()
        (outside / "bwrap").symlink_to(program)
    else:
        monkeypatch.setenv("PATH", str(program.parent))
    with pytest.raises(SandboxError, match=r"trusted .*tools/bwrap is where commands write"):
        Shell(no_bwrap).check()


def test_the_wheels_program_works_without_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    shell = Shell(tmp_path)
    shell.check()
    assert answer(tmp_path, "echo in").endswith("in")


def test_no_command_runs_over_a_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "people" / "ada"))
    for root in (tmp_path, Path("/")):
        with pytest.raises(SandboxError, match="home directory"):
            Shell(root).check()


def test_no_command_runs_over_a_folder_of_the_system() -> None:
    with pytest.raises(SandboxError, match="the system's /"):
        Shell("/usr").check()


def test_another_kind_of_sandbox_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in a sandbox or not at all"):
        Shell(tmp_path, sandbox="off")  # type: ignore[arg-type]  # what a caller might try
