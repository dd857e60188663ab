"""Every character of a result is in its preview or in a gap that says where it is."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.context.entries import Source, marks_of, preview, stub, with_note
from agentkit.context.finding import best_lines, words_of
from agentkit.messages import TextPart, ToolCall, ToolMessage, UserMessage, text_of

GAP = re.compile(
    r"\n\[… characters (\d+) to (\d+) of (\d+) are left out here\. "
    r"Call read_result with result 7 and start (\d+) to read them …\]\n"
)


def source(text: str, **arguments: str) -> Source:
    message = ToolMessage("c", "read", text)
    marks = marks_of(text, ToolCall("c", "read", {**arguments}))
    return Source(message, text, 7, readable=True, marks=marks)


def filled(shown: str, text: str) -> str:
    """A preview with what its gaps say is in them."""
    whole, at = "", 0
    for gap in GAP.finditer(shown):
        start, end, total, named = map(int, gap.groups())
        assert named == start
        assert total == len(text)
        whole += shown[at : gap.start()] + text[start:end]
        at = gap.end()
    return whole + shown[at:]


LINES = st.lists(
    st.sampled_from(["", "def f(x):", "    return x", "error: no such file", "日本 ü", "x" * 500]),
    min_size=5,
    max_size=120,
)


@given(LINES, st.integers(1, 5_000), st.sampled_from(["", "return", "日本 ü", "return x"]))
def test_a_preview_and_its_gaps_are_the_text(lines: list[str], characters: int, asked: str) -> None:
    text = "\n".join(lines)
    shown = text_of(preview(source(text, asked=asked), characters).content)
    assert filled(shown, text) == text


def test_so_are_those_of_a_result_in_several_parts() -> None:
    parts = tuple(TextPart(letter * 4_000) for letter in "abc")
    text = text_of(parts)
    made = preview(Source(ToolMessage("c", "read", parts), text, 7, readable=True), 1_000)
    assert filled(text_of(made.content), text) == text


def test_a_preview_shows_the_lines_that_the_call_asked_for_and_those_with_errors() -> None:
    rng = random.Random(1)
    lines = [f"{n} " + " ".join(rng.choices(["step", "went", "well"], k=8)) for n in range(600)]
    lines[291] = "291 build of parser.py finished after 12 s"
    lines[333] = "333 AssertionError: 3 is not 4"
    text = "\n".join(lines)
    asked = source(text, path="out/build.log", grep="parser.py finished")
    shown = text_of(preview(asked, 3_000).content)
    assert lines[0] in shown
    assert lines[-1] in shown
    assert lines[291] in shown
    assert lines[333] in shown
    assert len(shown) < 3_600
    assert filled(shown, text) == text


def test_words_are_found_without_regard_to_case_in_whole_lines_and_in_long_ones() -> None:
    text = "one\nTwo Three\nthree two\n" + "x" * 5_000 + " the Straße " + "y" * 5_000 + "\nend"
    both = best_lines(text, words_of("TWO three"), 10)
    assert [(m.line, text[m.start : m.end]) for m in both.first] == [
        (2, "Two Three"),
        (3, "three two"),
    ]
    (found,) = best_lines(text, words_of("STRASSE"), 10).first
    assert found.line == 4
    assert "Straße" in text[found.start : found.end + 10]
    assert best_lines(text, words_of("nowhere"), 10).count == 0


@given(st.text("ab \n", max_size=300), st.text("ab", min_size=1, max_size=3))
def test_a_word_is_found_exactly_where_it_stands(text: str, word: str) -> None:
    found = {match.line for match in best_lines(text, (word,), 1_000).first}
    assert found == {n for n, line in enumerate(text.split("\n"), 1) if word in line}


@pytest.mark.parametrize("letter", ["a", "aab", "ab\n"])
def test_words_that_nearly_stand_everywhere_take_no_more_time(letter: str) -> None:
    text = letter * (1_000_000 // len(letter))
    assert best_lines(text, ("a" * 200 + "c", "b" * 90), 10).count == 0


def test_what_stands_in_its_place_says_which_call_reads_it() -> None:
    assert text_of(stub(source("x"), 5_200, repeatable=False).content) == (
        "[Old result 7 of read, 5200 tokens, is left out. "
        "Call read_result with result 7 to read it.]"
    )
    note = text_of(with_note(UserMessage("Go."), 4, recall=True).content)
    assert note.endswith("Call recall with some words to find them.]")
