"""`make postgres` runs these: they start a server of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest

from agentkit import Agent, tool
from agentkit.errors import JournalError
from agentkit.journal import CallDone, CallStarted
from agentkit.journal.leases import Owner
from agentkit.journal.postgres import PostgresJournal, check, migrate
from agentkit.testing import ScriptedModel, call, say
from tests.journal.conformance import CASES, OPENING, entries_of
from tests.postgres import Cutter, Server, programs

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.postgres,
    pytest.mark.skipif(programs() is None, reason="no Postgres server is installed"),
]
_numbers = count()


class TablePlace:
    """A database and its journals; see `tests.journal.conformance`."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url, name
        self._made: list[PostgresJournal] = []
        self._editing = psycopg.connect(url, autocommit=True)

    def journal(self, **options: Any) -> PostgresJournal:
        return self.adopt(PostgresJournal(self.url, **options))

    def adopt(self, journal: PostgresJournal) -> PostgresJournal:
        """Closes it in the end."""
        self._made.append(journal)
        return journal

    def do(self, query: str, *values: object) -> Any:
        """What a statement gives, or the number of rows that it changed."""
        done = self._editing.execute(query.encode(), values)
        return (done.fetchone() or [None])[0] if done.description else done.rowcount

    def expire(self, run_id: str) -> None:
        query = "UPDATE agentkit.runs SET lease_until = clock_timestamp() WHERE run_id = %s"
        self.do(query, run_id)

    def owned_by(self, run_id: str, owner: Owner) -> None:
        query = (
            "UPDATE agentkit.runs SET owner = %s, "
            "lease_until = clock_timestamp() + interval '1 hour' WHERE run_id = %s"
        )
        self.do(query, owner.to_json(), run_id)

    def owner(self, run_id: str) -> str:
        return str(self.do("SELECT owner FROM agentkit.runs WHERE run_id = %s", run_id))

    def lease_end(self, run_id: str) -> float:
        query = "SELECT extract(epoch FROM lease_until) FROM agentkit.runs WHERE run_id = %s"
        return float(self.do(query, run_id))

    def cut(self, run_id: str, seq: int) -> None:
        self.do("DELETE FROM agentkit.events WHERE run_id = %s AND seq >= %s", run_id, seq)

    def change(self, run_id: str, seq: int) -> None:
        query = (
            "UPDATE agentkit.events SET body = replace(body, 'pay', 'get') "
            "WHERE run_id = %s AND seq = %s"
        )
        self.do(query, run_id, seq)

    def rows(self) -> int:
        names = ("agentkit.runs", "agentkit.events")
        return sum(int(self.do(f"SELECT count(*) FROM {name}")) for name in names)

    def close(self) -> None:
        for journal in self._made:
            journal.close()
        self._editing.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as made:
        yield made


@pytest.fixture
def place(server: Server) -> Iterator[TablePlace]:
    name = f"journal{next(_numbers)}"
    url = server.database(name)
    migrate(url)
    with closing(TablePlace(url, name)) as made:
        yield made


@pytest.mark.parametrize("name", CASES)
async def test_a_server_does_what_every_journal_must(name: str, place: TablePlace) -> None:
    await CASES[name](place)


# --- connections that break, and servers that die ------------------------------------------------


STARTED = CallStarted("the-marked-one", 1)
_MARK = b"the-marked-one"


@pytest.fixture
def cutter(server: Server) -> Iterator[Cutter]:
    with closing(Cutter(server)) as made:
        yield made


def through(cutter: Cutter, place: TablePlace, **options: Any) -> PostgresJournal:
    """A journal of the place whose connections can be cut."""
    return place.adopt(PostgresJournal(cutter.url(place.name), **options))


async def test_a_journal_is_opened_although_the_first_connection_broke(
    place: TablePlace, cutter: Cutter
) -> None:
    cutter.cuts[b"to_regclass"] = False
    journal = through(cutter, place)
    assert not cutter.cuts
    await journal.open("r", OPENING)


