from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.context.shortened import preview, stub, with_note
from agentkit.messages import ImagePart, TextPart, ToolMessage, UserMessage


def result(content: str) -> ToolMessage:
    return ToolMessage("c", "read", content)


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
    shown = preview(message, 300).content
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
    failed = ToolMessage("c", "pay", "x", is_error=True)
    once = str(stub(failed, 30, repeatable=False).content)
    assert "do not repeat it" in once
    assert "an error" in once


def test_the_task_stays_word_for_word_in_front_of_its_note() -> None:
    assert str(with_note(UserMessage("the task"), 3).content).startswith("the task\n\n[3 older")
    parts = with_note(UserMessage((ImagePart("data:,"),)), 3).content
    assert isinstance(parts, tuple)
    assert parts[0] == ImagePart("data:,")
