from __future__ import annotations

from agentkit.context.entries import Entries
from agentkit.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage


def exchange(number: int, name: str) -> list[Message]:
    """One call and its result."""
    call = ToolCall(f"call_{number}", name)
    return [AssistantMessage(None, (call,)), ToolMessage(call.id, name, f"result {number}")]


def entries(*names: str, kept: frozenset[str] = frozenset()) -> Entries:
    """A question, and a call of each of these tools in turn."""
    made = Entries(kept)
    made.add(question := UserMessage("Do it."), question)
    for number, name in enumerate(names):
        for message in exchange(number, name):
            made.add(message, message)
    return made


def test_old_results_may_go_and_the_newest_may_not() -> None:
    made = entries("plan", "look", "look")
    assert made.clearable() == [2, 4]
    assert made.droppable() == [[1, 2], [3, 4]]


def test_the_newest_result_of_a_kept_tool_stays_with_its_call() -> None:
    made = entries("plan", "look", "plan", "look", "look", kept=frozenset({"plan"}))
    assert made.clearable() == [2, 4, 8]  # an older plan goes, the newest at 6 stays
    assert made.droppable() == [[1, 2], [3, 4], [7, 8]]


def test_a_question_stays_as_long_as_something_of_its_round_is_kept() -> None:
    made = entries("look", "look")
    made.add(second := UserMessage("And now?"), second)
    for message in [*exchange(2, "plan"), AssistantMessage("Done.")]:
        made.add(message, message)
    made.add(third := UserMessage("Thanks."), third)
    assert [5, 6, 7] not in made.droppable()
    made_keeping = Entries(frozenset({"plan"}))
    for entry in made.all:
        made_keeping.add(entry.message, entry.message)
    assert made_keeping.droppable() == [[1, 2], [3, 4], [8]]
    assert made.droppable()[-1][0] == 5  # without it, the question goes with its last group
