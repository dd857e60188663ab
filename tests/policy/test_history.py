"""Histories that every server takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentkit.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from agentkit.policy import history_problems, mended_history

IDS = st.sampled_from(["a", "b", "c"])
MESSAGES = st.lists(
    st.one_of(
        st.builds(SystemMessage, st.just("s")),
        st.builds(UserMessage, st.just("u")),
        st.builds(AssistantMessage, st.sampled_from([None, "t"])),
        st.builds(
            lambda text, ids: AssistantMessage(text, tuple(ToolCall(i, "f") for i in ids)),
            st.sampled_from([None, "t"]),
            st.lists(IDS, max_size=3),
        ),
        st.builds(ToolMessage, IDS, st.just("f"), st.just("r")),
    ),
    max_size=12,
)
CALLS = AssistantMessage(None, (ToolCall("a", "f"), ToolCall("b", "g")))
GOOD: list[Message] = [
    SystemMessage("s"),
    UserMessage("u"),
    CALLS,
    ToolMessage("a", "f", "1"),
    ToolMessage("b", "g", "2"),
    AssistantMessage("done"),
]


def test_a_history_with_one_result_per_call_in_call_order_is_valid() -> None:
    assert history_problems(GOOD) == []
    assert mended_history(GOOD) == GOOD


def test_results_out_of_order_are_a_problem_and_are_put_in_order() -> None:
    swapped = [*GOOD[:3], GOOD[4], GOOD[3], GOOD[5]]
    assert history_problems(swapped)
    assert mended_history(swapped) == GOOD


def test_a_missing_result_is_named_and_said_to_be_lost() -> None:
    cut = GOOD[:4]
    assert history_problems(cut) == ["the end: call 'b' has no result"]
    mended = mended_history(cut)
    assert history_problems(mended) == []
    assert "lost" in str(mended[-1].content)


def test_an_orphan_result_is_dropped() -> None:
    assert mended_history([UserMessage("u"), ToolMessage("x", "f", "r")]) == [UserMessage("u")]


@given(MESSAGES)
def test_whatever_comes_is_valid_once_mended(messages: list[Message]) -> None:
    mended = mended_history(messages)
    assert history_problems(mended) == []
    assert mended_history(mended) == mended
