"""What 1,000 runs cost, and whether it grows with the journal: `python -m benchmarks.many_runs`.

Runs of five steps with a call each, whose results have 2,000 characters, without a model server:
all at the same time in one process, on a journal's file and on Postgres, and submitted to four
workers on Postgres. Each is a process of its own; told are runs a second, the processor time
and the commits of a run, and the memory that each run adds at the peak.
Then the journal is filled with copies of what is in it, up to so many entries, and all is done
again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import secrets
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import psycopg

from agentkit import Agent, Limits, SQLiteJournal
from agentkit.journal import StoredJournal, journal_at
from agentkit.journal.postgres import PostgresJournal, migrate
from agentkit.runtime.worker import Worker
from agentkit.toolset import tool
from soak.proof import write_record
from tests.journal.working import STEPS, Steps
from tests.postgres import Server

WORKERS: Final = 4
_NAME: Final = "benchmark:agent"
_RESULT: Final = "The invoice is due on the 3rd; it was sent by mail. " * 40
_FIRST: Final = 20
"""Runs before anything is measured: connections are open, statements prepared, pages allocated."""

Figures = dict[str, float]


@tool(name="work", effect="pure")
async def look_up(step: int) -> str:
    """Looks an invoice up."""
    return f"{step}: {_RESULT}"


def agent() -> Agent[Any, Any]:
    """The agent of every run."""
    return Agent(Steps(), tools=[look_up], limits=Limits(steps=STEPS + 1), observers=())


# --- in one process ------------------------------------------------------------------------------


async def _batch(journal: StoredJournal, name: str, runs: int) -> None:
    results = await agent().run_many(
        ["Look."] * runs, concurrency=runs, journal=journal, batch=name
    )
    ended = Counter(result.stop_reason for result in results)
    assert ended == {"answer": runs}, ended


def in_one_process(place: str, name: str, runs: int) -> Figures:
    """All runs at the same time; called in a process of its own."""
    with journal_at(place) as journal:
        anyio.run(_batch, journal, f"{name}-first", _FIRST)
        memory, cpu, began = _peak(), time.process_time(), time.perf_counter()
        anyio.run(_batch, journal, name, runs)
        seconds = time.perf_counter() - began
        return {
            "runs_per_second": runs / seconds,
            "client_cpu_ms_per_run": 1000 * (time.process_time() - cpu) / runs,
            "peak_kib_per_run": (_peak() - memory) / runs,
        }


def _peak() -> int:
    """The most memory that this process had, in KiB (getrusage(2), Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --- by workers ----------------------------------------------------------------------------------


async def _submit(url: str, name: str, runs: int) -> None:
    with PostgresJournal(url) as journal:
        for number in range(runs):
            await agent().submit("Look.", queue=journal, name=_NAME, run_id=f"{name}-{number}")


async def _work(url: str) -> None:
    with PostgresJournal(url) as journal:
        worker = Worker(journal, {_NAME: agent()})
        async with anyio.create_task_group() as group:

            async def stop_at_the_end() -> None:
                while (await journal.states()).get("queued"):  # noqa: ASYNC110 - others' work
                    await anyio.sleep(0.2)
                worker.stop()

            group.start_soon(stop_at_the_end)
            await worker.run()


def as_worker(url: str) -> Figures:
    """Works until nothing is queued; called in a process of its own."""
    anyio.run(_work, url)
    return {"peak_mib_of_a_worker": _peak() / 1024}


def by_workers(url: str, name: str, runs: int) -> Figures:
    """The same runs submitted, and brought to their end by four workers."""
    began = time.perf_counter()
    anyio.run(_submit, url, name, runs)
    submitted = time.perf_counter()
    each = _in_processes(WORKERS, as_worker, url)
    with psycopg.connect(url) as connection:  # the workers' own start does not count
        asked = "SELECT max(at) - min(at) FROM agentkit.events WHERE run_id LIKE %s AND seq > 1"
        (seconds,) = connection.execute(asked, [f"{name}-%"]).fetchone() or (0.0,)
    return {
        "submitted_per_second": runs / (submitted - began),
        "runs_per_second": runs / seconds,
        "peak_mib_of_a_worker": max(figures["peak_mib_of_a_worker"] for figures in each),
    }


def _in_processes(count: int, work: Callable[..., Figures], *given: Any) -> list[Figures]:
    """What fresh processes come to that all do the same."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=spawn) as pool:
        return [done.result() for done in [pool.submit(work, *given) for _ in range(count)]]


# --- the journals --------------------------------------------------------------------------------


class File:
    """A journal's file."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "runs.db")

    def counted(self) -> Figures:
        """Nothing: SQLite counts no commits, and `benchmarks.journal` does."""
        return {}

    def fill(self, entries: int) -> int:
        """Copies of the runs that are there, until there are so many entries; how many then."""
        with closing(sqlite3.connect(self.address)) as connection:

            def columns(table: str) -> list[str]:
                return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]

            copies = _copies(connection.execute, "", entries)
            numbers = json.dumps(list(range(copies)))
            rows = "(SELECT value AS n FROM json_each(?))"
            for table in ("runs", "events") if copies else ():
                connection.execute(_copying(table, columns(table), rows), [numbers])
            connection.commit()
            return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])


