"""What every journal must do, wherever its entries lie: one suite that all of them pass.

A place (`Place`) makes journals that share their entries, as processes do, and changes what is kept
behind their backs: what a stopped owner, a dead one and a damaged disk leave behind.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

import anyio
import pytest

from agentkit import Agent, tool
from agentkit.errors import JournalError
from agentkit.journal import CallIntended, CallStarted, Entry, Lease, RunOpened, StoredJournal
from agentkit.journal.leases import Owner
from agentkit.messages import ToolCall, UserMessage
from agentkit.redaction import keep_secret
from agentkit.testing import ScriptedModel, call, say
from tests.journal.edges import digest, inside

OPENING = RunOpened((UserMessage("Go."),), "scripted")
INTENDED = CallIntended("k", ToolCall("c", "pay", {}), "once", "b", 1)


class Place(Protocol):
    """Where entries lie, and how it is meddled with."""

    def journal(self, **options: Any) -> StoredJournal:
        """One more journal of the same place, as another process would open it."""
        ...

    def expire(self, run_id: str) -> None:
        """Lets the lease of a run end now, as after a long SIGSTOP."""
        ...

    def owned_by(self, run_id: str, owner: Owner) -> None:
        """Makes another process the owner of a run, for a long time."""
        ...

    def owner(self, run_id: str) -> str:
        """Who holds a run; empty for nobody."""
        ...

    def lease_end(self, run_id: str) -> float:
        """When the lease of a run ends, by whatever clock."""
        ...

    def cut(self, run_id: str, seq: int) -> None:
        """Takes an entry and all behind it away."""
        ...

    def change(self, run_id: str, seq: int) -> None:
        """Writes something else for the body of an entry."""
        ...

    def rows(self) -> int:
        """How many rows there are, of runs and of entries."""
        ...


Case: TypeAlias = Callable[[Place], Awaitable[None]]
CASES: dict[str, Case] = {}


def case(one: Case) -> Case:
    """One of the suite."""
    CASES[getattr(one, "__name__", "")] = one
    return one


def dead_owner() -> Owner:
    """A process that is proved to live no more: its number is another's."""
    return replace(Owner.this_process(), pid=1, started="no such")


async def entries_of(journal: StoredJournal) -> list[Entry]:
    return [record.entry for record in await journal.read("r")]


@case
async def entries_stay_in_order_and_know_their_owner(place: Place) -> None:
    journal = place.journal()
    lease = await journal.open("r", OPENING)
    await journal.append(lease, [CallStarted("a", 1), CallStarted("b", 1)], durable=True)
    await journal.release(lease)
    later = await journal.claim("r")
    await journal.append(later, [CallStarted("c", 2)], durable=False)
    records = await place.journal().read("r")
    assert [(record.seq, record.epoch) for record in records] == [(1, 1), (2, 1), (3, 1), (4, 2)]
    assert [getattr(record.entry, "key", "") for record in records] == ["", "a", "b", "c"]


@case
async def values_at_the_edge_come_back_as_they_were(place: Place) -> None:
    journal = place.journal()
    lease = await journal.open("r", OPENING)
    values = [inside(random.Random(seed)) for seed in range(40)]
    values += ["\0", "a\0b", "\x7f\x80", "\u2028", "😀" * 3, "x" * 100_000, {"\0": "\0"}]
    calls = [ToolCall(f"c{n}", "t", {"value": value}) for n, value in enumerate(values)]
    intents: list[Entry] = [CallIntended(each.id, each, "once", "b", 1) for each in calls]
    await journal.append(lease, intents, durable=True)
    kept = (await entries_of(place.journal()))[1:]
    assert [digest(e.call.arguments["value"]) for e in kept if isinstance(e, CallIntended)] == [
        digest(value) for value in values
    ]


@case
async def labels_are_kept_with_each_run(place: Place) -> None:
    journal = place.journal(labels={"who": "Ada", "why": "tests"})
    await journal.open("r", RunOpened(OPENING.messages, labels={"why": "this one"}))
    (run,) = await journal.runs()
    assert run.labels == {"who": "Ada", "why": "this one"}
    assert (run.question, run.state) == ("Go.", "running")


@case
async def the_newest_runs_come_first_and_no_more_than_were_asked_for(place: Place) -> None:
    journal = place.journal()
    for name in ("first", "second", "third"):
        await journal.release(await journal.open(name, OPENING))
    assert [run.run_id for run in await journal.runs(2)] == ["third", "second"]
    assert [run.state for run in await journal.runs()] == ["died"] * 3


