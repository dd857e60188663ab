from __future__ import annotations

import pytest

from agentkit.gemma4.calls import ParsedCall, free_character, header_of, read_call
from agentkit.gemma4.lexer import Control
from agentkit.messages import ToolCall
from tests.gemma4.replies import SCHEMAS

QUOTE = Control('<|"|>')


@pytest.mark.parametrize(
    ("body", "name", "arguments"),
    [
        ("call:f{}", "f", {}),
        (" call: f {n:1}", "f", {"n": 1}),
        (":f{}", "f", {}),
        ("f{}", "f", {}),
        ("call:f", "f", {}),
        ("call:f(n=1)", "f", {"n": 1}),
        ("call:callback{}", "callback", {}),
        ("call:tool:write{path:5}", "tool:write", {"path": "5"}),
        ('{"name":"write","parameters":{"path":5}}', "write", {"path": "5"}),
        ('call:{"name":"f"}', "f", {}),
    ],
)
def test_a_closed_call_is_read_in_every_spelling(
    body: str, name: str, arguments: dict[str, object]
) -> None:
    reading = read_call([body], SCHEMAS, closed=True)
    assert (reading.name, reading.arguments) == (name, arguments)


def test_quote_tokens_are_told_from_their_spelling() -> None:
    spelled = read_call(["call:f{a:", QUOTE, 'x<|"|>y', QUOTE, "}"], {}, closed=True)
    assert spelled.arguments == {"a": 'x<|"|>y'}


def test_internal_characters_in_a_text_survive() -> None:
    taken = "".join(map(chr, range(0xFDD0, 0xFDEF)))
    assert free_character(taken) == "\ufdef"
    reading = read_call(["call:f{a:", QUOTE, taken, QUOTE, "}"], {}, closed=True)
    assert reading.arguments == {"a": taken}


def test_a_header_is_known_once_its_brace_is_there() -> None:
    assert header_of("call:fi") is None
    assert header_of("call:find{n:1}") == ("find", 10)


def test_a_parsed_call_becomes_a_tool_call() -> None:
    call = ParsedCall("f", {"n": 1})
    assert call.tool_call("id") == ToolCall("id", "f", {"n": 1})