class Shared:
    """A Postgres server of the benchmark's own."""

    def __init__(self, server: Server) -> None:
        self.address = server.url()
        migrate(self.address)

    def counted(self) -> Figures:
        """Commits since the server was made."""
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute("SELECT pg_stat_force_next_flush()")
            asked = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
            return {"commits": float((connection.execute(asked).fetchone() or (0,))[0])}

    def fill(self, entries: int) -> int:
        """Copies of the runs that are there, until there are so many entries; how many then."""
        with psycopg.connect(self.address, autocommit=True) as connection:

            def columns(table: str) -> list[str]:
                asked = "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
                named = connection.execute(f"{asked} AND table_schema = 'agentkit'", [table])
                return [row[0] for row in named]

            execute: Any = connection.execute
            copies = _copies(execute, "agentkit.", entries)
            for table in ("runs", "events") if copies else ():
                rows = f"generate_series(1, {copies}) AS copy(n)"
                execute(_copying(f"agentkit.{table}", columns(table), rows))
            execute("ANALYZE")
            return int(execute("SELECT count(*) FROM agentkit.events").fetchone()[0])


def _copies(execute: Callable[[str], Any], schema: str, entries: int) -> int:
    """How often what is there has to be copied to come to so many entries."""
    asked = f"SELECT count(*) FROM {schema}events"  # noqa: S608 - the name of our own schema
    there = int(execute(asked).fetchone()[0])
    return -(min(0, there - entries) // there)


def _copying(table: str, columns: Sequence[str], rows: str) -> str:
    mark = secrets.token_hex(4)  # a copy may be copied again
    taken = [f"'{mark}-' || n || '-' || run_id" if c == "run_id" else c for c in columns]
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608 - names of our own tables
        f"SELECT {', '.join(taken)} FROM {table}, {rows}"
    )


# --- all of it -----------------------------------------------------------------------------------


def measured(
    kept: File | Shared, what: Callable[[str, str, int], Figures], name: str, runs: int
) -> Figures:
    """What some runs cost on a journal, whose own count of commits stands beside."""
    before = kept.counted()
    figures = what(kept.address, name, runs)
    for counted, value in kept.counted().items():
        figures[f"{counted}_per_run"] = (value - before[counted]) / runs
    return {name: round(value, 2) for name, value in figures.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints, and with `--save` keeps the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_runs")
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--entries", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--save", action="store_true", help="write docs/proof/many_runs.json")
    options = parser.parse_args(argv)
    kept: list[dict[str, Any]] = []
    one = partial(_in_processes, 1, in_one_process)
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        file, shared = File(Path(folder)), Shared(server)
        SQLiteJournal(Path(folder) / "runs.db").close()
        for number, entries in enumerate([0, *options.entries]):
            for what, journal, work in (
                ("one process, a file", file, lambda *given: one(*given)[0]),
                ("one process, Postgres", shared, lambda *given: one(*given)[0]),
                ("four workers, Postgres", shared, by_workers),
            ):
                there = journal.fill(entries) if entries else 0
                figures = measured(
                    journal, work, f"{number}-{what.split(',')[0][:4]}", options.runs
                )
                kept.append({"what": what, "entries before": there, **figures})
                print(f"{what}, {there:,} entries before: {figures}", flush=True)
    if options.save:
        record = {"runs": options.runs, "steps": STEPS, "machine": platform.platform()}
        write_record("many_runs", {**record, "measured": kept})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
