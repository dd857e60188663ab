from __future__ import annotations

import random
import time
from typing import Any

import pytest

from agentkit.events import ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.gemma4.parse import ParsedReply, Parser, parse, parse_tokens
from agentkit.gemma4.render import render_call
from agentkit.gemma4.tokens import CALL_OPEN, IDS
from tests.gemma4.replies import (
    SCHEMAS,
    SPELLED_QUOTE,
    call_tokens,
    check_any_input,
    fed,
    only_call,
    pieces_of,
    random_call,
    random_reply,
    same,
    tokenize,
)

Q = '<|"|>'


def call(body: str, name: str = "write") -> str:
    return f"<|tool_call>call:{name}{{{body}}}<tool_call|>"


def arguments(reply: str) -> dict[str, Any]:
    found = only_call(parse(reply, SCHEMAS))
    assert found.malformed is None
    return found.arguments


# --- what vLLM's parser loses (0.32), recovered from the raw text -------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param('refs:["a","b, c"]', {"refs": ["a", "b, c"]}, id="plain quotes in an array"),
        pytest.param('path:"foo"', {"path": "foo"}, id="plain quotes"),
        pytest.param('path:"C:\\dir"', {"path": "C:\\dir"}, id="plain quotes around no JSON"),
        pytest.param(f"path={Q}a{Q},n=3", {"path": "a", "n": 3}, id="equals signs"),
        pytest.param("path:foo, bar,n:3", {"path": "foo, bar", "n": 3}, id="bare text, comma"),
        pytest.param("path:http://a/b?c=d,n:3", {"path": "http://a/b?c=d", "n": 3}, id="bare URL"),
        pytest.param("node:{size:5}", {"node": {"size": 5}}, id="number under a reference"),
        pytest.param("free:{a:5}", {"free": {"a": 5}}, id="number in a free object"),
        pytest.param(f"either:{Q}5{Q}", {"either": "5"}, id="quoted stays text in a union"),
        pytest.param("either:5", {"either": 5}, id="bare is a number in a union"),
        pytest.param(f"maybe:{Q}null{Q}", {"maybe": "null"}, id="quoted null is text"),
        pytest.param("maybe:null", {"maybe": None}, id="bare null is null"),
        pytest.param("n:10.0", {"n": 10}, id="integral float"),
        pytest.param(f"n:{Q}5{Q},flag:{Q}true{Q}", {"n": 5, "flag": True}, id="quoted scalars"),
        pytest.param("path:5,flag:True", {"path": "5", "flag": True}, id="bare scalars"),
        pytest.param("path:007,n:7", {"path": "007", "n": 7}, id="leading zeros"),
        pytest.param(f'node:{Q}{{"size":"2"}}{Q}', {"node": {"size": 2}}, id="JSON in a string"),
        pytest.param(
            f"code:{Q}a<tool_call|>b{Q},n:1", {"code": "a<tool_call|>b", "n": 1}, id="end"
        ),
        pytest.param(f'"path":{Q}a{Q},{Q}n{Q}:1', {"path": "a", "n": 1}, id="quoted keys"),
        pytest.param(f"code:{Q}x{Q},", {"code": "x"}, id="trailing comma"),
        pytest.param("node:{size:1", {"node": {"size": 1}}, id="missing brace"),
        pytest.param("n:1}", {"n": 1}, id="brace too many"),
        pytest.param(
            f"path:weather in Oslo{Q}", {"path": "weather in Oslo"}, id="no opening quote"
        ),
        pytest.param(f"path:a{Q},n:3", {"path": "a", "n": 3}, id="no opening quote, and more"),
        pytest.param("path:'out.pdf'", {"path": "out.pdf"}, id="single quotes"),
        pytest.param("refs:['p','q, r']", {"refs": ["p", "q, r"]}, id="single quotes in an array"),
        pytest.param(f"path:{Q}a{Q}n:3", {"path": "a", "n": 3}, id="no comma behind a text"),
        pytest.param(f"n:5path:{Q}a{Q}", {"path": "a", "n": 5}, id="no comma behind a number"),
        pytest.param("maybe:None", {"maybe": None}, id="Python's null"),
        pytest.param('"path": "a\\nb", "n": 3', {"path": "a\nb", "n": 3}, id="JSON inside"),
        pytest.param("", {}, id="no arguments"),
    ],
)
def test_arguments_are_recovered(body: str, expected: dict[str, Any]) -> None:
    assert same(arguments(call(body)), expected)


