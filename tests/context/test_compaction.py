from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.context.entries import Entries, Source, preview, stub, with_note
from agentkit.context.strategies import DEFAULT, Stub, level, plan
from agentkit.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)


def conversation(*messages: Message) -> Entries:
    entries = Entries()
    for message in messages:
        entries.add(message)
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


PAST = TALK.past()
SIZES = dict.fromkeys(range(15), 100)
STUBS = {at: stubbed(at) for at in PAST.results}


def test_old_results_are_cleared_first_and_only_as_many_as_needed() -> None:
    chosen = plan(PAST, DEFAULT, SIZES, STUBS, tokens=1500, target=1350)
    assert list(chosen.clear) == [2, 6]
    assert chosen.drop == []
    assert chosen.tokens == 1320


def test_exchanges_are_dropped_when_that_is_not_enough_oldest_first() -> None:
    chosen = plan(PAST, DEFAULT, SIZES, STUBS, tokens=1500, target=900)
    assert chosen.drop == [1, 2, 3, 5, 6]
    assert list(chosen.clear) == [8, 12]
    assert chosen.tokens == 820


def test_the_task_what_was_said_last_and_the_newest_exchange_are_never_dropped() -> None:
    chosen = plan(PAST, DEFAULT, SIZES, STUBS, tokens=1500, target=0)
    assert sorted(set(range(15)) - set(chosen.drop)) == [0, 10, 13, 14]
    assert chosen.tokens == 400


def test_a_question_goes_together_with_its_last_answer() -> None:
    assert PAST.exchanges == [(1, 2), (3,), (5, 6), (7, 8), (4, 9), (11, 12)]


def test_a_result_that_is_shorter_than_its_stub_is_left_alone() -> None:
    chosen = plan(PAST, DEFAULT, dict.fromkeys(range(15), 5), STUBS, tokens=75, target=70)
    assert not chosen.clear


@given(st.lists(st.integers(0, 1000), max_size=8), st.integers(0, 3000))
def test_the_longest_are_cut_down_to_one_level(sizes: list[int], excess: int) -> None:
    cut = level(sizes, excess)
    freed = sum(max(size - cut, 0) for size in sizes)
    assert freed >= min(excess, sum(sizes))
    if freed and cut < max(sizes):
        assert sum(max(size - cut - 1, 0) for size in sizes) < excess


def exchange(number: int, name: str) -> list[Message]:
    """One call and its result."""
    call = ToolCall(f"call_{number}", name)
    return [AssistantMessage(None, (call,)), ToolMessage(call.id, name, f"result {number}")]


def entries(*names: str, kept: frozenset[str] = frozenset()) -> Entries:
    """A question, and a call of each of these tools in turn."""
    made = Entries(kept)
    made.add(UserMessage("Do it."))
    for number, name in enumerate(names):
        for message in exchange(number, name):
            made.add(message)
    return made


def test_old_results_may_go_and_the_newest_may_not() -> None:
    made = entries("plan", "look", "look")
    assert made.past().results == [2, 4]
    assert made.past().exchanges == [(1, 2), (3, 4)]


def test_the_newest_result_of_a_kept_tool_stays_with_its_call() -> None:
    made = entries("plan", "look", "plan", "look", "look", kept=frozenset({"plan"}))
    assert made.past().results == [2, 4, 8]  # an older plan goes, the newest at 6 stays
    assert made.past().exchanges == [(1, 2), (3, 4), (7, 8)]


def test_a_question_stays_as_long_as_something_of_its_round_is_kept() -> None:
    made = entries("look", "look")
    made.add(UserMessage("And now?"))
    for message in [*exchange(2, "plan"), AssistantMessage("Done.")]:
        made.add(message)
    made.add(UserMessage("Thanks."))
    assert (5, 6, 7) not in made.past().exchanges
    made_keeping = Entries(frozenset({"plan"}))
    for entry in made.all:
        made_keeping.add(entry.message)
    # Nor its answer: the user would speak right after a result, which no template takes.
    assert made_keeping.past().exchanges == [(1, 2), (3, 4)]
    assert made.past().exchanges[-1][0] == 5  # without it, the question goes with its last group


def result(content: str) -> Source:
    return Source(ToolMessage("c", "read", content), content)


@pytest.mark.slow
@given(st.text("ab\n", min_size=200, max_size=2000), st.integers(1, 400))
def test_a_preview_keeps_both_ends_and_says_how_much_is_gone(text: str, characters: int) -> None:
    shown = str(preview(result(text), characters).content)
    if shown == text:
        return
    head, note, tail = re.split(r"\n(\[… .* …\])\n", shown)
    assert text.startswith(head)
    assert text.endswith(tail)
    gone, whole = map(int, re.findall(r"\d+", note))
    assert whole == len(text)
    assert gone == len(text) - len(head) - len(tail)
    assert len(head) + len(tail) <= max(characters, 40)


def test_a_preview_is_cut_between_lines_where_one_ends_nearby() -> None:
    text = "".join(f"line {n} of the file\n" for n in range(200))
    head, tail = re.split(r"\n\[.*\]\n", str(preview(result(text), 600).content))
    assert head.endswith("of the file")
    assert tail.startswith("line")


def test_images_stay_and_long_texts_beside_them_are_cut() -> None:
    image = ImagePart("data:,")
    message = ToolMessage("c", "shot", (TextPart("x" * 3000), image))
    shown = preview(Source(message, "x" * 3000), 300).content
    assert isinstance(shown, tuple)
    assert shown[1] == image
    assert isinstance(shown[0], TextPart)
    assert len(shown[0].text) < 600


def test_a_stub_names_the_tool_and_how_to_have_the_result_again() -> None:
    again = str(stub(result("x"), 812, repeatable=True).content)
    assert "read" in again
    assert "812 tokens" in again
    assert "again with the same arguments" in again


def test_the_stub_of_a_call_that_may_not_be_repeated_says_so() -> None:
    failed = Source(ToolMessage("c", "pay", "x", is_error=True), "x")
    once = str(stub(failed, 30, repeatable=False).content)
    assert "do not repeat it" in once
    assert "an error" in once


def test_the_task_stays_word_for_word_in_front_of_its_note() -> None:
    assert str(with_note(UserMessage("the task"), 3).content).startswith("the task\n\n[3 older")
    parts = with_note(UserMessage((ImagePart("data:,"),)), 3).content
    assert isinstance(parts, tuple)
    assert parts[0] == ImagePart("data:,")