@case
async def a_run_begins_once(place: Place) -> None:
    journal = place.journal()
    lease = await journal.open("r", OPENING)
    assert (lease.run_id, lease.epoch) == ("r", 1)
    with pytest.raises(JournalError, match="has a run r already: resume it, or choose another"):
        await place.journal().open("r", OPENING)
    assert len(await journal.read("r")) == 1
    assert (await journal.open("s", OPENING)).epoch == 1


@case
async def a_run_that_is_not_there_is_said_not_to_be(place: Place) -> None:
    journal = place.journal()
    with pytest.raises(JournalError, match=r"has no run r$"):
        await journal.claim("r")
    assert not await journal.delete("r")
    assert await journal.read("r") == []
    assert await journal.runs() == []


@case
async def a_run_at_work_is_not_taken_over(place: Place) -> None:
    await place.journal(lease=60).open("r", OPENING)
    problem = r"the run r is at work in process \d+ on .*taken over.*stir for (59|60) s more"
    with pytest.raises(JournalError, match=problem):
        await place.journal(lease=60).claim("r")


@case
async def a_run_that_was_given_back_is_taken_over(place: Place) -> None:
    journal = place.journal()
    lease = await journal.open("r", OPENING)
    await journal.release(lease)
    assert place.owner("r") == ""
    with pytest.raises(JournalError, match="was taken over"):
        await journal.append(lease, [CallStarted("k", 1)], durable=False)
    taken = await place.journal().claim("r")
    assert taken.epoch == 2
    with pytest.raises(JournalError, match="was taken over by another process"):
        await journal.append(lease, [CallStarted("k", 1)], durable=True)


@case
async def a_run_whose_owner_is_dead_is_taken_over_at_once(place: Place) -> None:
    await place.journal().open("r", OPENING)
    place.owned_by("r", dead_owner())
    assert (await place.journal().claim("r")).epoch == 2


@case
async def an_owner_that_does_not_stir_loses_its_run_and_cannot_write_any_more(
    place: Place,
) -> None:
    stopped = place.journal()
    stale = await stopped.open("r", OPENING)
    place.expire("r")
    lease = await place.journal().claim("r")
    assert lease.epoch == 2
    with pytest.raises(JournalError, match="the run r was taken over by another process"):
        await stopped.append(stale, [CallStarted("a", 1)], durable=True)
    await stopped.release(stale)
    assert await entries_of(stopped) == [OPENING]
    with pytest.raises(JournalError, match="at work"):
        await place.journal().claim("r")


@case
async def a_lease_of_before_gives_nothing_back_of_the_newest(place: Place) -> None:
    journal = place.journal()
    stale = await journal.open("r", OPENING)
    place.expire("r")
    lease = await journal.claim("r")
    await journal.release(stale)
    await journal.append(lease, [CallStarted("a", 1)], durable=True)
    assert await entries_of(journal) == [OPENING, CallStarted("a", 1)]


@case
async def a_lease_is_renewed_while_its_owner_lives(place: Place) -> None:
    journal = place.journal(lease=0.3)
    await journal.open("r", OPENING)
    first = place.lease_end("r")
    with anyio.fail_after(10):
        while place.lease_end("r") <= first:  # noqa: ASYNC110 - a thread writes
            await anyio.sleep(0.02)


@case
async def of_many_who_resume_one_gets_the_run(place: Place) -> None:
    for number in range(5):
        name = f"r{number}"
        await place.journal().open(name, OPENING)
        place.owned_by(name, dead_owner())
        won: list[Lease] = []

        async def claim(name: str, won: list[Lease]) -> None:
            with suppress(JournalError):
                won.append(await place.journal().claim(name))

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(claim, name, won)
        assert [lease.epoch for lease in won] == [2]


@case
async def a_cancelled_run_still_writes_what_it_knows(place: Place) -> None:
    journal = place.journal()
    lease = await journal.open("r", OPENING)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await journal.append(lease, [CallStarted("a", 1)], durable=True)
    assert await entries_of(journal) == [OPENING, CallStarted("a", 1)]


