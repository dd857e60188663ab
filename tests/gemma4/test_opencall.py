from __future__ import annotations

from agentkit.gemma4.lexer import Control
from agentkit.gemma4.opencall import OpenCall

CLOSE, OPEN = Control("<tool_call|>"), Control("<|tool_call>")


def test_the_name_is_shown_once_its_brace_has_come() -> None:
    call = OpenCall()
    assert call.show("call:f") is None
    assert call.show("ind{n") == ("find", "n")
    assert call.show(":1}") == ("find", ":1}")


def test_text_about_calls_is_told_from_the_beginning_of_one() -> None:
    for head, may_be in (("cal", True), ("call:f", True), ('{"name"', True), ("is how", False)):
        call = OpenCall()
        call.show(head)
        assert call.may_be_call() is may_be
    long = OpenCall()
    long.show("call:" + "x" * 300)
    assert not long.may_be_call()


def test_an_early_end_needs_an_end_or_a_call_behind_it() -> None:
    assert OpenCall(pieces=["a", CLOSE, " text"], ends=[1]).early_end() is None
    assert OpenCall(pieces=["a", CLOSE, "\n"], ends=[1]).early_end() == 1
    assert OpenCall(pieces=["a", CLOSE, "b", CLOSE, OPEN], ends=[1, 3]).early_end() == 3
    assert OpenCall(pieces=["a"]).early_end() is None


def test_the_closing_brace_is_counted_over_pieces() -> None:
    call = OpenCall()
    assert call.closing_brace("call:f{a:{") is None
    assert call.closing_brace("}} rest") == 2
