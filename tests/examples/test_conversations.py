from __future__ import annotations

import pytest

from agentkit.messages import ModelRequest, SystemMessage, UserMessage, text_of
from agentkit.testing import ScriptedModel, call, say
from examples.hand_over import converse
from examples.taking_turns import write

pytestmark = pytest.mark.anyio


def who(request: ModelRequest) -> str:
    assert isinstance(request.messages[0], SystemMessage)
    return text_of(request.messages[0].content)


async def test_a_whole_conversation_is_handed_over(capsys: pytest.CaptureFixture[str]) -> None:
    model = ScriptedModel(
        [
            call("hand_over", to="repairs"),
            say("The desk for repairs goes on."),
            call("book_repair", item="teapot"),
            say("It will be fetched tomorrow."),
            say("Before noon."),
        ]
    )
    messages = await converse(model, ["My teapot came broken.", "When?"])
    assert capsys.readouterr().out.splitlines() == [
        "[reception] The desk for repairs goes on.",
        "[repairs] It will be fetched tomorrow.",
        "[repairs] Before noon.",
    ]
    assert [who(request)[:25] for request in model.requests] == [
        *["You greet the customer and"[:25]] * 2,
        *["You are the desk for repairs"[:25]] * 3,
    ]
    asked = [text_of(m.content) for m in messages if isinstance(m, UserMessage)]
    assert (asked[0], asked[-1], len(asked)) == ("My teapot came broken.", "When?", 3)


async def test_a_writer_and_a_critic_take_turns_until_the_critic_is_content() -> None:
    model = ScriptedModel(
        [
            say("Lift broken."),
            call("final_answer", answer={"content": "no", "advice": "Say sorry."}),
            say("Sorry, the lift is broken."),
            call("final_answer", answer={"content": "yes"}),
        ]
    )
    assert await write(model, "The lift is broken.") == "Sorry, the lift is broken."
    critics = [r for r in model.requests if "judge" in who(r)]
    said = [text_of(m.content) for m in critics[1].messages if isinstance(m, UserMessage)]
    assert said == [
        "Task: The lift is broken.\nNotice: Lift broken.",
        "Task: The lift is broken.\nNotice: Sorry, the lift is broken.",
    ]
