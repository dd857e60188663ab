from __future__ import annotations

import pytest

from agentkit.gemma4.calls import CallReading, ParsedCall, header_of, read_calls
from agentkit.gemma4.tokens import Control
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
        ("Call:write{n:1}", "write", {"n": 1}),
        ("[call:write{n:1}]", "write", {"n": 1}),
        ("```tool_code\ncall:write{n:1}\n```", "write", {"n": 1}),
        ("<tool_call>call:write{n:1}</tool_call>", "write", {"n": 1}),
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


def test_quote_tokens_around_a_name_are_none_of_it() -> None:
    assert read("call:", QUOTE, "write", QUOTE, "{n:1}").name == "write"
    assert read("call:", QUOTE, "nobody", QUOTE, "{n:1}").name == "nobody"


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


@pytest.mark.parametrize(
    ("body", "name", "arguments", "damage"),
    [
        ("call:f{}", "f", {}, ()),
        ("f{}", "f", {}, ("header",)),
        ("'write'{n:1}", "write", {"n": 1}, ("header",)),
        ("writen:1}", "write", {"n": 1}, ("brace", "header")),
        ("call:write path:'5'}", "write", {"path": "5"}, ("brace", "single quotes")),
        ("call:write", "write", {}, ("brace",)),
        ("call:write{n:1}}", "write", {"n": 1}, ("brace",)),
        ("write(n=1)", "write", {"n": 1}, ("header", "keywords")),
        ("call:write(n=1)", "write", {"n": 1}, ("keywords",)),
        ('{"name":"write","arguments":{"n":1}}', "write", {"n": 1}, ("JSON",)),
        ('{"name":"write","arguments":{"n":1}', "write", {"n": 1}, ("JSON", "brace")),
        ("{'name':'write','arguments':{'n':1}}", "write", {"n": 1}, ("JSON", "single quotes")),
        ("call:write{n:'1'", "write", {"n": 1}, ("brace", "single quotes")),
    ],
)
def test_all_that_was_undone_is_told(
    body: str, name: str, arguments: dict[str, object], damage: tuple[str, ...]
) -> None:
    reading = read(body)
    assert (reading.name, reading.arguments) == (name, arguments)
    assert sorted(reading.damage) == list(damage)
    assert reading.raw == body


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("call:nobody{n:?}", "nobody"),
        ("nobody{n:?}", "nobody"),
        ("call: write {n:?}", "write"),
        ("call:`nobody`{n:?}", "nobody"),
        ("call:writ", "writ"),
        ("call:write{n:1})", "write"),
        ("call:write{n:1} x", "write"),
        ("call:a.b/c-d:e f", "a.b/c-d:e"),
        ("{'name':'write','arguments':{'n':1}", "write"),  # three kinds of damage
        ('{"name":"write","arguments":{"n":1?}', "write"),
        ("Sure: call:write{n:1}", "write"),
        ("**write**{n:1}", "write"),
        ("mail. write{n:1}", "write"),
        ("mail.write{n:1}", "mail.write"),
        ("writen:1?", "writen:1"),
        ("write?n:1}", "write"),
        ('{"name":5,"arguments":{}}', ""),
        ('{"name":"nobody","arguments":{}}', "nobody"),
        ('{"name":"write","arguments":[1]}', "write"),
    ],
)
def test_what_cannot_be_read_keeps_the_name_as_far_as_there_is_one(body: str, name: str) -> None:
    reading = read(body)
    assert (reading.name, reading.arguments, sorted(reading.damage)) == (name, None, [])


@pytest.mark.parametrize(
    ("body", "cut", "name"),
    [
        ("call:write{n:1", "value", "write"),
        ("call:write{n", "key", "write"),
        ("call:write{path:", "value", "write"),
        ("call:wri", "name", "wri"),
        ("write{n:1}", "name", "write"),
        ("call:write{n:x}", "value", "write"),
    ],
)
def test_of_an_open_call_it_is_told_where_it_ends(body: str, cut: str, name: str) -> None:
    reading = read(body, closed=False)
    assert (reading.arguments, reading.cut, reading.name) == (None, cut, name)


A = ("call:write{path:", QUOTE, "a", QUOTE)


@pytest.mark.parametrize(
    ("body", "arguments", "damage"),
    [
        (("call:f{} ; ",), {}, []),
        ((*A, "}"), {"path": "a"}, []),
        ((*A, ", "), {"path": "a"}, ["brace", "shared pair"]),
        (("call:write{n:1 ",), {"n": 1}, ["brace", "shared pair"]),
        (("call:write{path:'a'}",), {"path": "a"}, ["shared pair", "single quotes"]),
        (("call:write{n:x}, ",), None, []),
    ],
)
def test_calls_in_one_pair_are_read_one_by_one(
    body: tuple[str, ...], arguments: dict[str, object] | None, damage: list[str]
) -> None:
    first, second = read_calls((*body, "call:f{}"), SCHEMAS, closed=True)
    assert first.arguments == arguments
    assert sorted(first.damage) == damage
    assert (second.name, second.arguments, second.raw) == ("f", {}, "call:f{}")


@pytest.mark.parametrize(
    "body",
    [
        ("call:write{n:x} and ",),  # no mark of an end
        ("call:write{path:", QUOTE, "a}"),  # the rest may be the text
        ("call:write{path:", QUOTE, QUOTE),  # the quote may stand twice
        ("call:write{refs:[", QUOTE, "a", QUOTE, ", "),  # an item
        ("call:write{path:",),
    ],
)
def test_what_may_be_a_text_of_a_broken_call_is_no_call_of_its_own(body: tuple[str, ...]) -> None:
    (reading,) = read_calls((*body, "call:f{}"), SCHEMAS, closed=True)
    assert reading.arguments is None


@pytest.mark.parametrize(
    "body",
    [
        "[call:write{n:1},call:f{}]",
        '[{"name":"write","arguments":{"n":1}}, {"name":"f","arguments":{}}]',
    ],
)
def test_a_list_of_calls_is_as_many_calls(body: str) -> None:
    read = read_calls([body], SCHEMAS, closed=True)
    assert [(each.name, each.arguments) for each in read] == [("write", {"n": 1}), ("f", {})]


def test_in_a_shared_pair_a_call_may_have_one_kind_of_damage_less() -> None:
    json = '{"name":"write","arguments":{"n":1}}'
    _, second = read_calls(["call:f{},", json], SCHEMAS, closed=True)
    assert (second.arguments, sorted(second.damage)) == ({"n": 1}, ["JSON", "shared pair"])
    _, second = read_calls(["call:f{},", json.replace('"', "'")], SCHEMAS, closed=True)
    assert second.arguments is None


@pytest.mark.parametrize("text", ["[1]", "a", "x:1"])
def test_a_call_named_in_a_text_behind_a_lost_quote_is_not_read_as_one(text: str) -> None:
    tools = {
        "note": {
            "type": "object",
            "properties": {
                "s": {"type": "string"},
                "l": {"type": "array", "items": {"type": "string"}},
            },
        },
        "wipe": {"type": "object", "properties": {"n": {"type": "integer"}}},
    }
    pieces = ["call:note{s:", QUOTE, f"{text},l:[", QUOTE, "call:wipe{n:1}", QUOTE, ",", QUOTE]
    (reading,) = read_calls([*pieces, "b", QUOTE, "]}"], tools, closed=True)
    assert reading.arguments is None