@pytest.mark.parametrize("arrives", [True, False], ids=["done unheard", "never arrived"])
async def test_entries_whose_connection_broke_are_written_once(
    arrives: bool, place: TablePlace, cutter: Cutter
) -> None:
    journal = through(cutter, place)
    lease = await journal.open("r", OPENING)
    cutter.cuts[_MARK] = arrives
    await journal.append(lease, [STARTED], durable=True)
    await journal.append(lease, [CallStarted("b", 1)], durable=True)
    assert not cutter.cuts, "the connection was cut"
    assert await entries_of(journal) == [OPENING, STARTED, CallStarted("b", 1)]


@pytest.mark.parametrize("arrives", [True, False], ids=["done unheard", "never arrived"])
async def test_a_run_whose_beginning_was_not_answered_is_begun_once_and_held(
    arrives: bool, place: TablePlace, cutter: Cutter
) -> None:
    journal = through(cutter, place)
    cutter.cuts[b"RunOpened"] = arrives
    lease = await journal.open("r", OPENING)
    assert not cutter.cuts
    await journal.append(lease, [STARTED], durable=True)
    assert await entries_of(journal) == [OPENING, STARTED]


@pytest.mark.parametrize("arrives", [True, False], ids=["done unheard", "never arrived"])
async def test_a_claim_that_was_not_answered_counts_once(
    arrives: bool, place: TablePlace, cutter: Cutter
) -> None:
    await place.journal().release(await place.journal().open("r", OPENING))
    place.expire("r")
    journal = through(cutter, place)
    cutter.cuts[b"epoch = epoch + 1"] = arrives
    lease = await journal.claim("r")
    assert not cutter.cuts
    assert lease.epoch == 2
    await journal.append(lease, [STARTED], durable=True)


@pytest.mark.parametrize("arrives", [True, False], ids=["done unheard", "never arrived"])
async def test_a_deletion_that_was_not_answered_is_told_as_one(
    arrives: bool, place: TablePlace, cutter: Cutter
) -> None:
    await place.journal().release(await place.journal().open("r", OPENING))
    place.expire("r")
    journal = through(cutter, place)
    cutter.cuts[b"DELETE FROM agentkit.runs"] = arrives
    assert await journal.delete("r")
    assert place.rows() == 0


@pytest.mark.parametrize("arrives", [True, False], ids=["done unheard", "never arrived"])
async def test_a_write_that_was_given_up_is_found_out_by_the_next(
    arrives: bool, place: TablePlace, cutter: Cutter
) -> None:
    journal = through(cutter, place, patience=0.3)
    lease = await journal.open("r", OPENING)
    cutter.cuts[_MARK] = arrives
    cutter.closed = True
    with pytest.raises(JournalError, match="cannot be used"):
        await journal.append(lease, [STARTED], durable=True)
    cutter.closed = False
    later = CallStarted("later", 1)
    await journal.append(lease, [later], durable=True)
    expected = [OPENING, STARTED, later] if arrives else [OPENING, later]
    assert await entries_of(journal) == expected


async def test_connections_that_the_server_ends_cost_nothing(place: TablePlace) -> None:
    journal = place.journal()
    lease = await journal.open("r", OPENING)
    for number in range(5):
        ended = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'agentkit'"
        )
        assert place.do(ended) >= 1
        await journal.append(lease, [CallStarted(str(number), 1)], durable=True)
    assert len(await entries_of(journal)) == 6


async def test_serialisation_failures_are_tried_again(place: TablePlace) -> None:
    query = "ALTER DATABASE {} SET default_transaction_isolation = 'serializable'"
    place.do(query.format(place.name))
    for name in ("calls_of_one_step_write_at_the_same_time", "a_run_begins_once"):
        await CASES[name](place)
        place.do("TRUNCATE agentkit.runs, agentkit.events")
    await CASES["of_many_who_resume_one_gets_the_run"](place)


