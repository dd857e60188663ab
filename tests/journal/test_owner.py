from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from agentkit.errors import JournalError
from agentkit.journal.leases import Owner, boot_id

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_a_living_process_is_not_dead() -> None:
    assert not Owner.this_process().is_dead


def test_a_process_that_is_gone_is_dead_and_so_is_one_that_only_waits_to_be_reaped() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()  # until it has closed everything
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    zombie = replace(Owner.this_process(), pid=child.pid)
    assert zombie.is_dead
    child.stdout.close()
    child.wait()
    assert zombie.is_dead


def test_another_process_of_the_same_number_is_not_taken_for_it() -> None:
    assert replace(Owner.this_process(), started="1").is_dead


@pytest.mark.parametrize("where", [{"boot": "another"}, {"namespace": "pid:[1]"}, {"boot": ""}])
def test_nothing_is_known_of_a_process_elsewhere(where: dict[str, str]) -> None:
    owner = Owner.this_process()
    elsewhere = replace(owner, pid=owner.pid + 1_000_000, **where)
    assert not elsewhere.is_dead


def test_an_owner_comes_back_from_its_text() -> None:
    owner = Owner.this_process()
    assert Owner.from_json(owner.to_json()) == owner
    assert owner.boot == boot_id() != ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"host": 1}', "null"])
def test_a_text_that_is_no_owner_is_refused(text: str) -> None:
    with pytest.raises(JournalError, match="not an owner of a run"):
        Owner.from_json(text)
