from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.models.embedded.decoder import Decoder, Pieces, token_bytes


@cache
def decoder() -> Decoder:
    return Decoder()


@cache
def table() -> tuple[bytes, ...]:
    return token_bytes(decoder())


def shown(text: str, stops: tuple[str, ...] = ()) -> tuple[list[str], bool]:
    pieces = Pieces(table(), stops)
    texts: list[str] = []
    for token in decoder().encode(text):
        texts += pieces.take(token)[1]
        if pieces.stopped:
            return texts, True
    return texts + pieces.rest()[1], False


@settings(deadline=None)  # a busy machine is no failure
@given(st.text())
def test_the_pieces_of_a_text_are_the_text(text: str) -> None:
    assert "".join(shown(text)[0]) == text


def test_a_character_of_several_tokens_comes_in_one_piece() -> None:
    texts, _ = shown("a→😀b")
    assert texts == ["a", "→", "😀", "b"]


def test_a_control_token_stands_alone() -> None:
    assert shown("ab<turn|>c")[0][-2:] == ["<turn|>", "c"]


def test_broken_bytes_are_replaced_and_not_raised() -> None:
    pieces = Pieces(table(), ())
    half = decoder().encode("😀")[:-1]
    assert [pieces.take(token)[1] for token in half] == [[]] * len(half)
    assert pieces.rest()[1] == ["\ufffd"]


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one. two", (". ",), "one"),
        ("one. two", ("three",), "one. two"),
        ("one", ("e",), "on"),
        ("aaab", ("aab",), "a"),
        ("a b c", ("c", "b"), "a "),
        ("", ("x",), ""),
    ],
)
def test_a_stop_text_ends_the_reply_and_is_not_shown(
    text: str, stops: tuple[str, ...], expected: str
) -> None:
    texts, stopped = shown(text, stops)
    assert "".join(texts) == expected
    assert stopped == (expected != text)


@settings(deadline=None)  # a busy machine is no failure
@given(st.text("ab. ", max_size=30), st.lists(st.text("ab. ", min_size=1, max_size=4), max_size=3))
def test_whatever_is_shown_ends_before_the_first_stop_text(text: str, stops: list[str]) -> None:
    texts, stopped = shown(text, tuple(stops))
    assert not any(stop in "".join(texts) for stop in stops)
    assert stopped == any(stop in text for stop in stops)
    assert text.startswith("".join(texts))
