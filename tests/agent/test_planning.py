from __future__ import annotations

from typing import Any

import pytest

from agentkit import (
    Agent,
    Event,
    ModelSettings,
    RunResult,
    ToolChoice,
    ToolDefinitionError,
    ToolProgress,
    tool,
)
from agentkit.agent.planning import Planning
from agentkit.messages import ToolMessage
from agentkit.testing import ScriptedModel, call, say


@tool(effect="pure")
def look(place: str) -> str:
    """Look somewhere."""
    return f"nothing in {place}"


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
        assert [definition.name for definition in request.tools] == names
        assert request.tool_choice == ToolChoice()


def test_always_makes_the_first_reply_a_plan_and_leaves_the_others_free() -> None:
    model = working()
    run(model, "always")
    choices = [request.tool_choice for request in model.requests]
    assert choices == [ToolChoice("required", "plan", 1), *[ToolChoice()] * 5]
    assert model.requests[0].settings.temperature == 0.5


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
