"""Leases go by the clock that no one can set."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from agentkit import SQLiteJournal
from agentkit.errors import JournalError
from agentkit.journal import Lease, RunOpened
from agentkit.journal.leases import Owner, boot_id

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not boot_id(), reason="boots have no names here"),
]


async def kept_by(owner: Owner, file: Path) -> None:
    """Begins a run and makes it another's."""
    with SQLiteJournal(file) as journal:
        await journal.open("r", RunOpened(()))
    with closing(sqlite3.connect(file, isolation_level=None)) as editing:
        editing.execute("UPDATE runs SET owner = ?, lease_until = 1e9", (owner.to_json(),))


async def test_a_lease_is_measured_by_the_monotonic_clock(tmp_path: Path) -> None:
    with SQLiteJournal(tmp_path / "runs.db", lease=20.0) as journal:
        before = time.monotonic()
        await journal.open("r", RunOpened(()))
        with closing(sqlite3.connect(journal.path)) as reader:
            (until,) = reader.execute("SELECT lease_until FROM runs").fetchone()
    assert before + 20 <= until <= time.monotonic() + 20


async def test_an_owner_elsewhere_has_to_be_seen_not_to_stir(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    await kept_by(Owner("elsewhere", "another boot", "pid:[1]", 1, "1"), file)
    with SQLiteJournal(file, lease=0.3) as journal:
        with pytest.raises(JournalError, match="at work in process 1 on elsewhere"):
            await journal.claim("r")
        leases: list[Lease] = []
        with anyio.fail_after(10):
            while not leases:
                with suppress(JournalError):
                    leases.append(await journal.claim("r"))
                await anyio.sleep(0.05)
    assert leases[0].epoch == 2


async def test_an_owner_elsewhere_that_stirs_keeps_its_run(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    await kept_by(Owner("elsewhere", "another boot", "pid:[1]", 1, "1"), file)
    with SQLiteJournal(file, lease=0.2) as journal:
        for beat in range(5):
            with pytest.raises(JournalError, match="at work"):
                await journal.claim("r")
            with closing(sqlite3.connect(file, isolation_level=None)) as editing:
                editing.execute("UPDATE runs SET lease_until = ?", (2e9 + beat,))
            await anyio.sleep(0.1)


async def test_an_owner_died_when_its_machine_was_booted_anew(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    await kept_by(replace(Owner.this_process(), boot="the boot before"), file)
    with SQLiteJournal(file) as journal:
        assert (await journal.claim("r")).epoch == 2
