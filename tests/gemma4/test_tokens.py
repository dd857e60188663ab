from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.gemma4.tokens import CONTROL_LITERALS, IDS, STOP_IDS, Control, Lexer
from tests.gemma4 import strategies as some
from tests.gemma4.replies import pieces_of


def test_the_stop_ids_are_those_of_the_checkpoints_generation_config() -> None:
    assert sorted(STOP_IDS) == [1, 50, 106]


def test_ids_and_literals_are_each_unique() -> None:
    assert len(set(IDS.values())) == len(IDS)
    assert len(set(CONTROL_LITERALS)) == len(CONTROL_LITERALS)


# --- from text to control tokens ---------------------------------------------------------------


def lexed(*pieces: str) -> list[str]:
    lexer = Lexer()
    return [*chain.from_iterable(map(lexer.feed, pieces)), *lexer.flush()]


def controls(pieces: list[str]) -> list[str]:
    return [str(piece) for piece in pieces if isinstance(piece, Control)]


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(some.texts, st.lists(st.integers(0, 40), max_size=4))
def test_cutting_the_text_changes_neither_text_nor_tokens(text: str, cuts: list[int]) -> None:
    whole = lexed(text)
    cut = lexed(*pieces_of(text, [min(at, len(text)) for at in cuts]))
    assert "".join(whole) == "".join(cut) == text
    assert controls(whole) == controls(cut)


def test_what_may_become_a_token_is_held_back_and_nothing_else() -> None:
    lexer = Lexer()
    assert list(lexer.feed("a <b> <|tool_c")) == ["a <b> "]
    assert controls(list(lexer.feed("all>x"))) == ["<|tool_call>"]


def test_a_stop_literal_stops_only_at_the_end() -> None:
    assert controls(lexed("a<turn|>", "b")) == []
    assert controls(lexed("ab<tur", "n|>")) == ["<turn|>"]