def test_a_json_call_inside_the_tags_is_a_call() -> None:
    reply = '<|tool_call>{"name":"write","arguments":{"n":"5","path":"a"}}<tool_call|>'
    assert arguments(reply) == {"n": 5, "path": "a"}


def test_python_call_syntax_and_a_missing_call_word_are_read() -> None:
    assert arguments('<|tool_call>call:write(path="a", n=3)<tool_call|>') == {"path": "a", "n": 3}
    assert arguments("<|tool_call>:write{n:3}<tool_call|>") == {"n": 3}
    assert [c.arguments for c in parse_by_ids("<|tool_call>write{n:3}<tool_call|>").calls] == [
        {"n": 3}
    ]


def test_without_a_schema_quoted_is_text_and_bare_is_json() -> None:
    found = only_call(parse(call(f"a:{Q}5{Q},b:5,c:null", "unknown")))
    assert same(found.arguments, {"a": "5", "b": 5, "c": None})


@pytest.mark.parametrize(
    "body",
    [
        f"code:{Q}a={Q}{Q}{Q}doc{Q}{Q}{Q}{Q}",  # quote tokens inside a text
        f"path:{Q}a",  # the closing quote may have stood anywhere
        f"path:{Q}a,code:{Q}b{Q}",
        "code:if x: {y}",
        f"path:{Q}a{Q},path:{Q}b{Q}",  # twice, and nobody can say which
        "code:'a\\nb'",  # a line break, or a backslash and an n
        'path:"C:\\new"',
        f"code:'x', then:{Q}y{Q}",
        "{{}}",
    ],
)
def test_what_can_be_read_in_more_than_one_way_or_in_none_is_malformed(body: str) -> None:
    found = only_call(parse(call(body), SCHEMAS))
    assert (found.name, found.arguments, found.malformed) == ("write", {}, call(body))


@pytest.mark.parametrize("body", [f"path:a{Q}", f"path:{Q}a", "path:'a", "n:1", f"{Q}"])
def test_damage_in_one_call_costs_its_neighbours_nothing(body: str) -> None:
    reply = parse_by_ids(call("n:0") + call(body) + call("n:2") + "bye")
    arguments = [found.arguments for found in reply.calls if found.malformed is None]
    assert {"n": 0} in arguments
    assert {"n": 2} in arguments
    assert reply.text == "bye"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"call:write{{path:{Q}a{Q}}}call:write{{n:2}}", [{"path": "a"}, {"n": 2}]),
        (f"call:f{{}}, call:write{{path:{Q}b{Q}}}", [{}, {"path": "b"}]),
        (f"call:write{{path:a{Q}}}call:write{{n:2}}", [{"path": "a"}, {"n": 2}]),
        (
            f"call:write{{path:{Q}x{Q}code:{Q}use call:f{{}} here{Q}}}",
            [{"path": "x", "code": "use call:f{} here"}],
        ),
    ],
)
def test_calls_that_share_a_pair_of_tokens_are_read_one_by_one(
    body: str, expected: list[dict[str, Any]]
) -> None:
    reply = parse(f"<|tool_call>{body}<tool_call|>", SCHEMAS)
    assert [found.arguments for found in reply.calls] == expected
    assert not any(found.malformed for found in reply.calls)


def test_text_of_a_call_inside_a_damaged_one_is_no_call() -> None:
    reply = parse(f"<|tool_call>call:write{{code:{Q}please call:f{{}}<tool_call|>", SCHEMAS)
    assert [(found.name, bool(found.malformed)) for found in reply.calls] == [("write", True)]


def test_a_call_that_begins_in_an_open_thought_is_none() -> None:
    reply = parse_by_ids(f"<|channel>thought\nI will {call('n:1')} do it<channel|>Done.")
    assert (reply.calls, reply.call_in_reasoning) == ((), True)
    quoted = parse(f"<|channel>thought\nI will {call('n:1')} do it<channel|>Done.", SCHEMAS)
    assert (quoted.calls, quoted.call_in_reasoning, quoted.text) == ((), False, "Done.")


def parse_by_ids(reply: str) -> ParsedReply:
    """As if each control literal in the reply were the token itself."""
    tokens = tokenize(reply, random.Random(1))
    return parse_tokens([number for number, _ in tokens], [text for _, text in tokens], SCHEMAS)


def test_the_tokens_of_a_thought_are_text_inside_of_a_string() -> None:
    text = "a <channel|> b <|channel> c"
    reply = parse_by_ids(f"<|channel>thought\nhm<channel|>{call(f'code:{Q}{text}{Q}')}")
    assert reply.reasoning == "hm"
    assert [found.arguments for found in reply.calls] == [{"code": text}]


