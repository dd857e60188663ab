from __future__ import annotations

import json
import time
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from pydantic import BaseModel

from agentkit import (
    Agent,
    Event,
    Model,
    ModelSettings,
    PartialOutput,
    RunFinished,
    RunResult,
    SQLiteJournal,
    StepRestarted,
    ToolCallDelta,
    ToolChoice,
    ToolDefinitionError,
    ToolProgress,
    VLLMModel,
    tool,
)
from agentkit.agent.own_tools import FENCE, Planning, answer_tool, with_partial_output
from agentkit.context.entries import RECALL_TOOLS
from agentkit.messages import ToolMessage
from agentkit.policy import Approve, Decision
from agentkit.testing import ScriptedModel, call, calls, say
from tests.pausing import pause_of
from tests.servers import chunk, serving, streamed

ATTIC = {"title": "Attic", "findings": ["dust"]}


def spelled(name: str, arguments: object) -> str:
    """A call as JSON in a text."""
    return json.dumps({"name": name, "arguments": arguments})


class Report(BaseModel):
    title: str
    findings: list[str]


ANSWER = {"title": "Attic", "findings": ["dust", "a very old hat with a feather"]}


def partial(model: Model, output_type: Any) -> tuple[list[Any], Any]:
    seen: list[Event] = []
    watch = [lambda _, event: seen.append(event)]
    agent = Agent(model, tools=[look], output_type=output_type, observers=watch)
    agent.run_sync("Report.")
    last = seen[-1]
    assert isinstance(last, RunFinished)
    return [event.value for event in seen if isinstance(event, PartialOutput)], last.result.output


@tool(effect="pure")
def look(place: str) -> str:
    """Look somewhere."""
    return f"nothing in {place}"


def test_a_typed_answer_grows_while_it_is_written() -> None:
    model = ScriptedModel([call("look", place="attic"), call("final_answer", answer=ANSWER)])
    values, output = partial(model, Report)
    assert len(values) >= 3
    assert values[-1] == ANSWER
    assert output == Report(**ANSWER)  # type: ignore[arg-type]  # a dict of mixed values
    for before, after in pairwise(values):
        assert before != after
        assert after["title"].startswith(before.get("title", ""))
        assert len(after.get("findings", [])) >= len(before.get("findings", []))


def test_an_answer_grows_that_a_server_names_with_each_piece() -> None:
    pieces = ['{"answer": {"title": "At', 'tic", "findings": ["du', 'st"]}}']
    named = {"index": 0, "id": "a", "type": "function"}
    reply = [
        chunk({"tool_calls": [{**named, "function": {"name": "final_answer", "arguments": piece}}]})
        for piece in pieces
    ]
    with serving(streamed([*reply, chunk({}, "tool_calls")])) as server:
        values, output = partial(VLLMModel(server.url), Report)
    assert values == [{"title": "At"}, {"title": "Attic", "findings": ["du"]}, ATTIC]
    assert output == Report(title="Attic", findings=["dust"])


def test_an_answer_that_is_written_again_grows_from_its_beginning() -> None:
    answer = answer_tool(Report)
    assert answer is not None
    seen: list[Event] = []
    watch = with_partial_output(answer, seen.append)
    watch(ToolCallDelta(0, "final_answer", '{"answer": {"title": "At', step=1))
    watch(StepRestarted("it was cut", attempt=2, step=1))
    watch(ToolCallDelta(0, "final_answer", '{"answer": {"title": "Ba', step=1))
    watch(ToolCallDelta(1, "look", '{"place": "attic"}', step=1))
    watch(ToolCallDelta(0, "final_answer", 'rn"}}', step=1))
    values = [event.value for event in seen if isinstance(event, PartialOutput)]
    assert values == [{"title": "At"}, {"title": "Ba"}, {"title": "Barn"}]


def test_an_answer_asked_for_after_plain_text_grows_too() -> None:
    model = ScriptedModel([say("The attic."), call("final_answer", answer=ANSWER)])
    values, _ = partial(model, Report)
    assert values[-1] == ANSWER


def test_the_parameters_of_a_function_are_the_value() -> None:
    def report(title: str, findings: list[str]) -> Report:
        """Give the report."""
        return Report(title=title, findings=findings)

    values, output = partial(ScriptedModel([call("report", **ANSWER)]), report)
    assert values[-1] == ANSWER
    assert isinstance(output, Report)


def test_pieces_that_are_no_json_give_nothing() -> None:
    answer = answer_tool(Report)
    assert answer is not None
    seen: list[Event] = []
    watch = with_partial_output(answer, seen.append)
    deltas = [
        ToolCallDelta(0, "look", '{"place":"attic"}'),
        ToolCallDelta(1, "final_answer", "answer:{title:"),
        ToolCallDelta(1, "", '<|"|>Attic<|"|>}'),
    ]
    for delta in deltas:
        watch(delta)
    assert seen == deltas


