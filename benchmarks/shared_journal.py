"""What a run costs on a shared journal: `python -m benchmarks.shared_journal`.

Runs of some steps, each with one call, on a Postgres server of the benchmark's own, without a model
server. Counted by the server itself, and so the same on a busy machine: transactions, bytes of its
log (WAL) and of its tables. Measured as processor time, not as time that passes: the client's and
the server's seconds. What a run costs is the difference between two such runs, over the steps.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import psycopg

from agentkit import Agent, Limits, tool
from agentkit.journal import Entry, Lease
from agentkit.journal.postgres import PostgresJournal, migrate
from agentkit.testing import ScriptedModel, call, say
from soak.proof import write_record
from tests.postgres import Server

RESULT = "The invoice is due on the 3rd; it was sent by mail. " * 40
"""2,000 characters, as a tool returns them."""

_COUNTED = (
    "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, "
    "pg_total_relation_size('agentkit.runs') + pg_total_relation_size('agentkit.events')"
)


@tool
async def look_up(number: int) -> str:
    """Looks an invoice up."""
    return f"{number}: {RESULT}"


class Meter:
    """What the server has used by now."""

    def __init__(self, server: Server, url: str) -> None:
        self._server, self._url = server, url

    def read(self) -> dict[str, float]:
        """Bytes of log and tables, transactions, and seconds of processor time of both sides."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("SELECT pg_stat_force_next_flush()")
            wal, size = connection.execute(_COUNTED).fetchone() or (0, 0)
        return {
            "wal_bytes": float(wal),
            "table_bytes": float(size),
            "client_cpu_seconds": time.process_time(),
            "server_cpu_seconds": _processor_time(self._server.pid),
        }


def _processor_time(pid: int) -> float:
    """Seconds that a process and its children have used (proc_pid_stat(5): utime, stime)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for each in (str(pid), *children):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class CountingJournal(PostgresJournal):
    """Counts what is written."""

    writes = 0

    async def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:
        self.writes += 1
        await super().append(lease, entries, durable=durable)


def measure(runs: int, steps: int) -> dict[str, float]:
    """What a run of so many steps costs."""
    with Server() as server:
        url = server.url()
        migrate(url)
        meter = Meter(server, url)
        with CountingJournal(url) as journal:

            async def work(first: int, count: int) -> None:
                for number in range(first, first + count):
                    script = [*(call("look_up", number=n) for n in range(steps)), say("Done.")]
                    agent = Agent(ScriptedModel(script), tools=[look_up], observers=())
                    limits = Limits(steps=steps + 1)
                    await agent.run("Look.", journal=journal, run_id=f"r{number}", limits=limits)

            anyio.run(work, 0, 5)  # connections are open, statements prepared
            journal.writes, before = 0, meter.read()
            anyio.run(work, 5, runs)
            after = meter.read()
        figures = {name: (after[name] - before[name]) / runs for name in after}
        return figures | {"writes": journal.writes / runs}


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints, and with `--save` keeps the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared_journal")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--save", action="store_true", help="write docs/proof/shared_journal.json")
    options = parser.parse_args(argv)
    short, long = measure(options.runs, 1), measure(options.runs, 11)
    figures: dict[str, float] = {}
    for name in short:
        step = (long[name] - short[name]) / 10
        figures[f"{name}_per_step"] = round(step, 6)
        figures[f"{name}_per_run_besides"] = round(short[name] - step, 6)
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):40} {value:12.4f}")
    if options.save:
        record = {"runs": options.runs, "result_bytes": len(RESULT), "machine": platform.platform()}
        write_record("shared_journal", record | figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
