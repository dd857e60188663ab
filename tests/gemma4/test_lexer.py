from __future__ import annotations

from itertools import chain

from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.gemma4.lexer import BareCalls, Control, Lexer
from tests.gemma4 import strategies as some
from tests.gemma4.replies import pieces_of


def lexed(*pieces: str) -> list[str]:
    lexer = Lexer()
    return [*chain.from_iterable(map(lexer.feed, pieces)), *lexer.flush()]


def controls(pieces: list[str]) -> list[str]:
    return [str(piece) for piece in pieces if isinstance(piece, Control)]


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


def test_a_bare_call_opens_only_at_the_start_of_a_line() -> None:
    assert BareCalls(["f"]).feed("x\n  call:f{n:1") == ("x\n", "  call:f{")
    assert BareCalls(["f"]).feed("x call:f{n:1") == ("x call:f{n:1", "")
    assert BareCalls(["f"]).feed("call:g{") == ("call:g{", "")
    assert BareCalls([]).feed("call:f{") == ("call:f{", "")


def test_a_possible_bare_call_is_held_back_until_it_is_certain() -> None:
    bare = BareCalls(["f"])
    assert bare.feed("call") == ("", "")
    assert bare.feed(":f") == ("", "")
    assert bare.feed("ace") == ("call:face", "")
    assert bare.feed("\ncal") == ("\n", "")
    assert bare.flush() == "cal"
