from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.context import TokenCounts, estimated_tokens
from tests.context.driving import tokens


def test_what_was_counted_is_remembered_and_the_oldest_goes_first() -> None:
    counts = TokenCounts(limit=2)
    for number, text in enumerate(["a", "b", "c"]):
        counts.put(text, number)
    assert [counts.get(text) for text in ["a", "b", "c"]] == [None, 1, 2]


def test_half_surrogates_can_be_remembered_too() -> None:
    counts = TokenCounts()
    counts.put("\ud800", 3)
    assert counts.get("\ud800") == 3


@settings(max_examples=200, deadline=None)
@given(st.text("0123456789.,:;{}[]()<>/\n\t", max_size=60))
def test_an_estimate_of_numbers_and_marks_is_never_too_low(text: str) -> None:
    assert estimated_tokens(text) >= tokens(text)


def test_an_estimate_of_prose_is_on_the_safe_side_of_four_letters_to_a_token() -> None:
    prose = "The quick brown fox jumps over the lazy dog and runs away from it again " * 10
    assert len(prose) / 4 < estimated_tokens(prose) <= len(prose)
    assert estimated_tokens("日本語") == len("日本語".encode())
