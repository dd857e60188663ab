"""Agents as tools: limits, input, events, links, and what is left of those that do not end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentkit import (
    Agent,
    Cancellation,
    Event,
    Limits,
    RunFinished,
    RunResult,
    SQLiteJournal,
    SubRunEvent,
    Tool,
    ToolContext,
    ToolDefinitionError,
    ToolFinished,
    ToolStarted,
    tool,
)
from agentkit.messages import ToolMessage, UserMessage, text_of
from agentkit.testing import ScriptedModel, calls, say
from agentkit.testing import call as ask
from agentkit.trace import Library

pytestmark = pytest.mark.anyio


@tool(effect="pure")
def look_up(word: str) -> str:
    """Looks a word up."""
    return f"{word} means {word[::-1]}"


@tool
async def dig(context: ToolContext[Any]) -> str:
    """Digs until somebody says stop."""
    context.report("digging")
    await anyio.sleep_forever()
    return "never"


def finished(events: list[Event]) -> dict[str, ToolFinished]:
    return {e.call.id: e for e in events if isinstance(e, ToolFinished)}


def told(result: RunResult[Any]) -> dict[str, str]:
    return {m.name: text_of(m.content) for m in result.messages if isinstance(m, ToolMessage)}


async def test_three_sub_agents_one_cancelled_and_one_out_of_steps(tmp_path: Path) -> None:
    quick = Agent(ScriptedModel([ask("look_up", word="ab"), say("It is ba.")]), tools=[look_up])
    endless = Agent(
        ScriptedModel([ask("look_up", word=word) for word in ("cd", "ef", "gh")]), tools=[look_up]
    )
    stuck = Agent(ScriptedModel([ask("look_up", word="ij"), ask("dig")]), tools=[look_up, dig])
    parent = Agent(
        ScriptedModel(
            [
                calls(
                    ("quick", {"task": "ab?"}),
                    ("endless", {"task": "all?"}),
                    ("stuck", {"task": "dig!"}),
                ),
                say("Two of three."),
            ]
        ),
        tools=[
            quick.as_tool("quick", "Knows.", limits=Limits(steps=5)),
            endless.as_tool("endless", "Never ends.", limits=Limits(steps=2)),
            stuck.as_tool("stuck", "Digs."),
        ],
    )
    cancellation = Cancellation()
    journal = SQLiteJournal(tmp_path / "journal.db")
    events: list[Event] = []
    async for event in parent.stream(
        "Go.", run_id="top", cancellation=cancellation, journal=journal
    ):
        events.append(event)
        inner = event.inner if isinstance(event, SubRunEvent) else None
        if isinstance(inner, ToolStarted) and inner.call.name == "dig":
            assert isinstance(event, SubRunEvent)
            assert cancellation.cancel(event.call_id)

    last = events[-1]
    assert isinstance(last, RunFinished)
    assert (last.result.stop_reason, last.result.output) == ("answer", "Two of three.")
    answers = told(last.result)
    assert answers["quick"] == "It is ba."
    assert answers["endless"].startswith(
        "Error: endless stopped without an answer: stopped after 2 steps; the limit is 2 (run top."
    )
    assert answers["endless"].endswith(
        "What it had done by then:\n"
        '- look_up("word": "cd"): cd means dc\n- look_up("word": "ef"): ef means fe'
    )
    assert "stuck stopped without an answer: the run was cancelled (run top." in answers["stuck"]
    assert '- look_up("word": "ij"): ij means ji' in answers["stuck"]

    ends = {end.call.name: end for end in finished(events).values()}
    spent = {name: end.spent for name, end in ends.items()}
    assert {name: each.steps for name, each in spent.items() if each} == {
        "quick": 2,
        "endless": 2,
        "stuck": 2,
    }
    assert last.result.steps == 2 + 6
    for name, each in spent.items():
        assert each is not None
        (run_id,) = each.runs
        under = [e for e in events if isinstance(e, SubRunEvent) and e.run_id == run_id]
        assert {e.call_id for e in under} == {ends[name].call.id}
        assert isinstance(under[-1].inner, RunFinished)
        recorded = await journal.read(run_id)
        assert recorded, "the journal of the parent keeps the child too"
    records = [record.entry for record in await journal.read("top")]
    linked = [e.spent.runs for e in records if isinstance(e, ToolFinished) and e.spent]
    assert len(linked) == 3
    assert not [e for e in records if isinstance(e, SubRunEvent)], "each run has its own record"
    journal.close()


async def test_one_call_of_a_run_can_be_cancelled_and_the_run_goes_on() -> None:
    cancellation = Cancellation()
    model = ScriptedModel([calls(("dig", {}), ("look_up", {"word": "ab"})), say("Done.")])
    events: list[Event] = []
    async for event in Agent(model, tools=[dig, look_up], observers=()).stream(
        "x", cancellation=cancellation
    ):
        events.append(event)
        if isinstance(event, ToolStarted) and event.call.name == "dig":
            assert cancellation.cancel(event.call.id)
    assert isinstance(events[-1], RunFinished)
    result = events[-1].result
    assert told(result)["look_up"] == "ab means ba"
    assert "it was cancelled" in told(result)["dig"]
    assert (result.stop_reason, result.output) == ("answer", "Done.")
    assert cancellation.cancel("no such call") is False


@dataclass
class Trip:
    """A trip.

    Attributes:
        city: Where to.
        days: How long.
    """

    city: str
    days: int = 1


@dataclass
class Plan:
    """A plan."""

    stops: list[str]


def asked(model: ScriptedModel) -> str:
    (first,) = [m for m in model.requests[0].messages if isinstance(m, UserMessage)]
    return text_of(first.content)


async def run_through(helper: Tool[..., Any], **arguments: Any) -> RunResult[Any]:
    outer = ScriptedModel([ask(helper.name, **arguments), say("Done.")])
    return await Agent(outer, tools=[helper], observers=()).run("x", deps="the caller's")


async def test_input_and_output_can_be_typed() -> None:
    inner = ScriptedModel([ask("final_answer", answer={"stops": ["a", "b"]})])
    planner = Agent(inner, output_type=Plan, observers=())
    plan = planner.as_tool("plan", "Plans a trip.", input_type=Trip)
    assert plan.definition.parameters["required"] == ["task"]
    result = await run_through(plan, task={"city": "Turin", "days": "2"})
    assert told(result)["plan"] == '{"stops": ["a", "b"]}'
    assert asked(inner) == '{"city": "Turin", "days": 2}'


async def test_a_function_can_make_the_task_of_the_tools_arguments() -> None:
    def trip(city: str, days: int = 1) -> str:
        """Plans a trip.

        Args:
            city: Where to.
            days: How long.
        """
        return f"Plan {days} days in {city}."

    inner = ScriptedModel([say("Here.")])
    plan = Agent(inner, observers=()).as_tool("plan", "Plans a trip.", input_type=trip)
    assert list(plan.definition.parameters["properties"]) == ["city", "days"]
    result = await run_through(plan, city="Turin", days=2)
    assert (told(result)["plan"], asked(inner)) == ("Here.", "Plan 2 days in Turin.")


async def test_tasks_of_a_fan_out_can_be_typed() -> None:
    inner = ScriptedModel([say("one"), say("two")])
    each = Agent(inner, observers=()).as_fan_out("each", "Plans.", at_once=1, input_type=Trip)
    result = await run_through(each, tasks=[{"city": "Turin"}, {"city": "Rome", "days": 3}])
    assert told(result)["each"] == (
        '## 1. {"city": "Turin", "days": 1}\none\n\n## 2. {"city": "Rome", "days": 3}\ntwo'
    )
    with pytest.raises(ToolDefinitionError, match="a fan-out takes a list of tasks"):
        Agent(inner, observers=()).as_fan_out("each", "Plans.", input_type=lambda city: city)


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({}, "the caller's"),
        ({"deps": "its own"}, "its own"),
        ({"deps": lambda deps: f"from {deps}"}, "from the caller's"),
        ({"deps": None}, "None"),
    ],
)
async def test_deps_are_the_callers_or_its_own(given: Any, seen: str) -> None:
    @tool
    def who(context: ToolContext[Any]) -> str:
        """Tells the deps."""
        return str(context.deps)

    inner = ScriptedModel([ask("who"), say("ok")])
    helper = Agent(inner, tools=[who], observers=()).as_tool("helper", "Helps.", **given)
    await run_through(helper, task="x")
    assert told_last(inner) == seen


def told_last(model: ScriptedModel) -> str:
    last = model.requests[-1].messages[-1]
    assert isinstance(last, ToolMessage)
    return text_of(last.content)


async def test_effect_and_approval_are_those_of_any_tool() -> None:
    helper = Agent(ScriptedModel([say("never")]), observers=()).as_tool(
        "helper", "Helps.", effect="idempotent", approval="always"
    )
    assert helper.effect == "idempotent"
    result = await run_through(helper, task="x")
    assert result.stop_reason == "paused"


async def test_a_sub_agents_own_record_is_found_by_the_link(tmp_path: Path) -> None:
    journal = SQLiteJournal(tmp_path / "journal.db")
    inner = Agent(ScriptedModel([say("ok")]))
    outer = Agent(ScriptedModel([ask("helper", task="x"), say("Done.")]), tools=[
        inner.as_tool("helper", "Helps.")
    ])  # fmt: skip
    await outer.run("x", run_id="top", journal=journal)
    journal.close()
    listed = {summary.run_id for summary in Library(journal=tmp_path / "journal.db").runs()}
    assert len(listed) == 2
    assert "top" in listed
