from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentkit.context.compaction import Stub, level, plan
from agentkit.context.entries import Entries
from agentkit.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage


def conversation(*messages: Message) -> Entries:
    entries = Entries()
    for message in messages:
        entries.add(message, message)
    return entries


def step(name: str) -> list[Message]:
    return [AssistantMessage(None, (ToolCall(name, "read"),)), ToolMessage(name, "read", "text")]


TALK = conversation(
    UserMessage("the task"),  # 0
    *step("a"),  # 1, 2
    AssistantMessage("Done."),  # 3
    UserMessage("and this?"),  # 4
    *step("b"),  # 5, 6
    *step("c"),  # 7, 8
    AssistantMessage("Done too."),  # 9
    UserMessage("now that"),  # 10
    *step("d"),  # 11, 12
    *step("e"),  # 13, 14
)


def stubbed(at: int) -> Stub:
    message = TALK.all[at].message
    assert isinstance(message, ToolMessage)
    return Stub(message, 10)


SIZES = dict.fromkeys(range(15), 100)
STUBS = {at: stubbed(at) for at in TALK.clearable()}


def test_old_results_are_cleared_first_and_only_as_many_as_needed() -> None:
    chosen = plan(TALK, SIZES, STUBS, tokens=1500, target=1350)
    assert list(chosen.clear) == [2, 6]
    assert chosen.drop == []
    assert chosen.tokens == 1320


def test_exchanges_are_dropped_when_that_is_not_enough_oldest_first() -> None:
    chosen = plan(TALK, SIZES, STUBS, tokens=1500, target=900)
    assert chosen.drop == [1, 2, 3, 5, 6]
    assert list(chosen.clear) == [8, 12]
    assert chosen.tokens == 820


def test_the_task_what_was_said_last_and_the_newest_exchange_are_never_dropped() -> None:
    chosen = plan(TALK, SIZES, STUBS, tokens=1500, target=0)
    assert sorted(set(range(15)) - set(chosen.drop)) == [0, 10, 13, 14]
    assert chosen.tokens == 400


def test_a_question_goes_together_with_its_last_answer() -> None:
    groups = TALK.droppable()
    assert groups == [[1, 2], [3], [5, 6], [7, 8], [4, 9], [11, 12]]


def test_a_result_that_is_shorter_than_its_stub_is_left_alone() -> None:
    chosen = plan(TALK, dict.fromkeys(range(15), 5), STUBS, tokens=75, target=70)
    assert not chosen.clear


@given(st.lists(st.integers(0, 1000), max_size=8), st.integers(0, 3000))
def test_the_longest_are_cut_down_to_one_level(sizes: list[int], excess: int) -> None:
    cut = level(sizes, excess)
    freed = sum(max(size - cut, 0) for size in sizes)
    assert freed >= min(excess, sum(sizes))
    if freed and cut < max(sizes):
        assert sum(max(size - cut - 1, 0) for size in sizes) < excess
