from __future__ import annotations

import pytest

from agentkit.gemma4.calls import CallReading, ParsedCall, header_of, read_calls
from agentkit.gemma4.lexer import Control
from agentkit.messages import ToolCall
from tests.gemma4.replies import SCHEMAS

QUOTE = Control('<|"|>')


def read(*body: str, closed: bool = True) -> CallReading:
    readings = read_calls(body, SCHEMAS, closed=closed)
    assert len(readings) == 1
    return readings[0]


@pytest.mark.parametrize(
    ("body", "name", "arguments"),
    [
        ("call:f{}", "f", {}),
        (" call: write {n:1}", "write", {"n": 1}),
        (":f{}", "f", {}),
        ("f{}", "f", {}),
        ("call:f", "f", {}),
        ("call:write(n=1)", "write", {"n": 1}),
        ("call:callback{}", "callback", {}),
        ("call:tool:write{path:5}", "tool:write", {"path": "5"}),
        ('{"name":"write","parameters":{"path":5}}', "write", {"path": "5"}),
        ('call:{"name":"f"}', "f", {}),
        ("{'name': 'write', 'arguments': {'n': 1}}", "write", {"n": 1}),
        ("writen:1}", "write", {"n": 1}),
    ],
)
def test_a_closed_call_is_read_in_every_spelling(
    body: str, name: str, arguments: dict[str, object]
) -> None:
    reading = read(body)
    assert (reading.name, reading.arguments) == (name, arguments)


@pytest.mark.parametrize("body", ["write{n:1}", "call:write(n=1)", "call:write{n:1", "call:f"])
def test_an_open_call_is_read_only_as_it_stands(body: str) -> None:
    assert read("call:write{n:1}", closed=False).arguments == {"n": 1}
    assert read(body, closed=False).arguments is None


def test_another_tool_sets_name_is_not_taken_for_one_of_ours() -> None:
    assert read("calendar.write{n:1}").arguments is None
    assert read("call:calendar.write{n:1}").name == "calendar.write"


def test_quote_tokens_are_told_from_their_spelling() -> None:
    spelled = read("call:write{path:", QUOTE, 'x<|"|>y', QUOTE, "}")
    assert spelled.arguments == {"path": 'x<|"|>y'}


def test_internal_characters_in_a_text_survive() -> None:
    taken = "".join(map(chr, range(0xFDD0, 0xFDEF)))
    assert read("call:write{path:", QUOTE, taken, QUOTE, "}").arguments == {"path": taken}


def test_what_was_undone_is_told() -> None:
    assert read("call:write{path:'a'").damage == {"single quotes", "brace"}
    assert read("call:write{n:1}").damage == frozenset()


def test_a_header_is_known_once_its_brace_is_there() -> None:
    assert header_of("call:fi") is None
    assert header_of("call:find{n:1}") == ("find", 10)


def test_a_parsed_call_becomes_a_tool_call() -> None:
    call = ParsedCall("f", {"n": 1})
    assert call.tool_call("id") == ToolCall("id", "f", {"n": 1})


@pytest.mark.parametrize(
    "body",
    [
        ["call:tag{tags:[call:f{}", QUOTE, "]}"],
        ["call:tag{text:", QUOTE, "a,tags:", QUOTE, "call:f{} b", QUOTE, "}"],
        ["call:tag{text:", QUOTE, "a,more:{b:c", QUOTE, ",text2:", QUOTE, "d", QUOTE, "}}"],
    ],
)
def test_what_stands_in_an_open_call_is_one_of_its_texts_or_nothing(body: list[str]) -> None:
    tools = {
        "tag": {
            "type": "object",
            "properties": {
                "tags": {"type": "array", "items": {"type": "string"}},
                "text": {"type": "string"},
            },
        },
        "f": {"type": "object", "properties": {}},
    }
    (reading,) = read_calls(body, tools, closed=True)
    assert reading.arguments is None
