"""A run whose model writes summaries: what it sends, costs and tells, and how it is resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import Agent, Context, ContextCompacted, Limits, tool
from agentkit.context import ClearOldResults, Summarize
from agentkit.errors import ModelConnectionError
from agentkit.events import Event, RunResult
from agentkit.journal import Entry, Journal, Lease, SQLiteJournal, summary_of
from agentkit.journal.entries import Raw, dump_entry, kind_of
from agentkit.messages import ModelRequest, Usage, text_of
from agentkit.runtime import replay
from agentkit.testing import call, say
from agentkit.testing.scripted import Reply
from agentkit.toolset import Tool
from tests.agent.following import Windowed
from tests.mortal import Killed, Mortal

STEPS = 24
CONTEXT = Context(compact_at=2_400, compaction=[ClearOldResults(keep=2), Summarize(tokens=300)])
OPTIONS: dict[str, Any] = {"context": CONTEXT, "limits": Limits(steps=100)}


def reader(dies_at: int | None = None) -> Tool[..., Any]:
    """Reads a shelf; dies once where it is told to."""
    left = [dies_at]

    @tool(effect="idempotent")
    def read(number: int) -> str:
        """Reads a shelf."""
        if number == left[0]:
            left[0] = None
            raise Killed
        return f"shelf_{number} holds code {number}77. " + "word " * 60

    return read


class Talker:
    """Reads shelf after shelf, and writes a summary where it is asked for one."""

    def __init__(self, after: int = 0, summary: str = "I read some shelves.") -> None:
        self.read, self.summary = after, summary
        self.asked: list[ModelRequest] = []

    def __call__(self, request: ModelRequest) -> Reply:
        if request.tool_choice.mode == "none":
            self.asked.append(request)
            return Reply(say(self.summary).message, "stop", Usage(1_000, 20, 990))
        if self.read == STEPS:
            return say("Done.")
        self.read += 1
        return call("read", number=self.read - 1)


def model_of(talker: Talker) -> Windowed:
    return Windowed(talker, 8_192)


def steps_of(model: Windowed) -> list[ModelRequest]:
    """The requests that were not for a summary."""
    return [request for request in model.requests if request.tool_choice.mode != "none"]


async def watched(agent: Agent[Any, str]) -> tuple[list[Event], RunResult[str]]:
    events: list[Event] = [event async for event in agent.stream("Read.", run_id="r")]
    result: RunResult[str] = getattr(events[-1], "result")  # noqa: B009 - of the last event alone
    return events, result


def test_a_run_tells_of_its_summaries_and_pays_for_them() -> None:
    talker = Talker()
    agent = Agent(model_of(talker), tools=[reader()], observers=(), **OPTIONS)
    events, result = anyio.run(watched, agent)
    compacted = [event for event in events if isinstance(event, ContextCompacted)]
    summaries = [event.summary for event in compacted if event.summary is not None]
    assert len(summaries) == len(talker.asked) >= 2
    assert all(summary.text for summary in summaries)
    assert result.context.summary == summaries[-1].text
    paid = Usage(1_000 * len(summaries), 20 * len(summaries), 990 * len(summaries))
    steps = sum([Usage(10, 5)] * (STEPS + 1), Usage())
    assert result.usage == steps + paid


def test_what_a_summary_stands_for_can_still_be_read() -> None:
    found: list[str] = []

    class Asking(Talker):
        def __call__(self, request: ModelRequest) -> Reply:
            newest = text_of(request.messages[-1].content)
            if request.tool_choice.mode != "none" and self.read == STEPS:
                if "holds code 077" in newest:
                    found.append(newest)
                    return say("Done.")
                return call("recall", words="shelf_0 code")
            return super().__call__(request)

    agent = Agent(model_of(Asking()), tools=[reader()], observers=(), **OPTIONS)
    result = agent.run_sync("Read.")
    assert result.output == "Done."
    assert "shelf_0 holds code 077" in found[0]


@pytest.mark.parametrize("dies_at", [9, 17, 23])
def test_a_run_that_died_behind_a_summary_goes_on_with_the_same_prompt(
    tmp_path: Path, dies_at: int
) -> None:
    journal = SQLiteJournal(tmp_path / "runs.db")

    async def main() -> tuple[Sequence[ModelRequest], Sequence[ModelRequest], RunResult[Any], Any]:
        whole = model_of(Talker())
        expected = await Agent(whole, tools=[reader()], observers=(), **OPTIONS).run("Read.")
        first, dying = model_of(Talker()), reader(dies_at)
        agent = Agent(first, tools=[dying], executor=Mortal(), observers=(), **OPTIONS)
        with pytest.raises(Killed):
            await agent.run("Read.", journal=journal, run_id="r")
        records = await journal.read("r")
        lines = [Raw(r.seq, r.epoch, r.at, kind_of(r.entry), dump_entry(r.entry)) for r in records]
        died = summary_of("r", lines)
        rest = model_of(Talker(after=dies_at + 1))
        agent = Agent(rest, tools=[dying], observers=(), **OPTIONS)
        resumed = await agent.resume("r", journal=journal)
        assert resumed.usage == expected.usage
        assert resumed.context.summary == expected.context.summary
        asked = len(first.requests) - len(steps_of(first))
        assert died.usage.cached_input_tokens == 990 * asked, "the list of runs counts them too"
        return steps_of(whole)[dies_at + 1 :], steps_of(rest), expected, resumed

    expected, resumed, _, _ = anyio.run(main)
    journal.close()
    assert [request.messages for request in expected] == [request.messages for request in resumed]


class CutOff:
    """A journal that nothing reaches any more once its process is gone."""

    def __init__(self, journal: Journal) -> None:
        self.open, self.claim, self.read, self.release = (
            journal.open,
            journal.claim,
            journal.read,
            journal.release,
        )
        self.turns = journal.turns
        self._journal, self.gone = journal, False

    async def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:
        if not self.gone:
            await self._journal.append(lease, entries, durable=durable)


class Numbered(Talker):
    """Writes another summary each time; perhaps dies in its second one, or in the reply behind."""

    def __init__(self, after: int = 0, written: int = 0, dies_in: str = "") -> None:
        super().__init__(after)
        self.written, self._dies_in = written, dies_in
        self.gone: Callable[[], None] = lambda: None

    def __call__(self, request: ModelRequest) -> Reply:
        summary = request.tool_choice.mode == "none"
        if self._dies_in == ("summary" if summary else "reply") and self.written == 2 - summary:
            self.gone()
            raise Killed
        self.written += summary
        self.summary = f"What I wrote the time number {self.written}."
        return super().__call__(request)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("dies_in", ["summary", "reply"])
def test_a_summary_that_is_paid_for_is_asked_for_once_whenever_the_run_dies(
    tmp_path: Path, dies_in: str, at_once: bool
) -> None:
    kept = SQLiteJournal(tmp_path / "runs.db")
    journal, dying, seen = CutOff(kept), Numbered(dies_in=dies_in), list[Event]()

    def gone() -> None:
        journal.gone = at_once

    async def main() -> None:
        talker = Numbered()
        whole = model_of(talker)
        expected = await Agent(whole, tools=[reader()], observers=(), **OPTIONS).run("Read.")
        dying.gone = gone
        observers = [lambda _run, event: seen.append(event)]
        agent = Agent(model_of(dying), tools=[reader()], observers=observers, **OPTIONS)
        with pytest.raises(Killed):
            await agent.run("Read.", journal=journal, run_id="r")
        rest = Numbered(after=dying.read, written=dying.written)
        model = model_of(rest)
        agent = Agent(model, tools=[reader()], observers=observers, **OPTIONS)
        resumed = await agent.resume("r", journal=kept)
        assert resumed.usage == expected.usage
        assert resumed.context.prompts == expected.context.prompts
        assert len(dying.asked) + len(rest.asked) == len(talker.asked)
        wanted = steps_of(whole)[dying.read :]
        assert [request.messages for request in wanted] == [
            request.messages for request in steps_of(model)
        ]

    anyio.run(main)
    told = [e.summary.text for e in seen if isinstance(e, ContextCompacted) and e.summary]
    assert len(told) == len(set(told)), "each is told once"
    assert all(f"number {n}." in text for n, text in enumerate(told, 1))
    kept.close()


def test_a_summary_that_could_not_be_had_is_asked_for_again_by_a_resumed_run(
    tmp_path: Path,
) -> None:
    journal, down = SQLiteJournal(tmp_path / "runs.db"), [True]

    class Down(Talker):
        def __call__(self, request: ModelRequest) -> Reply:
            if down[0] and (self.asked or request.tool_choice.mode == "none"):
                self.asked.append(request)
                raise ModelConnectionError("nobody answers")
            return super().__call__(request)

    async def main() -> tuple[Talker, RunResult[Any]]:
        first = Down()
        agent = Agent(model_of(first), tools=[reader()], observers=(), **OPTIONS)
        with pytest.raises(ModelConnectionError):
            await agent.run("Read.", journal=journal, run_id="r")
        down[0] = False
        rest = Down(after=first.read)
        agent = Agent(model_of(rest), tools=[reader()], observers=(), **OPTIONS)
        return rest, await agent.resume("r", journal=journal)

    rest, resumed = anyio.run(main)
    journal.close()
    assert len(rest.asked) >= 2
    assert resumed.usage.cached_input_tokens == 990 * len(rest.asked)
    assert resumed.context.summary


def test_a_replay_of_such_a_run_is_identical_without_asking_anybody() -> None:
    agent = Agent(model_of(Talker()), tools=[reader()], observers=(), **OPTIONS)
    events, _ = anyio.run(watched, agent)
    report = anyio.run(replay, agent, events)
    assert report.identical, str(report)


def test_a_replay_of_a_run_that_failed_behind_a_summary_spends_what_that_took() -> None:
    class Failing(Talker):
        def __call__(self, request: ModelRequest) -> Reply:
            if request.tool_choice.mode != "none" and len(self.asked) == 2:
                raise ModelConnectionError("nobody answers")
            return super().__call__(request)

    events = list[Event]()
    observers = [lambda _run, event: events.append(event)]
    failing = Agent(model_of(Failing()), tools=[reader()], observers=observers, **OPTIONS)
    with pytest.raises(ModelConnectionError):
        failing.run_sync("Read.")
    agent = Agent(model_of(Talker()), tools=[reader()], observers=(), **OPTIONS)
    report = anyio.run(replay, agent, events)
    assert report.identical, str(report)


@pytest.mark.parametrize(
    ("wrote", "why"),
    [
        ("", "the model wrote nothing"),
        ("call:read{number:3}", "the model wrote a call in a wrong form"),
    ],
)
def test_a_summary_that_does_not_come_is_told(wrote: str, why: str) -> None:
    agent = Agent(model_of(Talker(summary=wrote)), tools=[reader()], observers=(), **OPTIONS)
    events, result = anyio.run(watched, agent)
    told = [e.summary for e in events if isinstance(e, ContextCompacted) and e.summary is not None]
    assert told
    assert {summary.problem for summary in told} == {why}
    assert result.output == "Done."
