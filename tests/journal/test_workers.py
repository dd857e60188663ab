"""Submitted runs and the workers that take them; `make postgres` starts a server for these."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from agentkit import Agent, tool
from agentkit.errors import JournalError, ModelConnectionError
from agentkit.events import ModelEvent, RunFinished, ToolFinished
from agentkit.journal import Lease, SQLiteJournal
from agentkit.journal.postgres import PostgresJournal, PostgresStore, Queue, Taken, migrate
from agentkit.journal.store import LEASE
from agentkit.messages import ModelRequest
from agentkit.models import VLLMModel
from agentkit.runtime.worker import Worker
from agentkit.testing import ScriptedModel, call, say
from agentkit.testing.faults import FaultServer
from agentkit.trace import Library, follow
from agentkit.trace.metrics import AGENT, STATE, OpenTelemetryMetrics
from tests.postgres import Server, programs

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.postgres,
    pytest.mark.skipif(programs() is None, reason="no Postgres server is installed"),
]
_numbers = count()
NAME = "shop:agent"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as made:
        yield made


@pytest.fixture
def url(server: Server) -> str:
    made = server.database(f"queue{next(_numbers)}")
    migrate(made)
    return made


class Answers:
    """A model that answers each run at once, and remembers what it was asked."""

    name, constrains = "answers", False

    def __init__(self, *script: Any) -> None:
        self.requests: list[ModelRequest] = []
        self._script = script

    @property
    def asked(self) -> list[str]:
        return [str(request.messages[-1].content) for request in self.requests]

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        self.requests.append(request)
        done = sum(message.role == "assistant" for message in request.messages)
        script = [*self._script[done:], say("Done.")]
        async for event in ScriptedModel(script[:1]).generate(request):
            yield event

    async def aclose(self) -> None:
        """Holds nothing."""


@asynccontextmanager
async def working(
    journal: PostgresJournal, agent: Agent[Any, Any], **options: Any
) -> AsyncGenerator[Worker, None]:
    """A worker, which is told to stop at the end."""
    worker = Worker(journal, {NAME: agent}, **options)
    with anyio.fail_after(40):
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            yield worker
            worker.stop()


async def settled(journal: PostgresJournal, *states: str) -> dict[str, int]:
    """How the runs stand, once there are only such."""
    while True:
        found = await journal.states()
        if set(found) <= set(states):
            return found
        await anyio.sleep(0.05)


async def once(journal: PostgresJournal, states: dict[str, int]) -> None:
    """Waits until the runs stand so."""
    while await journal.states() != states:  # noqa: ASYNC110 - another process may do it
        await anyio.sleep(0.05)


async def test_a_submitted_run_is_taken_and_comes_to_its_end(url: str) -> None:
    model = Answers()
    agent = Agent(model, instructions="Be brief.")
    with PostgresJournal(url) as journal:
        submit = partial(agent.submit, queue=journal, name=NAME, tenant="acme", priority=3)
        run_id = await submit("What is due?", run_id="due")
        assert run_id == "due"
        (waits,) = await journal.runs()
        assert (waits.state, waits.question) == ("queued", "What is due?")
        with pytest.raises(JournalError, match="has a run due already"):
            await submit("What is due?", run_id="due")
        async with working(journal, agent):
            assert await settled(journal, "ended") == {"ended": 1}
        (ended,) = await journal.runs()
        assert (ended.state, ended.stop_reason) == ("ended", "answer")
        told = dict(model.requests[0].settings.extra_body)
        assert told["priority"] == 3
        assert len(told["cache_salt"]) == 64
        assert "acme" not in told["cache_salt"]


async def test_turns_of_a_conversation_may_be_submitted_and_old_runs_go_unless_they_wait(
    url: str,
) -> None:
    model = Answers()
    agent = Agent(model)
    with PostgresJournal(url) as journal:
        submit = partial(agent.submit, queue=journal, name=NAME, conversation="ana")
        for asked in ("One?", "Two?"):
            await submit(asked)
            async with working(journal, agent):
                await settled(journal, "ended")
        said = [str(message.content) for message in model.requests[1].messages]
        assert said == ["One?", "Done.", "Two?"]
        await submit("Three?", run_id="waits")
    library = Library(journal=url)
    assert library.delete_older(60) == 0
    assert library.delete_older(-60) == 2
    assert [run.run_id for run in library.runs()] == ["waits"]
    assert library.conversation("ana").questions == ["One?", "Two?", "Three?"]


async def test_a_worker_leaves_runs_of_other_agents_and_of_other_tools(url: str) -> None:
    @tool
    def pay(invoice: int) -> str:
        """Pays."""
        return f"paid {invoice}"

    mine, other = Agent(Answers()), Agent(Answers(), tools=[pay])
    with PostgresJournal(url) as journal:
        await mine.submit("a", queue=journal, name=NAME)
        await mine.submit("b", queue=journal, name="shop:another")
        await other.submit("c", queue=journal, name=NAME)
        async with working(journal, mine):
            await once(journal, {"ended": 1, "queued": 2})
            await anyio.sleep(0.3)
        stats = await journal.stats()
        assert await journal.states() == {"ended": 1, "queued": 2}
        assert stats.waiting == {NAME: 1, "shop:another": 1}


async def test_no_run_is_taken_while_requests_wait_on_its_models_server(url: str) -> None:
    async with FaultServer(then=say("Done.")) as server, VLLMModel(server.url) as model:
        server.waiting = 3
        agent = Agent(model, observers=())
        with PostgresJournal(url) as journal:
            await agent.submit("Go.", queue=journal, name=NAME)
            async with working(journal, agent, most_waiting=2):
                await server_was_asked(server)
                assert await journal.states() == {"queued": 1}
                assert server.requests == []
                server.waiting = 2
                assert await settled(journal, "ended") == {"ended": 1}


async def server_was_asked(server: FaultServer) -> None:
    """Waits until a worker has seen how much waits, and looks again."""
    before = server.looks
    while server.looks < before + 2:  # noqa: ASYNC110 - the server works in threads
        await anyio.sleep(0.05)


async def test_a_worker_tells_how_the_queue_stands_and_what_became_of_its_runs(url: str) -> None:
    reader = InMemoryMetricReader()
    metrics = OpenTelemetryMetrics(MeterProvider([reader]))
    agent = Agent(Answers(), observers=())
    with PostgresJournal(url) as journal:
        for number in range(3):
            await agent.submit(f"{number}", queue=journal, name=NAME)
        await agent.submit("?", queue=journal, name="shop:another")
        async with working(journal, agent, at_once=1, metrics=metrics):
            await once(journal, {"ended": 3, "queued": 1})
    told = points(reader)
    assert told["agentkit.worker.runs", NAME, "ended"] == 3
    assert told["agentkit.worker.at_work", NAME, ""] == 0
    assert told["agentkit.queue.waiting", "shop:another", ""] == 1
    assert 0 <= told["agentkit.lease.age", "", ""] < 60
    assert 0 <= told["agentkit.queue.oldest_wait", "", ""] < 60
    assert told["gen_ai.client.operation.duration", "", ""] == 3


def points(reader: InMemoryMetricReader) -> dict[tuple[str, str, str], float]:
    """What each series came to, of a histogram how many: by name, agent and state."""
    data = reader.get_metrics_data()
    assert data is not None
    return {
        (
            metric.name,
            str((point.attributes or {}).get(AGENT, "")),
            str((point.attributes or {}).get(STATE, "")),
        ): getattr(point, "value", getattr(point, "count", 0))
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }


async def test_a_tenant_with_one_run_does_not_wait_for_one_with_many(url: str) -> None:
    model = Answers()
    agent = Agent(model)
    with PostgresJournal(url) as journal:
        for number in range(12):
            await agent.submit(f"many {number}", queue=journal, name=NAME, tenant="many")
        await agent.submit("one", queue=journal, name=NAME, tenant="one")
        async with working(journal, agent, at_once=2):
            await settled(journal, "ended")
    assert model.asked.index("one") <= 2


async def test_the_lower_priority_number_goes_first_and_then_the_older_run(url: str) -> None:
    model = Answers()
    agent = Agent(model)
    with PostgresJournal(url) as journal:
        for text, priority in (("later", 5), ("first", -1), ("second", 0), ("third", 0)):
            await agent.submit(text, queue=journal, name=NAME, priority=priority)
        async with working(journal, agent, at_once=1):
            await settled(journal, "ended")
    assert model.asked == ["first", "second", "third", "later"]


async def test_a_worker_that_stops_hands_its_run_over_and_nothing_runs_twice(url: str) -> None:
    begun: list[int] = []
    stop: list[Worker] = []

    @tool
    async def work(number: int) -> str:
        """Works; its worker is told to stop meanwhile."""
        begun.append(number)
        if number == 2 and stop:
            stop.pop().stop()
        return f"did {number}"

    agent = Agent(Answers(*(call("work", number=n) for n in range(4))), tools=[work])
    with PostgresJournal(url) as first, PostgresJournal(url) as second:
        run_id = await agent.submit("Work.", queue=first, name=NAME)
        worker = Worker(first, {NAME: agent})
        stop.append(worker)
        with anyio.fail_after(30):
            await worker.run()
        assert begun == [0, 1, 2]
        assert await first.states() == {"queued": 1}
        async with working(second, agent):
            await settled(second, "ended")
        assert begun == [0, 1, 2, 3]
        assert (await second.runs(1))[0].stop_reason == "answer"
        assert len(await second.read(run_id)) > 10


class StopsWhileItAsks(PostgresJournal):
    """A queue whose worker is told to stop just as it takes a run."""

    stop: Callable[[], None]

    async def take(self, offers: Mapping[str, str]) -> Taken | None:
        taken = await super().take(offers)
        if taken is not None:
            self.stop()
        return taken


async def test_a_run_that_is_taken_while_the_worker_is_told_to_stop_is_handed_over(
    url: str,
) -> None:
    model = Answers()
    agent = Agent(model)
    with StopsWhileItAsks(url) as journal:
        await agent.submit("What is due?", queue=journal, name=NAME)
        worker = Worker(journal, {NAME: agent})
        journal.stop = worker.stop
        await worker.run()
        assert await journal.states() == {"queued": 1}
    assert model.requests == []


async def test_runs_are_cancelled_where_they_wait_and_where_they_are_at_work(url: str) -> None:
    running = anyio.Event()

    @tool
    async def wait() -> str:
        """Waits for ever."""
        running.set()
        await anyio.sleep_forever()
        return "never"

    agent = Agent(Answers(call("wait")), tools=[wait])
    with PostgresJournal(url) as journal:
        at_work = await agent.submit("Wait.", queue=journal, name=NAME)
        async with working(journal, agent, at_once=1):
            await running.wait()
            waiting = await agent.submit("Wait as well.", queue=journal, name=NAME)
            assert await journal.cancel(waiting)
            assert not await journal.cancel(waiting), "it has ended"
            assert await journal.cancel(at_work)
            assert await settled(journal, "cancelled") == {"cancelled": 2}
        assert not await journal.cancel("no such run")
        answers = Agent(Answers(), tools=[wait])
        assert await journal.retry(waiting)
        async with working(journal, answers):
            await once(journal, {"cancelled": 1, "ended": 1})


class OutOfReach(PostgresStore):
    """A server that cannot be reached any more once a run was taken."""

    def take_up(self, lease: Lease) -> None:  # noqa: ARG002 - as the store has it
        with self.errors():
            raise psycopg.OperationalError("the connection is lost")


async def test_a_run_whose_record_cannot_be_read_now_has_not_failed(url: str) -> None:
    with PostgresJournal(url) as journal:
        agent = Agent(Answers())
        await agent.submit("Go.", queue=journal, name=NAME)
        with (
            Queue(OutOfReach(url), None, LEASE) as unlucky,
            pytest.raises(JournalError, match="the connection is lost"),
        ):
            await unlucky.take({NAME: agent.fingerprint})
        assert await journal.states() == {"queued": 1}


async def test_a_run_that_never_ends_well_has_failed_after_so_many_tries(url: str) -> None:
    agent = Agent(ScriptedModel([ModelConnectionError("no server")] * 9))
    with PostgresJournal(url) as journal, psycopg.connect(url, autocommit=True) as hurry:
        await agent.submit("Go.", queue=journal, name=NAME)
        async with working(journal, agent, tries=3):
            while await journal.states() != {"failed": 1}:
                hurry.execute("UPDATE agentkit.runs SET due = now() WHERE due > now()")
                await anyio.sleep(0.05)
        problem = hurry.execute("SELECT problem, tries FROM agentkit.runs").fetchone()
        assert problem == ("no server", 3)


async def test_a_run_is_followed_from_another_place_until_it_ends(url: str) -> None:
    @tool
    def work(number: int) -> str:
        """Works."""
        return f"did {number}"

    agent = Agent(Answers(call("work", number=1), call("work", number=2)), tools=[work])
    seen: list[Any] = []
    with PostgresJournal(url) as journal, PostgresJournal(url) as elsewhere:
        run_id = await agent.submit("Work.", queue=journal, name=NAME)

        async def watch() -> None:
            seen.extend([timed.event async for timed in follow(elsewhere, run_id)])

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            async with working(journal, agent):
                await settled(journal, "ended")
    assert isinstance(seen[-1], RunFinished)
    assert sum(isinstance(event, ToolFinished) for event in seen) == 2


async def test_a_run_in_a_file_is_followed_too(tmp_path: Path) -> None:
    agent = Agent(Answers())
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        await agent.run("Go.", journal=journal, run_id="r")
        events = [timed.event async for timed in follow(journal, "r")]
    assert isinstance(events[-1], RunFinished)


@pytest.mark.timeout(240)  # four commands, each of which takes a while to begin
def test_workers_are_started_by_a_command_and_stopped_by_a_signal(url: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from agentkit import Agent\n"
        "from tests.journal.test_workers import Answers\n"
        "agent = Agent(Answers())\n"
    )
    surroundings = {
        **os.environ,
        "AGENTKIT_JOURNAL": url,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-m", "agentkit"]
    run = partial(
        subprocess.run,
        cwd=tmp_path,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    asked = run([*command, "runs", "submit", "Go.", "--agent", "shop.py:agent", "--run-id", "r"])
    assert (asked.returncode, asked.stdout) == (0, "r\n"), asked.stderr
    started = [*command, "worker", "--agent", "shop.py:agent"]
    with subprocess.Popen(
        started, cwd=tmp_path, env=surroundings, stderr=subprocess.PIPE
    ) as worker:
        followed = run([*command, "runs", "follow", "r"])
        assert followed.returncode == 0, followed.stderr
        assert "Done." in followed.stdout + followed.stderr
        worker.send_signal(signal.SIGTERM)
        told = worker.communicate(timeout=30)[1].decode()
        assert worker.returncode == 0, told
    assert "offers shop:agent" in told
    assert "SIGTERM: hands its runs over" in told
    assert run([*command, "runs", "cancel", "r"]).returncode == 2
    assert run([*command, "runs", "retry", "r"]).returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.timeout(240)
def test_workers_that_die_stop_and_stand_still_leave_no_run_behind_and_repeat_nothing() -> None:
    """The small form of `soak/workers.py`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.journal.working", "1", "12", "2"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout)
    assert (counts["runs"], counts["workers: kill"]) == (12, 2)