@pytest.mark.parametrize(
    "reply",
    [
        say('{"title": "Attic", "findings": ["dust"]}'),
        say('```json\n{"title": "Attic", "findings": ["dust"]}\n```'),
        say('Here it is:\n\n```\n{"answer": {"title": "Attic", "findings": ["dust"]}}\n```\nDone.'),
        say('~~~json\n{"title": "Attic", "findings": ["dust"]}\n~~~'),
        say(spelled("final_answer", {"answer": ATTIC})),
        say(spelled("answer", ATTIC)),
        say(f"```json\n{spelled('final_answer', json.dumps(ATTIC))}\n```"),
        call("final_answer", title="Attic", findings=["dust"]),
        call("final_answer", answer='{"title": "Attic", "findings": ["dust"]}'),
        call("final_answer", answer='```json\n{"title": "Attic", "findings": ["dust"]}\n```'),
        call("final_answer", answer={"title": "Attic", "findings": '["dust"]'}),
    ],
    ids=repr,
)
def test_a_typed_answer_that_can_be_meant_in_one_way_is_taken(reply: Any) -> None:
    model = ScriptedModel([reply])
    result = Agent(model, output_type=Report, observers=()).run_sync("Report.")
    assert (result.stop_reason, result.output) == (
        "answer",
        Report(title="Attic", findings=["dust"]),
    )


@pytest.mark.parametrize(
    ("output_type", "text", "output"),
    [
        (int, "42", 42),
        (list[int], "[1, 2]", [1, 2]),
        (Literal["yes", "no"], "yes", "yes"),
        (date, "2026-01-02", date(2026, 1, 2)),
    ],
)
def test_a_text_that_is_nothing_but_the_answer_is_the_answer(
    output_type: Any, text: str, output: object
) -> None:
    model = ScriptedModel([say(text)])
    assert Agent(model, output_type=output_type, observers=()).run_sync("?").output == output


@pytest.mark.parametrize(
    ("output_type", "text"),
    [
        (Report, '{"title": "Attic"}'),
        (Report, "```\n{}\n```\n```\n{}\n```"),
        (Report, 'I could say {"title": "Attic", "findings": []}, but will not.'),
        (int, "I think it is 42."),
        (list[int], "null"),
        (str | int, "forty-two"),
        (date, "on 2026-01-02"),
        (date, "2026"),
    ],
)
def test_a_text_that_is_something_else_is_asked_for_again(output_type: Any, text: str) -> None:
    model = ScriptedModel([say(text), say(text)])
    result = Agent(model, output_type=output_type, observers=()).run_sync("?")
    assert result.stop_reason == "invalid_output"
    assert len(model.requests) == 2


class Deed(BaseModel):
    name: str
    arguments: dict[str, Any]


@pytest.mark.parametrize("name", ["look", "final_answer"])
def test_a_text_that_is_a_call_or_an_answer_is_neither(name: str) -> None:
    text = spelled(name, {"answer": {"name": "a", "arguments": {}}})
    model = ScriptedModel([say(text), say(text)])
    result = Agent(model, tools=[look], output_type=Deed, observers=()).run_sync("?")
    assert (result.stop_reason, len(model.requests)) == ("malformed_call", 2)


def pays(amount: int) -> str:
    """Pays."""
    return f"paid {amount}"


@pytest.mark.parametrize("kept", [False, True])
def test_an_answer_beside_a_call_that_waits_is_the_answer_once_that_is_decided(
    kept: bool, tmp_path: Path
) -> None:
    journal = SQLiteJournal(tmp_path / "runs.db") if kept else None
    both = calls(("final_answer", {"answer": ATTIC}), ("pays", {"amount": 5}))
    agent = Agent(
        ScriptedModel([both]),
        tools=[tool(labels={"writes"})(pays)],
        policy="ask",
        output_type=Report,
        observers=(),
    )

    async def main() -> RunResult[Report]:
        paused = pause_of(await agent.run("Report.", journal=journal))
        yes: dict[str, Decision] = {approval.id: Approve() for approval in paused.waiting}
        return await agent.resume(paused, yes, journal=journal)

    result = anyio.run(main)
    assert (result.stop_reason, result.steps) == ("answer", 1)
    assert result.output == Report(title="Attic", findings=["dust"])


STEPS = ["Look in the attic", "Look in the cellar"]


def run(model: ScriptedModel, planning: Planning) -> tuple[RunResult, list[Event]]:
    seen: list[Event] = []
    agent = Agent(
        model,
        tools=[look],
        planning=planning,
        settings=ModelSettings(temperature=0.5),
        observers=[lambda _, event: seen.append(event)],
    )
    return agent.run_sync("Find the hat."), seen