def test_text_around_calls_and_a_thought_each_go_where_they_belong() -> None:
    reply = parse(f"<|channel>thought\nHm.\n<channel|>A{call('n:1')}B{call('n:2')}C", SCHEMAS)
    assert (reply.reasoning, reply.text, len(reply.calls)) == ("Hm.", "ABC", 2)


def test_a_call_that_cannot_be_read_to_its_end_is_cut_or_malformed() -> None:
    broken = f"<|tool_call>call:write{{code:{Q}a{Q} b:{Q}c"
    assert parse(broken, SCHEMAS).truncated is not None
    unreadable = only_call(parse(call(f"code:{Q}a{Q} b:{Q}c"), SCHEMAS))
    assert unreadable.tool_call("1").malformed == call(f"code:{Q}a{Q} b:{Q}c")


# --- cut replies --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "where"),
    [
        ("<|tool_call>", "name"),
        ("<|tool_call>call:wri", "name"),
        ("<|tool_call>call:write{pa", "key"),
        ("<|tool_call>call:write{path:", "value"),
        (f"<|tool_call>call:write{{path:{Q}ab", "string"),
        (f"<|tool_call>call:write{{path:{Q}a{Q}", "value"),
        (f"<|tool_call>call:write{{path:{Q}a{Q},", "key"),
        ("<|tool_call>call:write{n:1", "value"),
        ("<|tool_call>call:write{refs:[", "value"),
        ("<|channel>thought\nI wonder", "reasoning"),
        ("<|channel>tho", "reasoning"),
    ],
)
def test_a_cut_reply_says_where_and_never_holds_a_complete_call(reply: str, where: str) -> None:
    parsed = parse(reply, SCHEMAS)
    assert parsed.truncated == where
    assert parsed.calls == ()
    assert (parsed.cut_call is None) == (where == "reasoning")


def test_no_beginning_of_a_call_is_a_complete_call() -> None:
    source = random.Random(3)
    for _ in range(40):
        whole = render_call(*random_call(source))
        body_end = len(whole) - len("<tool_call|>")
        for end in range(len("<|tool_call>"), body_end):
            assert all(call.malformed for call in parse(whole[:end]).calls), whole[:end]


def test_a_call_that_only_lacks_its_last_token_is_whole() -> None:
    assert arguments(call("n:1").removesuffix("<tool_call|>")) == {"n": 1}
    reply = parse(f"<|tool_call>call:write{{path:{Q}a{Q}}}<|tool_response>", SCHEMAS)
    assert reply.stop == "<|tool_response>"
    assert reply.calls[0].arguments == {"path": "a"}


# --- tokens against text ------------------------------------------------------------------------


def test_text_about_a_token_stays_text() -> None:
    for text in (
        "say `<|tool_call>` to call. ok",
        "the <|channel>foo</b>",
        "a <turn|> b",
        "use <|tool_call>x{} here",
        f"strings have {Q}",
    ):
        assert parse(text) == ParsedReply(text=text)


def test_by_ids_a_literal_in_ordinary_tokens_is_text() -> None:
    spelled = "<|tool_call>call:f{}<tool_call|>"
    parser = Parser(SCHEMAS)
    parser.feed_tokens([1000, 1000, 106, 1000], [spelled, "<|channel>thought\n", "<turn|>", "x"])
    reply = parser.finish()
    assert reply.text == f"{spelled}<|channel>thought\n"
    assert (reply.stop, reply.leftover) == ("<turn|>", "x")


def test_a_prompt_that_ends_in_a_thought_makes_the_reply_begin_in_it() -> None:
    reply = parse("Hm.\n<channel|>Hi", in_reasoning=True)
    assert (reply.reasoning, reply.text, reply.truncated) == ("Hm.", "Hi", None)


def test_deltas_come_as_early_as_they_are_certain() -> None:
    parser = Parser(SCHEMAS)
    assert parser.feed("Hel") == [TextDelta("Hel")]
    assert parser.feed("lo <") == [TextDelta("lo ")]
    assert parser.feed("b>") == [TextDelta("<b>")]
    assert parser.feed("<|channel>thought\nHm") == [ReasoningDelta("Hm")]
    assert parser.feed("m\n") == [ReasoningDelta("m")]
    assert parser.feed("<channel|><|tool_call>call:wr") == []
    assert parser.feed("ite{n:") == [ToolCallDelta(0, "write", "n:")]
    assert parser.feed("1}<tool_call|>") == [ToolCallDelta(0, "write", "1}")]
    assert parser.finish().calls[0].arguments == {"n": 1}


