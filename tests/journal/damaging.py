"""Journals of runs that died, damaged in every way; what is then told, and what runs again.

The judge reads each journal before it is damaged, by SQL, so that it knows what was recorded. After
the damage it compares that with what can be read: whatever is lost has to be told, what is there is
not to be called lost, and no call that was recorded may begin again.

`python -m tests.journal.damaging SEED RUNS` prints its counts as JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from agentkit import Agent, SQLiteJournal
from agentkit.errors import AgentKitError, JournalError
from agentkit.events import RunResult
from agentkit.journal import Examined
from agentkit.trace import Library
from tests.journal.crashing import POINTS, RUN, Bomb, Case, Diary, SeededModel, start, tools_of

Rows = dict[int, tuple[str, str]]
"""Kind and body of each entry, by its number."""


@dataclass(frozen=True)
class Base:
    """A run that died.

    Attributes:
        case: Its folder holds the journal as it was left.
        rows: What was recorded.
    """

    case: Case
    rows: Rows

    @property
    def done(self) -> set[str]:
        """Keys of the calls that have a result."""
        bodies = [json.loads(body) for kind, body in self.rows.values() if kind == "CallDone"]
        return {body["key"] for body in bodies}


def base(folder: Path, seed: int) -> Base:
    """A run of ten calls that is killed at a random point, or ends; its write-ahead log is left."""
    rng = random.Random(seed)
    case = Case(folder, seed)
    point = rng.choice([*POINTS, ""])
    os.waitpid(start(case, Bomb(point, 1 if "Run" in point else rng.randint(1, 4))), 0)
    return Base(case, rows_of(folder))


def rows_of(folder: Path) -> Rows:
    """What a journal holds, read by SQL from a copy."""
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        with closing(sqlite3.connect(Path(copy) / "runs.db")) as file:
            query = "SELECT seq, kind, body FROM events WHERE run_id = ?"
            return {seq: (kind, body) for seq, kind, body in file.execute(query, (RUN,))}


# --- damages -----------------------------------------------------------------------------------


def _bytes(file: Path, rng: random.Random, much: int = 1) -> None:
    """Other bytes in some places."""
    data = bytearray(file.read_bytes())
    for _ in range(much):
        at = rng.randrange(len(data))
        data[at] ^= rng.randint(1, 255)
    file.write_bytes(data)


def _blank(file: Path, rng: random.Random, page: int = 4096) -> None:
    """A page of zeros."""
    data = bytearray(file.read_bytes())
    at = rng.randrange(max(len(data) // page, 1)) * page
    data[at : at + page] = bytes(len(data[at : at + page]))
    file.write_bytes(data)


def _short(file: Path, rng: random.Random) -> None:
    """Its end is gone."""
    os.truncate(file, rng.randrange(file.stat().st_size))


def _sql(folder: Path, statement: str, values: Sequence[object]) -> None:
    with closing(sqlite3.connect(folder / "runs.db", isolation_level=None)) as file:
        file.execute(statement, values)


def _settled(folder: Path) -> None:
    """Everything is in the main file, as after a checkpoint."""
    with closing(sqlite3.connect(folder / "runs.db", isolation_level=None)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")


Damage = Callable[[Path, Rows, random.Random], None]


def _in_log(change: Callable[[Path, random.Random], None]) -> Damage:
    def damage(folder: Path, _rows: Rows, rng: random.Random) -> None:
        log = folder / "runs.db-wal"
        if log.exists() and log.stat().st_size:
            change(log, rng)

    return damage


def _in_file(change: Callable[[Path, random.Random], None]) -> Damage:
    def damage(folder: Path, _rows: Rows, rng: random.Random) -> None:
        _settled(folder)
        change(folder / "runs.db", rng)

    return damage


def _no_log(folder: Path, _rows: Rows, _rng: random.Random) -> None:
    (folder / "runs.db-wal").unlink(missing_ok=True)
    (folder / "runs.db-shm").unlink(missing_ok=True)


def _no_journal(folder: Path, _rows: Rows, _rng: random.Random) -> None:
    for file in folder.glob("runs.db*"):
        if not file.name.endswith("witness"):
            file.unlink()


def _row_gone(folder: Path, rows: Rows, rng: random.Random) -> None:
    _sql(folder, "DELETE FROM events WHERE seq = ?", [rng.choice(list(rows) or [1])])


def _end_gone(folder: Path, rows: Rows, rng: random.Random) -> None:
    _sql(folder, "DELETE FROM events WHERE seq >= ?", [rng.choice(list(rows) or [1])])


def _all_gone(folder: Path, _rows: Rows, _rng: random.Random) -> None:
    _sql(folder, "DELETE FROM events", [])
    _sql(folder, "DELETE FROM runs", [])


def _row_changed(folder: Path, rows: Rows, rng: random.Random) -> None:
    seq = rng.choice(list(rows) or [1])
    body = rows.get(seq, ("", "x"))[1]
    at = rng.randrange(len(body))
    letter = chr((ord(body[at]) + 1) % 127 or 1)
    changed = body[:at] + letter + body[at + 1 :]
    _sql(folder, "UPDATE events SET body = ? WHERE seq = ?", [changed, seq])


def _rows_swapped(folder: Path, rows: Rows, rng: random.Random) -> None:
    if len(rows) > 1:
        one, other = rng.sample(list(rows), 2)
        for seq, new in ((one, -1), (other, one), (-1, other)):
            _sql(folder, "UPDATE events SET seq = ? WHERE seq = ?", [new, seq])


MIDDLE: dict[str, Damage] = {
    "bytes of the file": _in_file(_bytes),
    "many bytes of the file": _in_file(lambda file, rng: _bytes(file, rng, 30)),
    "a page of the file": _in_file(_blank),
    "a row gone": _row_gone,
    "a row changed": _row_changed,
    "two rows swapped": _rows_swapped,
}
TAIL: dict[str, Damage] = {
    "the end of the file": _in_file(_short),
    "the last rows gone": _end_gone,
    "all rows gone": _all_gone,
    "the whole file gone": _no_journal,
}
LOG: dict[str, Damage] = {
    "bytes of the log": _in_log(_bytes),
    "a page of the log": _in_log(_blank),
    "the end of the log": _in_log(_short),
    "the whole log gone": _no_log,
}
PLACES = {"in the middle": MIDDLE, "at the tail": TAIL, "in the log": LOG}


def _witness_damaged(folder: Path, rng: random.Random) -> None:
    witness = folder / "runs.db-witness"
    match rng.randrange(3):
        case 0:
            _bytes(witness, rng, 5)
        case 1:
            _short(witness, rng)
        case _:
            witness.unlink()


# --- the judge ---------------------------------------------------------------------------------


def look(folder: Path) -> tuple[Rows, bool]:
    """What can be read of the run, and whether a loss is told.

    Raises:
        Exception: None but a `JournalError`, which tells of a loss.
    """
    read: Rows = {}
    told = False
    library = Library(journal=folder / "runs.db")
    try:
        with suppress(AgentKitError):
            library.runs()
        examined = _examined(folder)
        told = any(damage.lost for damage in examined.damage)
        kept = {record.seq for record in examined.records}
        read = {seq: row for seq, row in rows_of(folder).items() if seq in kept}
    except JournalError:
        told = True
    except sqlite3.Error:  # of the judge's own reading: the file is beyond that
        pass
    return read, told


def _examined(folder: Path) -> Examined:
    with SQLiteJournal(folder / "runs.db") as journal:
        return anyio.run(journal.examine, RUN)


def go_on(case: Case, folder: Path) -> bool:
    """Goes on with the run, and where that is refused begins it anew; whether either was let."""
    model = SeededModel(case.seed, case.calls, Bomb())
    tools = tools_of(Diary(folder / "diary"), Bomb(), case.seed, 0.0)
    agent: Agent[Any, Any] = Agent(model, tools=tools, observers=())

    async def main() -> RunResult | None:
        with SQLiteJournal(folder / "runs.db") as journal:
            with suppress(JournalError):
                return await agent.resume(RUN, journal=journal)
            with suppress(JournalError):
                return await agent.run("Work.", journal=journal, run_id=RUN)
        return None

    with suppress(JournalError):
        return anyio.run(main) is not None
    return False


def judge(
    origin: Base, name: str, damage: Damage, seed: int, *, witness: bool = True
) -> Counter[str]:
    """Damages a copy of a journal once, and looks at what comes of it.

    Args:
        origin: The run.
        name: Of the damage.
        damage: What is done.
        seed: Of everything random in it.
        witness: Whether the witness is spared.

    Raises:
        AssertionError: A loss was not told, a whole record was called lost, a call ran again.
    """
    rng, counts = random.Random(seed), Counter[str](records_damaged=1)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        shutil.copytree(origin.case.folder, folder, dirs_exist_ok=True)
        damage(folder, origin.rows, rng)
        if not witness:
            _witness_damaged(folder, rng)
        before = Diary(folder / "diary").keys("begin")
        read, told = look(folder)
        lost = read != origin.rows
        where = f"{name}, seed {seed}, of run {origin.case.seed}"
        if witness:
            assert told or not lost, f"{where}: a loss is not told"
            counts["losses_told"] += lost
        elif lost:
            counts["losses_told" if told else "losses_of_both_untold"] += 1
        if told and not lost:
            counts["told_though_all_could_be_read"] += 1
        went_on = go_on(origin.case, folder)
        after = Diary(folder / "diary").keys("begin")
        again = {key for key in before if after[key] > before[key]}
        effects = _effects(origin.rows)
        wrong = {key for key in again if key in origin.done or effects.get(key) == "once"}
        if witness:
            assert not wrong, f"{where}: {len(wrong)} recorded calls ran again"
            assert not (went_on and lost), f"{where}: a run of which something is lost goes on"
        counts["gone_on_with"] += went_on
        counts["recorded_calls_run_again"] += len(wrong) if witness else 0
    return counts


def _effects(rows: Rows) -> dict[str, str]:
    bodies = [json.loads(body) for kind, body in rows.values() if kind == "CallIntended"]
    return {body["key"]: body["effect"] for body in bodies}


def batch(seed: int, runs: int) -> dict[str, int]:
    """So many runs, each damaged once in each way; and with the witness damaged alone, and too."""
    counts: Counter[str] = Counter()
    for number in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            origin = base(Path(folder), seed * 1000 + number)
            if not origin.rows:
                continue
            counts["runs"] += 1
            for place, damages in PLACES.items():
                for name, damage in damages.items():
                    found = judge(origin, name, damage, seed * 1000 + number)
                    counts += Counter({f"{what}, {place}": n for what, n in found.items()})
            alone = judge(origin, "the witness alone", _nothing, number, witness=False)
            assert not alone["losses_told"] + alone["told_though_all_could_be_read"]
            counts["witnesses damaged alone"] += 1
            both = judge(origin, "both", MIDDLE["a row gone"], number, witness=False)
            counts["journal and witness damaged, told"] += both["losses_told"]
            counts["journal and witness damaged, untold"] += both["losses_of_both_untold"]
    return dict(counts)


def _nothing(_folder: Path, _rows: Rows, _rng: random.Random) -> None:
    """The journal is left as it is."""


if __name__ == "__main__":
    first, how_many = sys.argv[1:]
    sys.stdout.write(json.dumps(batch(int(first), int(how_many))))
