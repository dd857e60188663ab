from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from agentkit_tools.doctor import examine_sandbox, start_notices
from agentkit_tools.tryout import PROMISES, kept_promises
from typer.testing import CliRunner

from agentkit.cli.app import app

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="commands run in a sandbox of Linux"
)
installed = pytest.mark.skipif(
    not entry_points(group="agentkit.examinations"),
    reason="this environment was installed before the entry point was there",
)


def verdicts(project: Path) -> dict[str, str]:
    return {found.probe: found.verdict for found in examine_sandbox(project)}


def test_every_promise_is_tried_and_holds_here(tmp_path: Path) -> None:
    found = verdicts(tmp_path)
    assert {promise.name: found[promise.name] for promise in PROMISES} == {
        promise.name: "pass" for promise in PROMISES
    }
    assert found["closed"] == "pass"


def test_a_program_that_does_not_start_keeps_no_promise(tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.write_bytes(b"no program")
    program.chmod(0o755)
    assert kept_promises(str(program)) == ({}, "it could not be started: Exec format error")


def test_what_commands_cannot_change_is_named(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (closed,) = [found for found in examine_sandbox(tmp_path) if found.probe == "closed"]
    assert closed.says == "read-only to commands: env (a virtual environment)"
    assert list(start_notices(tmp_path)) == [closed.says]


@pytest.mark.slow
def test_a_project_that_no_command_may_work_on_is_a_failure_with_its_reason() -> None:
    (failed,) = [found for found in examine_sandbox(Path("/usr")) if found.verdict == "fail"]
    assert "holds the system's /" in failed.says


def test_what_only_half_holds_is_a_warning_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path / 'missing'}:{os.environ['PATH']}")
    monkeypatch.syspath_prepend(str(tmp_path))
    warned = {found.probe: found for found in examine_sandbox(tmp_path) if found.verdict == "warn"}
    assert "commands could leave programs" in warned["PATH"].says
    assert "make no file right in the project's folder" in warned["closed"].says
    assert all(found.remedy for found in warned.values())


@installed
def test_the_command_line_examines_a_project_without_a_server(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "sandbox", "--project", str(tmp_path)])
    assert done.exit_code == 0
    assert "pass  network" in done.stdout


@installed
def test_the_command_line_says_when_there_is_no_such_project(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "sandbox", "--project", str(tmp_path / "no")])
    assert done.exit_code == 2
    assert "there is no directory" in done.stderr
