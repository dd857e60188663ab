"""What is read back of a conversation is what its runs returned."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from agentkit import Agent, SQLiteJournal, tool
from agentkit.errors import AgentKitError
from agentkit.events import Event, RunFinished
from agentkit.journal import StoredJournal
from agentkit.messages import Message, mended_history, text_of
from agentkit.models import VLLMModel
from agentkit.policy import Deny
from agentkit.testing import ScriptedModel, call, say
from agentkit.testing.faults import FaultServer
from agentkit.testing.scenarios import Scenario, World
from agentkit.testing.scenarios.model_table import CALL_SCENARIOS, REPLY_SCENARIOS
from agentkit.testing.scenarios.server_table import TOOL_SCENARIOS
from agentkit.trace import Library, TraceError, said_by, said_in

pytestmark = pytest.mark.anyio


PLAYED = [each for each in CALL_SCENARIOS + REPLY_SCENARIOS + TOOL_SCENARIOS if not each.cancel]

# --- one run -------------------------------------------------------------------------------------


class Seen:
    """The messages of a run's result, also of one that raises."""

    messages: tuple[Message, ...] = ()

    def __call__(self, run_id: str, event: Event) -> None:  # noqa: ARG002 - an observer's shape
        if isinstance(event, RunFinished):
            self.messages = event.result.messages


async def played(scenario: Scenario, journal: StoredJournal) -> list[Message]:
    """The messages that a scenario ends with; the journal has its run."""
    world, seen = World(), Seen()
    server = FaultServer(scenario.script, then=scenario.afterwards, first=scenario.first)
    server.takes_grammar = scenario.grammar
    async with server, VLLMModel(server.url, timeouts=scenario.clocks(stream=True)) as model:
        agent = Agent(
            model,
            tools=world.tools(scenario.tools),
            limits=scenario.limits,
            approve=(lambda _: Deny("not today")) if scenario.denied else None,
            observers=[seen],
        )
        with suppress(AgentKitError):
            await agent.run(scenario.task.question, journal=journal, run_id=scenario.name)
    return mended_history(seen.messages)


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_record_of_any_run_holds_the_messages_that_it_returned(tmp_path: Path) -> None:
    places, wrong = anyio.CapacityLimiter(8), list[str]()
    with SQLiteJournal(tmp_path / "runs.db") as journal:

        async def one(scenario: Scenario) -> None:
            async with places:
                returned = await played(scenario, journal)
                if await said_by(journal, scenario.name) != returned:
                    wrong.append(scenario.name)

        async with anyio.create_task_group() as group:
            for scenario in PLAYED:
                group.start_soon(one, scenario)
    assert wrong == []


# --- turns ---------------------------------------------------------------------------------------


@tool(effect="pure")
def forecast(city: str) -> str:
    """The weather of a city."""
    return f"{city}: rain"


def agent_of(*script: object) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(script)  # type: ignore[arg-type] # what a test makes up
    return Agent(model, tools=[forecast], instructions="Be short.", observers=()), model


async def test_the_next_turn_knows_all_that_was_said_before(tmp_path: Path) -> None:
    weather = [call("forecast", city="Turin"), say("Rain."), say("Rome, too.")]
    agent, model = agent_of(*weather)
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        first = await agent.run("And in Turin?", journal=journal, conversation="ana")
        await agent.run("And in Rome?", journal=journal, conversation="ana")
        asked = model.requests[2].messages
        assert asked[: len(first.messages)] == first.messages
        assert text_of(asked[-1].content or "") == "And in Rome?"
        assert len(await journal.turns("ana")) == 2
        assert await journal.turns("bob") == []


async def test_a_fork_begins_with_what_was_said_by_the_end_of_a_run(tmp_path: Path) -> None:
    agent, model = agent_of(say("One."), say("Two."), say("Other."))
    with SQLiteJournal(tmp_path / "runs.db") as journal:
        await agent.run("1?", journal=journal, conversation="ana", run_id="first")
        await agent.run("2?", journal=journal, conversation="ana")
        before = await said_by(journal, "first")
        await agent.run("Or?", journal=journal, conversation="fork", history=before)
        assert [text_of(m.content or "") for m in model.requests[2].messages] == [
            "Be short.",
            "1?",
            "One.",
            "Or?",
        ]
        assert [text_of(m.content or "") for m in await said_in(journal, "ana")][-1] == "Two."
        assert await journal.conversations() == ["fork", "ana"]


async def test_a_conversation_without_a_journal_is_refused() -> None:
    agent, _ = agent_of(say("Hi."))
    with pytest.raises(ValueError, match="give journal= beside conversation="):
        await agent.run("Hi?", conversation="ana")


async def test_conversations_are_found_by_what_was_said_and_deleted_whole(tmp_path: Path) -> None:
    place = tmp_path / "runs.db"
    agent, _ = agent_of(call("forecast", city="Turin"), say("Wet."), say("Dry."), say("Bye."))
    with SQLiteJournal(place) as journal:
        await agent.run("And there?", journal=journal, conversation="ana")
        await agent.run("And here?", journal=journal, conversation="bob")
        await agent.run("Thanks", journal=journal, conversation="ana")
    library = Library(journal=place)
    found = library.conversations(holding="TURIN: R")
    assert [(each.name, each.questions) for each in found] == [("ana", ["And there?", "Thanks"])]
    assert [each.name for each in library.conversations()] == ["ana", "bob"]
    assert library.delete_conversation("ana") == 2
    assert [run.question for run in library.runs()] == ["And here?"]
    with pytest.raises(TraceError, match="no conversation 'ana'"):
        library.conversation("ana")
