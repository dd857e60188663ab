from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import Agent, Limits, ToolContext, tool
from agentkit.errors import JournalError, ModelConnectionError, ToolError
from agentkit.events import Event, RunResult, RunStarted, ToolFinished
from agentkit.journal import CallDone, CallIntended, Entry, Journal, Lease, SQLiteJournal
from agentkit.messages import ModelSettings, ToolMessage
from agentkit.policy import Approval, Approve, Decision, Policy
from agentkit.testing import ScriptedModel, call, calls, say
from agentkit.toolset import Happened, Tool
from tests.mortal import Killed, Mortal
from tests.pausing import pause_of


class Desk:
    """Tools that count what they do, and die where they are told to."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.dies_at = dies_at
        self.ran: list[int] = []

    def tools(self) -> list[Tool[..., Any]]:
        @tool
        def pay(number: int) -> str:
            """Pays once."""
            return self.do(number)

        @tool(effect="pure")
        def look(number: int) -> str:
            """Looks."""
            return self.do(number)

        @tool(effect="probed", probe=lambda arguments, _ctx: self._probe(arguments["number"]))
        def write(number: int) -> str:
            """Writes."""
            return self.do(number)

        return [pay, look, write]

    def do(self, number: int) -> str:
        if number == self.dies_at:
            self.dies_at = None
            self.ran.append(number)
            raise Killed
        self.ran.append(number)
        return f"did {number}"

    def _probe(self, number: int) -> Happened | None:
        if number == 66:
            raise ToolError("Somebody else has changed it.")
        if number == 67:
            raise KeyError("its table")
        return Happened(f"had done {number}") if number in self.ran else None


class Broken:
    """A journal that fails for one kind of entry, as a full disk would."""

    def __init__(self, journal: Journal, kind: type[Any]) -> None:
        self.open, self.claim = journal.open, journal.claim
        self.read, self.release, self.turns = journal.read, journal.release, journal.turns
        self._journal, self._kind = journal, kind

    async def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:
        if any(isinstance(entry, self._kind) for entry in entries):
            raise JournalError("the disk is full")
        await self._journal.append(lease, entries, durable=durable)


SCRIPT = [call("pay", number=1), calls(("pay", {"number": 2}), ("look", {"number": 3}))]


def run_and_die(
    path: Path, dies_at: int, script: Sequence[Any] = (*SCRIPT, say("Done."))
) -> tuple[RunResult, Desk, ScriptedModel]:
    """A run that dies in a tool, and what its resumption came to."""
    desk = Desk(dies_at)
    first = Agent(ScriptedModel(script), tools=desk.tools(), observers=(), executor=Mortal())
    journal = SQLiteJournal(path / "runs.db")

    async def main() -> tuple[RunResult, ScriptedModel]:
        with pytest.raises(Killed):
            await first.run("Go.", journal=journal, run_id="r")
        asked = len(first.model.requests)  # type: ignore[attr-defined]  # a ScriptedModel
        rest = ScriptedModel(list(script)[asked:])
        again = Agent(rest, tools=desk.tools(), observers=())
        return await again.resume("r", journal=journal), rest

    result, model = anyio.run(main)
    journal.close()
    return result, desk, model


def read(result: RunResult) -> dict[str, str]:
    """What the model read as the result of each call."""
    return {m.call_id: str(m.content) for m in result.messages if isinstance(m, ToolMessage)}


def test_what_is_to_happen_once_is_not_started_again_and_the_model_is_told(tmp_path: Path) -> None:
    result, desk, model = run_and_die(tmp_path, dies_at=2)
    assert result.output == "Done."
    assert desk.ran.count(1) == desk.ran.count(2) == 1
    assert read(result)["call_0"] == "did 1"
    assert read(result)["call_1"] == (
        "Error: the process that ran this died while pay was running. "
        "It may or may not have taken effect: check before you call it again."
    )
    assert len(model.requests) == 1, "recorded replies are not asked for again"


def test_what_changes_nothing_runs_again(tmp_path: Path) -> None:
    result, desk, _ = run_and_die(tmp_path, dies_at=3)
    assert read(result)["call_2"] == "did 3"
    assert desk.ran.count(3) == 2
    assert desk.ran.count(2) <= 1, "its thread may not have begun"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (5, "had done 5"),
        (66, "check before you call it again. Somebody else has changed it."),
        (67, "check before you call it again. KeyError: 'its table'"),
    ],
)
def test_what_can_be_found_out_is_asked(tmp_path: Path, number: int, text: str) -> None:
    script = [call("write", number=number), say("Done.")]
    result, desk, _ = run_and_die(tmp_path, dies_at=number, script=script)
    assert read(result)["call_0"].endswith(text)
    assert desk.ran.count(number) == 1


def test_a_run_that_ended_gives_its_result_again(tmp_path: Path) -> None:
    desk, model = Desk(), ScriptedModel([*SCRIPT, say("Done.")])
    agent = Agent(model, tools=desk.tools(), observers=())
    journal = SQLiteJournal(tmp_path / "runs.db")

    async def main() -> tuple[RunResult, RunResult]:
        first = await agent.run("Go.", journal=journal, run_id="r")
        return first, await agent.resume("r", journal=journal)

    first, again = anyio.run(main)
    assert first == again
    assert (len(model.requests), sorted(desk.ran)) == (3, [1, 2, 3])
    journal.close()


def test_a_run_whose_server_went_away_goes_on_when_it_is_back(tmp_path: Path) -> None:
    desk = Desk()
    script: list[Any] = [call("pay", number=1), ModelConnectionError("gone"), say("Done.")]
    agent = Agent(ScriptedModel(script), tools=desk.tools(), observers=(), executor=Mortal())
    journal = SQLiteJournal(tmp_path / "runs.db")

    async def main() -> RunResult:
        with pytest.raises(ModelConnectionError):
            await agent.run("Go.", journal=journal, run_id="r")
        return await agent.resume("r", journal=journal)

    result = anyio.run(main)
    assert (result.output, result.steps, desk.ran) == ("Done.", 2, [1])
    journal.close()


def test_a_limit_can_be_raised_and_the_settings_stay(tmp_path: Path) -> None:
    desk, model = Desk(), ScriptedModel([*SCRIPT, say("Done.")])
    agent = Agent(model, tools=desk.tools(), observers=())
    journal = SQLiteJournal(tmp_path / "runs.db")
    settings = ModelSettings(temperature=0.25)

    async def main() -> tuple[RunResult, ...]:
        limits = Limits(steps=2)
        return (
            await agent.run("Go.", journal=journal, run_id="r", limits=limits, settings=settings),
            await agent.resume("r", journal=journal),
            await agent.resume("r", journal=journal, limits=Limits(steps=9)),
        )

    stops = [(result.stop_reason, result.steps) for result in anyio.run(main)]
    assert stops == [("steps", 2), ("steps", 2), ("answer", 3)]
    assert model.requests[-1].settings.temperature == 0.25
    journal.close()


@pytest.mark.parametrize("kind", [CallIntended])
def test_nothing_starts_whose_intent_is_not_durable(tmp_path: Path, kind: type[Any]) -> None:
    desk = Desk()
    agent = Agent(ScriptedModel([*SCRIPT]), tools=desk.tools(), observers=())
    kept = SQLiteJournal(tmp_path / "runs.db")
    with pytest.raises(JournalError, match="disk is full") as caught:
        anyio.run(lambda: agent.run("Go.", journal=Broken(kept, kind)))
    assert desk.ran == []
    assert caught.value.result.stop_reason == "error"
    kept.close()


def test_a_result_that_could_not_be_kept_is_unknown_later(tmp_path: Path) -> None:
    desk = Desk()
    kept = SQLiteJournal(tmp_path / "runs.db")
    agent = Agent(ScriptedModel([*SCRIPT[:1], say("Done.")]), tools=desk.tools(), observers=())

    async def main() -> RunResult:
        with pytest.raises(JournalError):
            await agent.run("Go.", journal=Broken(kept, CallDone), run_id="r")
        return await agent.resume("r", journal=kept)

    assert "may or may not" in read(anyio.run(main))["call_0"]
    assert desk.ran == [1]
    kept.close()


def test_who_watches_sees_each_thing_once_over_both_processes(tmp_path: Path) -> None:
    seen: list[Event] = []
    desk = Desk(dies_at=2)
    journal = SQLiteJournal(tmp_path / "runs.db")

    def agent(script: Sequence[Any]) -> Agent:
        watching = [lambda _run, event: seen.append(event)]
        return Agent(
            ScriptedModel(script), tools=desk.tools(), observers=watching, executor=Mortal()
        )

    async def main() -> None:
        with pytest.raises(Killed):
            await agent(SCRIPT).run("Go.", journal=journal, run_id="r")
        await agent([say("Done.")]).resume("r", journal=journal)

    anyio.run(main)
    finished = [event.call.id for event in seen if isinstance(event, ToolFinished)]
    assert sorted(finished) == ["call_0", "call_1", "call_2"]
    assert [event.resumed for event in seen if isinstance(event, RunStarted)] == [False, True]
    journal.close()


def test_a_persons_decision_is_asked_for_once(tmp_path: Path) -> None:
    desk = Desk(dies_at=2)
    journal = SQLiteJournal(tmp_path / "runs.db")
    asked: list[int] = []

    def approve(approval: Approval) -> Decision:
        asked.append(approval.call.arguments["number"])
        return Approve()

    def agent(script: Sequence[Any]) -> Agent:
        policy = Policy(lambda call: "ask" if call.tool.name == "pay" else None, tainted="allow")
        return Agent(
            ScriptedModel(script),
            tools=desk.tools(),
            observers=(),
            executor=Mortal(),
            policy=policy,
            approve=approve,
        )

    async def main() -> None:
        with pytest.raises(Killed):
            await agent(SCRIPT).run("Go.", journal=journal, run_id="r")
        await agent([call("pay", number=2), say("Done.")]).resume("r", journal=journal)

    anyio.run(main)
    assert asked == [1, 2, 2], "the second call of the same kind is another question"
    assert desk.ran.count(1) == 1
    journal.close()


def test_a_paused_run_goes_on_from_the_journal_with_the_decisions(tmp_path: Path) -> None:
    desk = Desk()
    journal = SQLiteJournal(tmp_path / "runs.db")
    model = ScriptedModel([call("pay", number=1), call("pay", number=1), say("Done.")])
    agent = Agent(model, tools=desk.tools(), observers=(), policy=Policy(lambda _call: "ask"))

    async def main() -> list[RunResult]:
        first = await agent.run("Go.", journal=journal, run_id="r")
        again = await agent.resume("r", journal=journal)
        yes = {pause_of(first).waiting[0].id: Approve()}
        second = await agent.resume(pause_of(first), yes, journal=journal)
        return [first, again, second, await agent.resume("r", journal=journal)]

    results = anyio.run(main)
    assert [result.stop_reason for result in results] == ["paused"] * 4
    assert [result.steps for result in results] == [1, 1, 2, 2]
    assert desk.ran == [1], "one yes is for one call"
    journal.close()


def test_a_run_is_resumed_only_from_where_it_is_kept(tmp_path: Path) -> None:
    agent = Agent(ScriptedModel([say("Done.")]), observers=())
    journal = SQLiteJournal(tmp_path / "runs.db")

    async def main() -> None:
        with pytest.raises(JournalError, match="from the journal that keeps it"):
            await agent.resume("r")
        with pytest.raises(JournalError, match="has no run r"):
            await agent.resume("r", journal=journal)
        await agent.run("Go.", journal=journal, run_id="r")
        with pytest.raises(JournalError, match="has a run r already"):
            await agent.run("Go.", journal=journal, run_id="r")

    anyio.run(main)
    journal.close()


@pytest.mark.parametrize("dies_at", [1, 2])
def test_an_agent_without_the_tools_of_the_record_does_not_go_on_with_it(
    tmp_path: Path, dies_at: int
) -> None:
    desk = Desk(dies_at)
    script = [call("pay", number=1), call("pay", number=2), say("Done.")]
    journal = SQLiteJournal(tmp_path / "runs.db")

    async def main() -> None:
        with pytest.raises(Killed):
            await Agent(
                ScriptedModel(script), tools=desk.tools(), observers=(), executor=Mortal()
            ).run("Go.", journal=journal, run_id="r")
        other = Agent(ScriptedModel(script[dies_at:]), tools=desk.tools()[1:], observers=())
        with pytest.raises(JournalError, match=r"the run r called pay.* no tool.*began it"):
            await other.resume("r", journal=journal)
        again = Agent(ScriptedModel(script[dies_at:]), tools=desk.tools(), observers=())
        assert (await again.resume("r", journal=journal)).output == "Done."

    anyio.run(main)
    assert desk.ran.count(dies_at) == 1
    journal.close()


def test_a_crashed_call_is_settled_by_the_graver_of_its_effects_then_and_now(
    tmp_path: Path,
) -> None:
    desk = Desk(1)
    looks = {"pure": tool(effect="pure", name="look"), "once": tool(effect="once", name="look")}
    journal = SQLiteJournal(tmp_path / "runs.db")

    def agent(effect: str, *script: Any) -> Agent[Any, str]:
        return Agent(
            ScriptedModel(script), tools=[looks[effect](desk.do)], observers=(), executor=Mortal()
        )

    async def main() -> None:
        for run_id, then, now in (("a", "once", "pure"), ("b", "pure", "once")):
            desk.dies_at = 1
            with pytest.raises(Killed):
                await agent(then, call("look", number=1)).run("Go.", journal=journal, run_id=run_id)
            result = await agent(now, say("Done.")).resume(run_id, journal=journal)
            assert "may or may not have taken effect" in read(result)["call_0"]

    anyio.run(main)
    assert desk.ran == [1, 1]
    journal.close()


def test_every_attempt_after_a_crash_has_the_same_key(tmp_path: Path) -> None:
    keys: list[str] = []

    @tool(effect="idempotent")
    def put(ctx: ToolContext[Any]) -> None:
        """Puts."""
        keys.append(ctx.idempotency_key)
        if len(keys) == 1:
            raise Killed

    journal = SQLiteJournal(tmp_path / "runs.db")

    async def main() -> None:
        first = Agent(ScriptedModel([call("put")]), tools=[put], observers=(), executor=Mortal())
        with pytest.raises(Killed):
            await first.run("Go.", journal=journal, run_id="r")
        again = Agent(ScriptedModel([say("Done.")]), tools=[put], observers=())
        await again.resume("r", journal=journal)

    anyio.run(main)
    assert len(keys) == 2
    assert keys[0] == keys[1]
    journal.close()


def test_what_a_sub_agent_has_spent_counts_after_a_crash(tmp_path: Path) -> None:
    helper = Agent(ScriptedModel([say("Helped.")]), observers=())
    journal = SQLiteJournal(tmp_path / "runs.db")
    first: list[Any] = [call("help", task="Think."), ModelConnectionError("gone")]
    tools = [helper.as_tool("help", "Helps.")]

    async def main() -> RunResult:
        with pytest.raises(ModelConnectionError):
            await Agent(ScriptedModel(first), tools=tools, observers=()).run(
                "Go.", journal=journal, run_id="r"
            )
        again = Agent(ScriptedModel([say("Done.")]), tools=tools, observers=())
        return await again.resume("r", journal=journal)

    result = anyio.run(main)
    assert (result.output, result.usage.output_tokens) == ("Done.", 15)
    journal.close()
