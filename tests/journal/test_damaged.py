"""A journal that was damaged, or forged, is refused or read; it never does anything else."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import anyio
import pytest

from agentkit import Agent, SQLiteJournal
from agentkit.errors import JournalError
from agentkit.testing import ScriptedModel, say
from agentkit.toolset import Tool, make_tool
from tests.journal.golden_runs import DIED, ENDED

REMEDY = "if the file is damaged, move it away with its -wal and -shm"
GOLDEN = sorted((Path(__file__).parent / "golden").glob("format-*.db"))[-1]


def tools(ran: list[int]) -> list[Tool[..., None]]:
    """The golden runs' tools, harmless."""

    def look(where: str) -> None:
        """Looks."""

    def pay(amount: int) -> None:
        """Pays."""
        ran.append(amount)

    return [make_tool(look), make_tool(pay)]


def look_at(file: Path) -> list[int]:
    """Lists the runs and resumes them, if the file lets it; what was paid.

    Raises:
        Exception: None but a `JournalError`, which is caught.
    """
    ran: list[int] = []

    async def main() -> None:
        journal = SQLiteJournal(file)
        try:
            await journal.runs()
            for run in (ENDED, DIED):
                model = ScriptedModel([say("Done.")] * 9)
                agent = Agent(model, tools=tools(ran), observers=())
                with suppress(JournalError):
                    await agent.resume(run, journal=journal)
        finally:
            journal.close()

    with suppress(JournalError):
        anyio.run(main)
    return ran


@pytest.mark.slow
def test_whatever_byte_is_damaged_the_errors_are_the_journals_own(tmp_path: Path) -> None:
    content = GOLDEN.read_bytes()
    for seed in range(25):
        rng = random.Random(seed)
        damaged = bytearray(content)
        for _ in range(rng.choice((1, 20))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        file = tmp_path / f"{seed}.db"
        file.write_bytes(damaged[: rng.choice((len(damaged), rng.randrange(len(damaged))))])
        look_at(file)


@pytest.mark.slow
def test_whatever_entry_is_damaged_the_errors_are_the_journals_own(tmp_path: Path) -> None:
    for seed in range(25):
        rng = random.Random(seed)
        file = Path(shutil.copy(GOLDEN, tmp_path / f"{seed}.db"))
        with closing(sqlite3.connect(file, isolation_level=None)) as editing:
            rows = editing.execute("SELECT rowid, body FROM events").fetchall()
            number, body = rng.choice(rows)
            at = rng.randrange(len(body))
            text = body[:at] + rng.choice(("", '"', "0", "}", "null", "\ufffd")) + body[at + 3 :]
            if rng.random() < 0.3:
                editing.execute("DELETE FROM events WHERE rowid = ?", (number,))
            else:
                editing.execute("UPDATE events SET body = ? WHERE rowid = ?", (text, number))
        look_at(file)


COLUMNS = {
    "runs": ("run_id", "epoch", "owner", "lease_until", "created", "observed", "witnessed"),
    "events": ("run_id", "seq", "epoch", "at", "kind", "body", "digest", "hidden"),
}


@pytest.mark.slow
@pytest.mark.parametrize("table", COLUMNS)
def test_a_column_may_hold_a_value_of_any_type(tmp_path: Path, table: str) -> None:
    for number, column in enumerate(COLUMNS[table]):
        for kind, value in enumerate((None, b"\xff\0", "text")):
            file = Path(shutil.copy(GOLDEN, tmp_path / f"{number}-{kind}.db"))
            with closing(sqlite3.connect(file, isolation_level=None)) as editing:
                change = f"UPDATE OR IGNORE {table} SET {column} = ? WHERE run_id = ?"
                editing.execute(change, (value, ENDED))
            look_at(file)


def test_what_was_done_is_not_done_again_from_a_whole_one(tmp_path: Path) -> None:
    assert look_at(Path(shutil.copy(GOLDEN, tmp_path))) == []


@pytest.mark.parametrize("body", ['{"event": "CallDone"}', "[]", "", '{"event": "os.system"}'])
def test_a_forged_entry_is_refused(tmp_path: Path, body: str) -> None:
    file = Path(shutil.copy(GOLDEN, tmp_path))
    with closing(sqlite3.connect(file, isolation_level=None)) as editing:
        editing.execute("UPDATE events SET body = ? WHERE seq = 2", (body,))
    journal = SQLiteJournal(file)
    with pytest.raises(JournalError, match="no entry of a journal") as caught:
        anyio.run(journal.read, DIED)
    journal.close()
    assert f"the journal {file} has lost a part of the run {DIED} (entry 2" in str(caught.value)
    assert "begin a new run for what is still to be done" in str(caught.value)


@pytest.mark.parametrize("content", [b"no database at all", GOLDEN.read_bytes()[:5000]])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.db"
    file.write_bytes(content)

    async def opened() -> None:
        with SQLiteJournal(file) as journal:
            await journal.runs()

    with pytest.raises(
        JournalError, match=r"damaged\.db cannot be used: .*malformed|not a data"
    ) as caught:
        anyio.run(opened)
    assert REMEDY in str(caught.value)


def test_a_place_that_cannot_be_written_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be used") as caught:
        SQLiteJournal(tmp_path / "file" / "runs.db")
    assert REMEDY not in str(caught.value)