def working() -> ScriptedModel:
    return ScriptedModel(
        [
            call("plan", steps=STEPS),
            call("look", place="attic"),
            call("plan", steps=STEPS, done=1),
            call("look", place="cellar"),
            call("plan", steps=STEPS, done=2),
            say("There is no hat."),
        ]
    )


def test_a_plan_is_shown_and_shown_again_as_its_steps_are_done() -> None:
    result, seen = run(working(), "auto")
    assert result.output == "There is no hat."
    assert [event.text for event in seen if isinstance(event, ToolProgress)] == [
        "1. [ ] Look in the attic\n2. [ ] Look in the cellar",
        "1. [x] Look in the attic\n2. [ ] Look in the cellar",
        "1. [x] Look in the attic\n2. [x] Look in the cellar",
    ]


def test_the_model_reads_what_comes_next() -> None:
    result, _ = run(working(), "auto")
    said = [str(m.content) for m in result.messages if isinstance(m, ToolMessage)]
    ends = [text.splitlines()[-1] for text in said if "[" in text]
    assert ends == [
        "Next: Look in the attic",
        "Next: Look in the cellar",
        "All steps are done: answer now.",
    ]


def test_off_offers_no_plan_and_auto_leaves_the_choice() -> None:
    for planning, names in (("off", ["look"]), ("auto", ["look", "plan"])):
        model = ScriptedModel([say("No hat.")])
        run(model, planning)  # type: ignore[arg-type]  # the loop's literals are plain strings
        (request,) = model.requests
        offered = [definition.name for definition in request.tools]
        assert [name for name in offered if name not in RECALL_TOOLS] == names
        assert request.tool_choice == ToolChoice()


def test_always_makes_the_first_reply_a_plan_and_leaves_the_others_free() -> None:
    model = working()
    run(model, "always")
    choices = [request.tool_choice for request in model.requests]
    assert choices == [ToolChoice("required", "plan", 1), *[ToolChoice()] * 5]
    assert model.requests[0].settings.temperature == 0.5


@pytest.mark.parametrize(
    ("choice", "asked_for"),
    [
        (ToolChoice("required"), ToolChoice("required", among=("look",))),
        (ToolChoice("required", "plan"), ToolChoice("required", "plan")),
        (ToolChoice("required", among=("plan",)), ToolChoice("required", among=("plan",))),
        (ToolChoice("auto"), ToolChoice("auto")),
    ],
)
def test_a_forced_call_without_a_name_is_held_to_the_users_tools(
    choice: ToolChoice, asked_for: ToolChoice
) -> None:
    model = working()
    settings = ModelSettings(tool_choice=choice)
    agent = Agent(model, tools=[look], planning="auto", settings=settings, observers=())
    agent.run_sync("What is there?")
    assert model.requests[0].tool_choice == asked_for


def test_a_users_own_tool_may_be_called_plan_and_is_none_of_the_agents() -> None:
    @tool
    def plan() -> str:
        """A floor plan."""
        return "two rooms"

    model = ScriptedModel([call("plan"), say("Two.")])
    settings = ModelSettings(tool_choice=ToolChoice("required"))
    Agent(model, tools=[plan], settings=settings, observers=()).run_sync("How many rooms?")
    assert {definition.name for definition in model.requests[0].tools} == {"plan", *RECALL_TOOLS}
    assert model.requests[0].tool_choice == ToolChoice("required", among=("plan",))


def test_more_steps_done_than_there_are_is_told_to_the_model() -> None:
    model = ScriptedModel([call("plan", steps=STEPS, done=3), say("Sorry.")])
    result, _ = run(model, "auto")
    (message,) = [m for m in result.messages if isinstance(m, ToolMessage)]
    assert message.is_error
    assert "done is 3, but the plan has 2 steps" in str(message.content)


def test_a_tool_of_the_same_name_is_refused_when_the_agent_is_made() -> None:
    @tool
    def plan() -> str:
        """Another plan."""
        return ""

    with pytest.raises(ToolDefinitionError, match="two tools are named 'plan'"):
        Agent(ScriptedModel([]), tools=[plan], planning="auto")


def test_a_word_that_is_no_way_of_planning_is_refused_when_the_agent_is_made() -> None:
    word: Any = "nope"
    with pytest.raises(ValueError, match="planning is 'nope'; it is one of off, auto, always"):
        Agent(ScriptedModel([]), planning=word)


@pytest.mark.parametrize(
    "text", ["`" * 60_000, "~" * 60_000, "```\n" * 20_000, "```a\n" + " \n" * 60_000]
)
def test_marks_of_a_fence_without_end_are_looked_at_in_bounded_time(text: str) -> None:
    begun = time.process_time()
    list(FENCE.finditer(text))
    assert time.process_time() - begun < 1
