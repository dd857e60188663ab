from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from agentkit import Agent, Event, PartialOutput, RunFinished, ToolCallDelta, tool
from agentkit.agent.answers import answer_tool, with_partial_output
from agentkit.testing import ScriptedModel, call, say


class Report(BaseModel):
    title: str
    findings: list[str]


ANSWER = {"title": "Attic", "findings": ["dust", "a very old hat with a feather"]}


def partial(model: ScriptedModel, output_type: Any) -> tuple[list[Any], Any]:
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
    [(int, "42", 42), (list[int], "[1, 2]", [1, 2]), (Literal["yes", "no"], "yes", "yes")],
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
    ],
)
def test_a_text_that_is_something_else_is_asked_for_again(output_type: Any, text: str) -> None:
    model = ScriptedModel([say(text), say(text)])
    result = Agent(model, output_type=output_type, observers=()).run_sync("?")
    assert result.stop_reason == "invalid_output"
    assert len(model.requests) == 2