@case
async def calls_of_one_step_write_at_the_same_time(place: Place) -> None:
    journal = place.journal()
    lease = await journal.open("r", OPENING)

    async def write(number: int) -> None:
        await journal.append(lease, [CallStarted(str(number), 1)], durable=number % 2 == 0)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(write, number)
    keys = [entry.key for entry in await entries_of(journal) if isinstance(entry, CallStarted)]
    assert sorted(keys, key=int) == [str(number) for number in range(20)]


@case
async def entries_that_vanish_while_a_run_is_at_work_stop_it(place: Place) -> None:
    journal = place.journal()
    lease = await journal.open("r", OPENING)
    await journal.append(lease, [INTENDED], durable=True)
    place.cut("r", 2)
    with pytest.raises(JournalError, match="while it was at work: it ends with entry 1, not 2"):
        await journal.append(lease, [CallStarted("k", 1)], durable=True)
    await journal.release(lease)
    with pytest.raises(JournalError, match=r"has lost a part of the run r \(.*cannot be gone on"):
        await journal.claim("r")
    assert place.owner("r") == "", "who may not have it does not hold it"
    with pytest.raises(JournalError, match="the run r"):
        await journal.read("r")
    examined = await journal.examine("r")
    assert len(examined.records) == 1
    assert [each.where for each in examined.damage] == ["entry 2"]
    (summary,) = await journal.runs(1)
    assert summary.damage


@case
async def an_entry_that_was_changed_is_found_and_not_gone_on_with(place: Place) -> None:
    journal = place.journal()
    lease = await journal.open("r", OPENING)
    await journal.append(lease, [INTENDED, CallStarted("k", 1)], durable=True)
    await journal.release(lease)
    place.change("r", 2)
    examined = await journal.examine("r")
    assert [each.seq for each in examined.records] == [1, 3]
    assert [str(each.where) for each in examined.damage if each.lost] == ["entry 2"]
    with pytest.raises(JournalError, match="has lost a part of the run r"):
        await journal.claim("r")


@case
async def a_run_at_work_is_not_deleted_and_one_that_is_leaves_nothing(place: Place) -> None:
    journal = place.journal()
    lease = await journal.open("r", OPENING)
    with pytest.raises(JournalError, match=r"is at work in .*; end that first"):
        await journal.delete("r")
    await journal.release(lease)
    assert await journal.delete("r")
    assert not await journal.delete("r")
    assert place.rows() == 0


@case
async def a_list_of_runs_tells_no_secret(place: Place) -> None:
    keep_secret("sk-very-secret-indeed")
    journal = place.journal()
    opening = RunOpened((UserMessage("Use sk-very-secret-indeed."),), "scripted")
    lease = await journal.open("r", opening)
    await journal.append(lease, [INTENDED], durable=True)
    (summary,) = await journal.runs()
    assert summary.question.startswith("Use ")
    assert "sk-very-secret" not in summary.question
    kept = str((await journal.read("r"))[0].entry)
    assert "sk-very-secret-indeed" in kept, "the run itself goes on with it"


@case
async def a_run_that_died_goes_on_elsewhere_and_repeats_nothing(place: Place) -> None:
    paid: list[int] = []

    @tool
    def pay(invoice: int) -> str:
        """Pays an invoice."""
        paid.append(invoice)
        return f"paid {invoice}"

    gone = ConnectionError("the process is gone")
    agent = Agent(ScriptedModel([call("pay", invoice=7), gone]), tools=[pay])
    with pytest.raises(ConnectionError):
        await agent.run("Pay.", journal=place.journal(), run_id="r")
    again = Agent(ScriptedModel([say("All is paid.")]), tools=[pay])
    result = await again.resume("r", journal=place.journal())
    assert (result.output, paid) == ("All is paid.", [7])
    assert (await again.resume("r", journal=place.journal())).output == "All is paid."


@case
async def the_turns_of_a_conversation_are_in_order_and_the_newest_one_comes_first(
    place: Place,
) -> None:
    journal = place.journal()
    for run_id, name in (("a1", "ana"), ("b1", "bob"), ("a2", "ana"), ("r", "")):
        await journal.release(await journal.open(run_id, replace(OPENING, conversation=name)))
    other = place.journal()
    assert await other.turns("ana") == ["a1", "a2"]
    assert await other.turns("") == await other.turns("nobody") == []
    assert await other.conversations() == ["ana", "bob"]
    assert await other.delete("a2")
    assert (await other.turns("ana"), await other.conversations()) == (["a1"], ["bob", "ana"])