# --- properties, at full size in soak/parse.py ---------------------------------------------------


@pytest.mark.slow
def test_what_is_rendered_parses_back_however_it_is_cut() -> None:
    source = random.Random(11)
    for _ in range(60):
        check_identity(source)


def check_identity(source: random.Random) -> int:
    """One random call, every two-way cut, ten random ones, and ten of tokens; the number fed."""
    name, given = random_call(source)
    text = render_call(name, given)
    cuts = [[at] for at in range(len(text))]
    cuts += [source.choices(range(len(text)), k=source.randint(2, 8)) for _ in range(10)]
    for cut in cuts:
        _, reply = fed(Parser(), pieces_of(text, cut))
        found = only_call(reply)
        assert found.name == name
        assert same(found.arguments, given), text
        assert found.raw == text
    name, given = random_call(source, quotes=True)
    expected = _with_spelled_quotes(given)
    for _ in range(10):
        tokens = call_tokens(name, given, source)
        cut_at = source.randint(0, len(tokens))
        parser = Parser()
        for some in (tokens[:cut_at], tokens[cut_at:]):
            parser.feed_tokens([number for number, _ in some], [piece for _, piece in some])
        assert same(only_call(parser.finish()).arguments, expected), tokens
    return len(cuts) + 10


def _with_spelled_quotes(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(SPELLED_QUOTE, Q)
    if isinstance(value, list):
        return [_with_spelled_quotes(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_spelled_quotes(item) for key, item in value.items()}
    return value


@pytest.mark.slow
def test_every_input_gives_a_result_that_does_not_depend_on_how_it_was_cut() -> None:
    source = random.Random(5)
    for _ in range(1200):
        check_any_input(random_reply(source), source)


def test_hostile_nesting_and_numbers_are_results_too() -> None:
    for body in ("a:" + "[" * 5000, "a:" + "{b:" * 5000, "n:" + "9" * 6000, "n:1e999"):
        assert len(parse(call(body), SCHEMAS).calls) <= 1
    deep = f"free:{Q}{'[' * 3000}{']' * 3000}{Q}"
    assert len(parse(call(deep), SCHEMAS).calls) == 1
    shared = f"<|tool_call>{'call:f{}' * 3000}<tool_call|>"
    assert len(parse(shared, SCHEMAS).calls) == 3000


UNITS = (
    "word ",
    "<",  # the beginning of a token
    call(f"path:{Q}a{Q}"),
    f"<|tool_call>call:write{{code:{Q}x<tool_call|>",  # an unclosed string
    f"<|tool_call>call:write{{code:{Q}x{Q}y<tool_call|>{Q}",  # one quote too many
    "call:write{n:1}\n",
    "<|channel>thought\n",
    "<|tool_call>",
)
"""Fragments that, repeated, would show a parser that looks back too far."""


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_time_grows_in_line_with_the_reply(unit: str) -> None:
    small, big = (seconds_for([unit] * count) for count in (250, 1000))
    assert big < 9 * small + 0.05  # four times the work; were it squared, sixteen times


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["x", '"', Q, ",", "}", "{a:", " ", "k:v,", f"{Q},", "[", "\n\n"])
@pytest.mark.parametrize("ending", ["", "}<tool_call|>"])
def test_time_grows_in_line_with_the_arguments(unit: str, ending: str) -> None:
    start = f"<|tool_call>call:write{{code:{Q}"
    small, big = (seconds_for([start, *[unit] * count, ending]) for count in (250, 1000))
    assert big < 9 * small + 0.05  # four times the work; were it squared, sixteen times


def seconds_for(fragments: list[str]) -> float:
    best = float("inf")
    for _ in range(3):
        parser = Parser(SCHEMAS)
        start = time.thread_time()
        for fragment in fragments:
            parser.feed(fragment)
        parser.finish()
        best = min(best, time.thread_time() - start)
    return best


def test_opening_tokens_without_end_take_time_in_line_with_them() -> None:
    pieces = [CALL_OPEN, "call:find{"] * 20_000
    ids = [IDS[CALL_OPEN], 9_999] * 20_000
    started = time.process_time()
    reply = parse_tokens(ids, pieces, constrained=True)
    assert time.process_time() - started < 5
    assert len(reply.calls) + (reply.cut_call is not None) == 20_000