async def test_a_server_that_says_its_disk_is_full_takes_nothing_and_is_told_at_once(
    place: TablePlace,
) -> None:
    """The error is the server's own; who raises it is a trigger."""
    journal = place.journal()
    lease = await journal.open("r", OPENING)
    place.do(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'could not extend file: No space left on device' "
        "USING ERRCODE = 'disk_full'; END $$"
    )
    place.do(
        "CREATE TRIGGER full_disk BEFORE INSERT ON agentkit.events EXECUTE FUNCTION full_disk()"
    )
    with anyio.fail_after(20), pytest.raises(JournalError, match="No space left on device"):
        await journal.append(lease, [STARTED], durable=True)
    place.do("DROP TRIGGER full_disk ON agentkit.events")
    await journal.append(lease, [CallStarted("b", 1)], durable=True)
    assert await entries_of(journal) == [OPENING, CallStarted("b", 1)]


def test_a_server_that_is_killed_in_mid_run_and_restarted_loses_and_repeats_nothing() -> None:
    with Server() as server:
        migrate(server.url())
        begun: list[int] = []

        @tool
        def work(number: int) -> str:
            """Works, while the server dies and comes back."""
            begun.append(number)
            if number % 3 == 0:
                server.kill()
                threading.Timer(0.2, server.start).start()
            return f"did {number}"

        with PostgresJournal(server.url()) as journal:
            script = [call("work", number=number) for number in range(7)]
            agent = Agent(ScriptedModel([*script, say("Done.")]), tools=[work])
            main = partial(agent.run, "Work.", journal=journal, run_id="r")
            assert anyio.run(main).output == "Done."
            kept = anyio.run(journal.read, "r")
        assert begun == list(range(7))
        done = [record.entry for record in kept if isinstance(record.entry, CallDone)]
        assert [entry.result.content for entry in done] == [f"did {n}" for n in range(7)]


# --- what is refused -----------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_named_with_the_reason() -> None:
    with pytest.raises(JournalError, match=r"postgresql://127.0.0.1:1/db cannot be used.*refused"):
        PostgresJournal("postgresql://user:very-secret-word@127.0.0.1:1/db", patience=0.1)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(JournalError, match="is no address of a Postgres server"):
        PostgresJournal("postgresql://host:port/db?nothing=1")


def test_tables_that_are_not_there_or_of_a_later_version_are_named_with_the_remedy(
    server: Server,
) -> None:
    url = server.database(f"journal{next(_numbers)}")
    with pytest.raises(JournalError, match="has none of them: run agentkit journal migrate"):
        PostgresJournal(url)
    assert check(url)
    applied = migrate(url)
    assert applied == sorted(applied)
    assert applied[0] == 1
    assert migrate(url) == []
    assert check(url) == []
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO agentkit.migrations (version) VALUES (99)")
    for refused in (PostgresJournal, migrate):
        with pytest.raises(JournalError, match=r"of version 99, this agentkit knows .*: update"):
            refused(url)


def test_a_server_that_forgets_is_told(server: Server) -> None:
    with Server(fsync="off", synchronous_commit="off") as careless:
        migrate(careless.url())
        problems = " ".join(check(careless.url()))
    assert "fsync is off" in problems
    assert "synchronous_commit is off" in problems


def test_many_who_migrate_at_once_do_it_once(server: Server) -> None:
    url = server.database(f"journal{next(_numbers)}")
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(migrate, [url] * 4))
    assert sum(map(bool, applied)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.timeout(300)
def test_runs_and_servers_that_are_killed_at_random_repeat_and_lose_nothing() -> None:
    """The small form of `soak/postgres.py`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.journal.crashing_servers", "1", "3"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout)
    assert counts["runs"] == 3
    assert counts["kills of the server"] == 1
    assert counts["kills"] > 0
