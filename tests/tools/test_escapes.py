"""Attempts to get out of the sandbox, as root and as a plain user: none gets through."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from agentkit_tools.commands import run

from tests.tools.attempts import ATTEMPTS, HEAVY, UNHELD
from tests.tools.escaping import NOBODY, as_user, filled, try_at_once, try_heavy, world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="commands run in a sandbox of Linux"
    ),
]


def test_each_attempt_has_a_name_of_its_own() -> None:
    """What got through is told by name."""
    names = [attempt.name for attempt in (*ATTEMPTS, *HEAVY)]
    assert sorted(set(names)) == sorted(names)


def test_an_attempt_that_gets_through_is_seen(tmp_path: Path) -> None:
    """The signs are looked for where nothing holds anybody back."""
    with world(tmp_path) as there:
        assert there.got_through("") == []
        (there.outside / "precious").write_text("x")
        (there.project / ".git" / "config").write_text("x")
        (there.project / ".agentkit" / "policy").touch()
        (there.project / "planted").touch()
        (there.project / "planted").chmod(0o4755)
        script = "import socket; socket.create_connection(('127.0.0.1', {tcp}))"
        command = script.replace("{tcp}", there.names["tcp"])
        subprocess.run([sys.executable, "-c", command], check=True)
        there.victim.kill()
        there.victim.wait()
        signs = there.got_through(there.canary + there.names["token"])
    assert len(signs) == 8, signs


def test_no_attempt_gets_through(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        assert try_at_once(there, ATTEMPTS) == {}
        assert try_heavy(there) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_no_attempt_of_a_plain_user_gets_through() -> None:
    assert as_user(NOBODY) == {}


@pytest.mark.parametrize("name", sorted(UNHELD))
def test_without_the_sandbox_an_attempt_gets_through(tmp_path: Path, name: str) -> None:
    """So that nothing is held back by a mistake in the attempt."""
    (attempt,) = [attempt for attempt in ATTEMPTS if attempt.name == name]
    with world(tmp_path) as there:
        out = ""
        for command in attempt.commands:
            line = ["bash", "-c", filled(there, command)]
            done = subprocess.run(line, cwd=there.project, capture_output=True, check=False)
            out += done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
        if "end a process" in name:
            there.victim.wait()
        assert there.got_through(out), out


def test_a_link_in_a_protected_place_is_not_bound(tmp_path: Path) -> None:
    with world(tmp_path) as there:
        (there.project / ".agentkit").rmdir()
        (there.project / ".agentkit").symlink_to(there.outside)
        outcome = run(there.sandbox, "cat .agentkit/secret-*", 9)
    assert "No such file" in outcome.output
    assert there.canary not in outcome.output
