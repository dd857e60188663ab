"""The judges themselves: the strict reader, the enumerator of readings, and what a server sends."""

from __future__ import annotations

import json
import random

import pytest

from tests.reading.as_vllm import read_as_vllm
from tests.reading.damage import KINDS, Kind, Meant, damaged, whole
from tests.reading.readings import readings
from tests.reading.schemas import TOOLS
from tests.reading.strict import read_strictly
from tests.reading.tokens import CLOSE, OPEN, QUOTE, decode, encode, spelled

Q = QUOTE


def unit(text: str) -> str:
    return f"{OPEN}{text.replace('~', QUOTE)}{CLOSE}"


def keys(text: str, *tools: str, closing: bool = False) -> set[str]:
    offered = {name: TOOLS[name] for name in tools}
    return set(readings(unit(text), offered, closing=closing))


def test_a_strict_reader_takes_back_what_was_meant() -> None:
    source = random.Random(1)
    for tool in TOOLS.values():
        for _ in range(20):
            meant = Meant(tool.name, tool.arguments(source))
            assert tool.fits(meant.arguments)
            written = whole(meant).written
            read = read_strictly(written)
            assert read is not None
            assert read.key == meant.key
            assert decode(encode(written, source)) == spelled(written)


@pytest.mark.parametrize(
    "text",
    [
        "call:add{a:1,b:2",
        "call:add(a=1,b=2)",
        "add{a:1,b:2}",
        "call:add{a:1 b:2}",
        "call:add{a:1,b:2,}",
        "call:add{a:01,b:2}",
        "call:add{a:1,a:2}",
        "call:send{to:Ann,body:~x~}",
        "call:send{to:'Ann',body:~x~}",
        "call:send{to:~Ann,body:~x~}",
        'call:send{to:"Ann",body:~x~}',
        "call:add{a:1,b:2}call:add{a:1,b:2}",
        "call:add{a:None,b:2}",
        '{"name": "add", "arguments": {"a": 1, "b": 2}}',
    ],
)
def test_a_strict_reader_repairs_nothing(text: str) -> None:
    assert read_strictly(unit(text)) is None


def test_a_strict_reader_takes_no_call_token_into_a_string() -> None:
    inside = f"{OPEN}call:send{{to:{Q}a{CLOSE}{Q},body:{Q}b{Q}}}{CLOSE}"
    assert read_strictly(inside) is None


@pytest.mark.parametrize(
    ("text", "tool", "expected"),
    [
        ("call:add{a:1,b:2}", "add", {"a": 1, "b": 2}),
        ("call:send{to:Ann~,body:~hi, you~}", "send", {"to": "Ann", "body": "hi, you"}),
        ("call:send{to:'Ann',body:'hi'}", "send", {"to": "Ann", "body": "hi"}),
        ("call:add(a=1, b=2)", "add", {"a": 1, "b": 2}),
        ("call:add{a:1b:2}", "add", {"a": 1, "b": 2}),
        ("call:add{a:1,b:2", "add", {"a": 1, "b": 2}),
        ("call:functions.add{a:1,b:2}", "add", {"a": 1, "b": 2}),
        ('call:send{to:"a\\"b",body:"c"}', "send", {"to": 'a"b', "body": "c"}),
        ('{"name": "add", "arguments": {"a": 1, "b": 2}}', "add", {"a": 1, "b": 2}),
        ("call:play{song:~x~,artist:None}", "play", {"song": "x", "artist": None}),
        (":add{a:1,b:2}", "add", {"a": 1, "b": 2}),
        ("add(a=1, b=2)", "add", {"a": 1, "b": 2}),
        ("call:route{start:{lat:1,lon:2,end:{lat:3,lon:4},mode:~car~}", "route",
         {"start": {"lat": 1, "lon": 2}, "end": {"lat": 3, "lon": 4}, "mode": "car"}),
    ],
)  # fmt: skip
def test_there_is_one_reading_of_a_call_with_one_damage(
    text: str, tool: str, expected: dict[str, object]
) -> None:
    assert keys(text, tool) == {Meant(tool, expected).key}


def test_there_is_no_reading_where_nothing_fits() -> None:
    assert keys("call:send{to:~ann~,body:~x~,urgency:~high~}", "send") == set()
    assert keys("call:calendar.add{a:1,b:2}", "add") == set()
    assert keys("call:add{a:1}", "add") == set()
    assert keys("call:add(a=1;b=2)", "add") == set()


def test_a_text_whose_end_is_lost_has_several_readings() -> None:
    found = keys("call:recall_memory{key:~a, limit:5}", "recall_memory", closing=True)
    assert Meant("recall_memory", {"key": "a", "limit": 5}).key in found
    assert Meant("recall_memory", {"key": "a, limit:5"}).key in found


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_meant_is_among_the_readings_of_what_was_written(kind: Kind) -> None:
    source = random.Random(7)
    drawn = 0
    while drawn < 40:
        tool, other = source.sample(list(TOOLS.values()), 2)
        made = damaged(tool, [other], (kind,), source)
        if made is None:
            continue
        drawn += 1
        offered = {tool.name: tool, other.name: other}
        found = readings(made.written, offered, closing=kind == "closing quote")
        if kind == "foreign namespace" or (kind == "undeclared" and tool.closed):
            assert not found, spelled(made.written)
        elif kind != "undeclared" and read_strictly(made.written) is None:
            assert "; ".join(call.key for call in made.meant) in found, spelled(made.written)


def test_a_server_reads_as_vllm_does() -> None:
    schema = {"properties": {"n": {"type": "integer"}, "t": {"type": ["string", "null"]}}}
    reply = f"{OPEN}call:f{{n:{Q}5{Q},t:'x',u:[a,{{k:{Q}v{Q}}}]}}{CLOSE}after"
    read = read_as_vllm(reply, {"f": schema})
    name, arguments = read.calls[0]
    assert (name, read.text) == ("f", "")
    assert json.loads(arguments) == {"n": 5, "t": "'x'", "u": ["a", {"k": "v"}]}
    quoted = read_as_vllm("see <|tool_call>call:f{t:null}<tool_call|>.", {"f": schema})
    assert (quoted.text, quoted.calls) == ("see", (("f", '{"t": null}'),))


def test_a_stream_is_read_by_its_ids() -> None:
    spelled_out = "see <|tool_call>call:f{}<tool_call|>."
    assert read_as_vllm(spelled_out, {}, by_ids=True).text == spelled_out
    real = read_as_vllm(f"see {OPEN}call:f{{}}{CLOSE}.", {}, by_ids=True)
    assert (real.text, real.calls) == ("see .", (("f", "{}"),))
