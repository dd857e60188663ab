from __future__ import annotations

import json
import math
import random
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema

from agentkit.gemma4.ebnf import EXCLUDED
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.grammar import (
    Grammar,
    ToolGrammar,
    compile_grammar,
    compile_tool,
)
from agentkit.gemma4.parse import parse
from agentkit.gemma4.render import render_call, render_value
from agentkit.messages import ToolChoice, ToolDefinition
from agentkit.schema.lower import LoweredTool, lower
from tests.gemma4.ebnf import Ebnf
from tests.gemma4.replies import repeats_a_key, unescaped
from tests.schema.corpus import CONSTRUCTS, everything
from tests.schema.validity import broken

CALL = "<|tool_call>call:"
CLOSE = "<tool_call|>"
ONE = ToolChoice("required", max_calls=1)


def tool(schema: dict[str, Any], name: str = "f") -> LoweredTool:
    return lower(ToolDefinition(name, "", schema))


def member(schema: Any, **more: Any) -> LoweredTool:
    """A tool with one required parameter `x`."""
    return tool({"type": "object", "properties": {"x": schema}, "required": ["x"], **more})


def grammar(tool_: LoweredTool) -> Ebnf:
    return Ebnf(compile_grammar([compile_tool(tool_)], ONE).ebnf)


def accepts(tool_: LoweredTool, arguments: dict[str, Any]) -> bool:
    """Whether the grammar takes the call as the template would print it."""
    call = render_call(tool_.definition.name, Escape().escape_json(tool_.rename(arguments)))
    return grammar(tool_).accepts(call.removeprefix(CALL).removesuffix(CLOSE))


def carries(tool_: LoweredTool, *keywords: str) -> bool:
    carried = {keyword for _, keyword in compile_tool(tool_).carried}
    return set(keywords) <= carried


@cache
def all_tools() -> list[tuple[LoweredTool, ToolGrammar]]:
    lowered = [lower(definition) for definition in everything()]
    return [(tool_, compile_tool(tool_)) for tool_ in lowered]


# --- what it accepts is valid, what is valid it accepts ----------------------------------------


@pytest.mark.slow
def test_every_sampled_call_parses_and_obeys_all_that_the_grammar_carries() -> None:
    rng = random.Random(20260731)
    escape = Escape()
    for tool_, one in all_tools():
        sampler = Ebnf(compile_grammar([one], ONE).ebnf)
        name, schema = tool_.definition.name, tool_.definition.parameters
        for _ in range(3):
            text = f"{CALL}{sampler.sample(rng)}{CLOSE}"
            reply = parse(text, {one.name: tool_.shape})
            assert not reply.truncated
            assert [call.name for call in reply.calls] == [name], text
            if reply.calls[0].malformed:
                assert repeats_a_key(text), text
                continue
            arguments = unescaped(escape, tool_.restore(reply.calls[0].arguments))
            assert not broken(arguments, schema, one.carried), (text, arguments)


COMPLETE = [
    *("string", "string enum", "string const", "integer", "integer range", "wide range"),
    *("at least", "integer enum", "multiple", "boolean", "boolean const", "null", "array"),
    *("nullable list", "optional", "optional enum", "short array", "unique", "object"),
    *("old tuple", "union", "type list", "object union", "number range", "not"),
    *("above zero", "number", "pattern", "long string", "filled string"),
]


_SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much]
_numbers = st.integers(-99, 99) | st.decimals(-99, 99, places=3).map(float)
OBJECTS = {
    "object": st.fixed_dictionaries(
        {"x": _numbers}, optional={"Label": st.text("ab|> é", max_size=5)}
    ),
    "object union": st.fixed_dictionaries({"kind": st.just("cat"), "lives": st.integers(-9, 9)})
    | st.fixed_dictionaries({"kind": st.just("dog")}, optional={"breed": st.text("ab<|> é")}),
}
"""Objects are drawn by hand: hypothesis-jsonschema 0.23 cannot, with today's hypothesis."""


@pytest.mark.parametrize("construct", COMPLETE)
def test_every_valid_call_is_accepted(construct: str) -> None:
    schema = _closed(CONSTRUCTS[construct])
    tool_ = member(schema)
    compiled = grammar(tool_)

    @settings(max_examples=15, deadline=None, suppress_health_check=_SLOW)
    @given(OBJECTS[construct] if construct in OBJECTS else from_schema(schema))
    def check(value: Any) -> None:
        assume(_writable(value))
        call = render_call("f", Escape().escape_json(tool_.rename({"x": value})))
        assert compiled.accepts(call.removeprefix(CALL).removesuffix(CLOSE)), call

    check()


def _closed(schema: Any) -> Any:
    """The schema without room for members it does not name: the grammar leaves them no room."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    return {**closed, "additionalProperties": False} if "properties" in schema else closed


def _writable(value: Any) -> bool:
    """What the grammar means to leave out: huge or tiny numbers, and texts that spell an end."""
    if isinstance(value, list):
        return all(map(_writable, value))
    if isinstance(value, dict):
        return all(map(_writable, value.values()))
    if isinstance(value, str):
        return not any(literal in value for literal in EXCLUDED)
    if isinstance(value, float) and ("e" in repr(value) or len(repr(value)) > 15):
        return False
    return not isinstance(value, int | float) or abs(value) < 10**18


# --- constructs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"enum": ["a", 1, None, True]}, ["a", 1, None, True], ["b", 2, False]),
        ({"const": {"k": [1, "x"]}}, [{"k": [1, "x"]}], [{"k": [1]}, {}]),
        ({"type": "integer", "minimum": 1, "maximum": 7}, [1, 7], [0, 8, 1.5, "3"]),
        ({"type": "integer", "exclusiveMinimum": -3, "maximum": 12}, [-2, 0, 12], [-3, 13]),
        ({"type": "integer", "minimum": 95, "maximum": 1203}, [95, 999, 1203], [94, 1204]),
        ({"type": "integer", "multipleOf": 4, "minimum": 0, "maximum": 9}, [0, 4, 8], [2, 12]),
        ({"type": "number", "minimum": 0, "maximum": 1}, [0, 0.5, 1, 1.0], [-0.1, 1.1, 2]),
        ({"type": "number", "exclusiveMinimum": -1, "maximum": 2}, [-0.9, 0, 2], [-1, 2.1]),
        ({"type": "number"}, [0, -1.5, 1e22, 123456789], [True, "1", None]),
        ({"type": "boolean"}, [True, False], [None, 1, "true"]),
        ({"type": "string", "maxLength": 0}, [""], ["a"]),
        ({"type": "string", "maxLength": 3}, ["", "abc", "é😀x", "a" * 128], ["a" * 129]),
        ({"type": "string", "maxLength": 64}, ["a" * 64], ["a" * 129]),
        ({"type": "string", "maxLength": 65}, ["<" * 256], ["a" * 257]),
        ({"type": "string", "minLength": 1}, ["a", "<", "<<", "<html>", "<t", "<to", "<|x"], [""]),
        ({"type": "string", "minLength": 3}, ["abc", "<<<", "<to", "<|x", "a<t"], ["ab", "<<", ""]),
        ({"type": "string", "minLength": 2, "maxLength": 4}, ["ab", "a|b<"], ["a", "a" * 129]),
        ({"type": "string", "pattern": "^[a-z]+\\d{2}$"}, ["ab12"], ["12", "ab1", "ab123"]),
        ({"type": "string", "pattern": "b"}, ["abc", "b"], ["ac"]),
        ({"type": "string", "pattern": "^a|b$"}, ["ax", "xb"], ["xa"]),
        (
            {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3},
            ["abc"],
            ["a b", ""],
        ),
        ({"type": "string", "format": "date"}, ["2026-02-28"], ["2026-02-30", "26-1-1", ""]),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 2}, [[], [1, 2]], [[1, 2, 3]]),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 1}, [[True]], [[]]),
        ({"type": ["string", "null"]}, ["a", None], [1]),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}, {"enum": ["a"]}], "minItems": 1},
            [[1], [1, "a"]],
            [[], ["a"], [1, "a", 2]],
        ),
        (
            {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"const": 1}}},
            [{}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}],
            [{"c": 1}, {"a": 2}],
        ),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 2},
            [{}, {"k": 1}, {"two words": 1, "k": 2}],
            [{"k": "a"}, {"a": 1, "b": 2, "c": 3}],
        ),
        (
            {
                "type": "object",
                "properties": {"ab": {"const": 1}},
                "additionalProperties": {"const": 2},
            },
            [{"ab": 1}, {"z": 2}, {"ab": 1, "abc": 2}, {"a": 2}],
            [{"ab": 2}, {"z": 1}],
        ),
        (
            {"type": "object", "patternProperties": {"^[A-Z]+$": {"const": 1}}},
            [{}, {"AB": 1}],
            [{"ab": 1}, {"AB": 2}],
        ),
        (
            {"type": "object", "propertyNames": {"enum": ["a", "b"]}},
            [{"a": 1, "b": [2]}],
            [{"c": 1}],
        ),
        (
            {"anyOf": [{"type": "integer", "maximum": 9}, {"type": "string", "maxLength": 0}]},
            [9, ""],
            [10, "ab", True],
        ),
        (
            {"allOf": [{"type": "integer", "minimum": 2}, {"maximum": 3}]},
            [2, 3],
            [1, 4],
        ),
        ({}, [1, "a", None, {"a": [{"b": True}]}, [[]]], []),
    ],
)
def test_a_construct_accepts_what_fits_and_nothing_else(
    schema: dict[str, Any], good: list[Any], bad: list[Any]
) -> None:
    tool_ = member(schema)
    compiled = grammar(tool_)
    for value in good:
        assert compiled.accepts(f"f{{x:{render_value(value)}}}"), value
    for value in bad:
        assert not compiled.accepts(f"f{{x:{render_value(value)}}}"), value


def test_a_required_member_cannot_be_left_out_and_no_other_added() -> None:
    tool_ = tool(
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "B": {"type": "integer"}},
            "required": ["B"],
        }
    )
    assert accepts(tool_, {"B": 1})
    assert accepts(tool_, {"a": 2, "B": 1})
    assert not accepts(tool_, {"a": 2})
    assert not accepts(tool_, {"B": 1, "c": 3})
    assert not grammar(tool_).accepts("f{B:1,a:2}")  # one order only: the template's


TEXTS: list[dict[str, Any]] = [
    *({}, {"minLength": 1}, {"minLength": 3}, {"minLength": 12}, {"maxLength": 40}),
    *({"minLength": 2, "maxLength": 40}, {"pattern": r"^\S+$"}, {"pattern": "b"}),
    *({"pattern": r"^ab.*$"}, {"pattern": r"^[^@]+(@[^@]*)?$"}, {"pattern": ".{1,99}"}),
]


@pytest.mark.parametrize("limits", TEXTS)
def test_no_string_spells_what_ends_a_string_or_a_call_for_its_reader(
    limits: dict[str, Any],
) -> None:
    compiled = grammar(member({"type": "string", **limits}))
    for control in ('<|"|>', "<tool_call|>"):
        for text in (control, f"ab{control}", f"ab<{control}cd", f"ab<tool_call{control}"):
            assert not compiled.accepts(f'f{{x:<|"|>{text}<|"|>}}'), text


def test_texts_that_only_look_like_control_literals_are_free() -> None:
    compiled = grammar(member({"type": "string"}))
    for text in ("a |> b <| c", "<table><tr>", "x < y | z > 0", "<|x|>", "List<string | null>"):
        assert compiled.accepts(f'f{{x:<|"|>{text}<|"|>}}'), text


ORDINARY = [
    '<!DOCTYPE html><html><body><p class="a">1 &lt; 2</p><table><tr><td>x</td></tr></table></body>',
    "<t><to><tool><tool_call><tool_call|<tool_call|x><<tool_cal|>",
    '<|x|> <| "|> <|" |> <|"| > <<|"|',
    "template<typename T> T max(T a, T b) { return a <b ? b : a; }",
    "SELECT * FROM t WHERE a <> b AND c<d;",
    "if a <b and c <t: print(x <c | y)",
    "∀ε>0 ∃δ>0: |x-a|<δ ⇒ |f(x)-L|<ε; a<b<c, <u,v>, |<ψ|φ>|²",
    "<input><a href='x'><ul><li></ul><video><em><i><mask>",
    "cat <<EOF | tr a b > out\n<|channel> <|turn> are text here\nEOF",
]


@pytest.mark.parametrize("limits", [*TEXTS[:6], {"pattern": "."}, {"pattern": r"^[\s\S]{1,900}$"}])
def test_ordinary_text_with_angle_brackets_can_be_written_under_every_limit(
    limits: dict[str, Any],
) -> None:
    compiled = grammar(member({"type": "string", **limits}))
    for text in ORDINARY:
        assert compiled.accepts(f'f{{x:<|"|>{text}<|"|>}}'), text


# What literals are made of, and what they are not: counted from its end, a text meets them there.
PIECES = (
    *("<", "|", '"', ">", "l", "_", "a", "x", "call", ">>", "<p>", "<tool", '<|"', "<|", "|>"),
    *('<|"|', "<tool_call|", "<channel|", "tool_call|>", "channel|>", '|"|>', '"|>', "l|>"),
    *("ll|>", "el|>", "model|>", "all|>f()"),
)


@pytest.mark.slow
@given(
    st.one_of(
        st.text('<|">tool_cal x', max_size=30),
        st.lists(st.sampled_from(PIECES), max_size=5).map("".join),
    ),
    st.sampled_from([0, 1, 2, 3, 7]),
)
@settings(max_examples=400, deadline=None)
def test_a_text_is_out_of_reach_only_if_it_spells_an_end_or_is_too_short(
    text: str, least: int
) -> None:
    compiled = filled(least)
    spells = any(end in text for end in ('<|"|>', "<tool_call|>"))
    if spells or len(text) < min(least, 3):
        assert not compiled.accepts(f'f{{x:<|"|>{text}<|"|>}}')
    elif len(text) >= least:
        assert compiled.accepts(f'f{{x:<|"|>{text}<|"|>}}')


@cache
def filled(least: int) -> Ebnf:
    return grammar(member({"type": "string", "minLength": least}))


@pytest.mark.parametrize("pattern", [r"^\S+$", r"^\S*$", r"^x[^y]*$", r"^.+$"])
@pytest.mark.parametrize("keyword", ["propertyNames", "patternProperties"])
def test_a_pattern_of_keys_lets_no_key_end_itself(pattern: str, keyword: str) -> None:
    numbers = {"type": "integer"}
    limits: dict[str, Any] = (
        {"propertyNames": {"pattern": pattern}, "additionalProperties": numbers}
        if keyword == "propertyNames"
        else {"patternProperties": {pattern: numbers}, "additionalProperties": False}
    )
    compiled = grammar(member({"type": "object", **limits}))
    assert compiled.accepts("f{x:{xa:1}}")
    for key in ("x}", "x{", 'x"', "x[", "x<|"):
        assert not compiled.accepts(f"f{{x:{{{key}:1}}}}"), key


def test_recursion_is_bounded_and_ends() -> None:
    tree = {
        "type": "object",
        "properties": {"left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["left"],
    }
    tool_ = tool(tree)
    assert accepts(tool_, {"left": {"left": None}})
    deep: dict[str, Any] = {"left": None}
    for _ in range(8):
        deep = {"left": deep}
    assert not accepts(tool_, deep)


def test_a_recursion_that_can_never_end_falls_back_to_free_members() -> None:
    tool_ = tool({"properties": {"next": {"$ref": "#"}}, "required": ["next"]})
    assert accepts(tool_, {"next": {"next": 1}})
    assert not carries(tool_, "required")


def test_aliased_and_escaped_names_and_values_are_the_ones_declared() -> None:
    schema = {"properties": {"type": {"enum": ["<turn|>"]}}, "required": ["type"]}
    tool_ = tool({"type": "object", **schema})
    assert accepts(tool_, {"type": "<turn|>"})
    assert grammar(tool_).accepts(f'f{{type_:<|"|>{Escape().escape("<turn|>")}<|"|>}}')
    assert not grammar(tool_).accepts('f{type_:<|"|><turn|><|"|>}')


def test_what_a_grammar_cannot_hold_is_not_said_to_be_carried() -> None:
    assert not carries(member({"type": "array", "items": {}, "uniqueItems": True}), "uniqueItems")
    assert not carries(member({"type": "string", "minLength": 30}), "minLength")
    assert not carries(member({"type": "string", "pattern": "(?=a)"}), "pattern")
    assert carries(member({"type": "number", "minimum": 0.5}), "minimum")
    assert not carries(member({"type": "string", "maxLength": 9}), "maxLength")
    assert not carries(member({"type": "string", "pattern": "^[a-z]{1,64}$"}), "pattern")
    assert not carries(member({"type": "string", "format": "hostname"}), "format")
    assert not carries(
        member({"type": "string", "pattern": r"^\S{5,}$", "minLength": 5}), "minLength"
    )
    overlapping = {"oneOf": [{"type": "integer"}, {"type": "number"}]}
    assert not carries(member(overlapping), "oneOf")
    apart = {"oneOf": [{"type": "integer"}, {"type": "string"}]}
    assert carries(member(apart), "oneOf")


# --- requests ----------------------------------------------------------------------------------


def form(grammar_: Grammar) -> dict[str, Any]:
    outer = json.loads(grammar_.structured_outputs["structural_tag"])
    assert outer["type"] == "structural_tag"
    found: dict[str, Any] = outer["format"]
    return found


TWO = [compile_tool(tool({}, "f")), compile_tool(tool({"properties": {"n": {}}}, "g"))]


def _object(**members: Any) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": list(members)}


def test_each_branch_of_a_union_can_be_written_however_many_there_are() -> None:
    kinds = [_object(kind={"const": f"k{number}"}) for number in range(300)]
    nested = [{"anyOf": kinds[at : at + 12]} for at in range(0, 144, 12)]
    for schema in ({"anyOf": kinds}, {"anyOf": nested}):
        held = member(schema)
        assert carries(held, "anyOf")
        assert accepts(held, {"x": {"kind": "k0"}})
        assert accepts(held, {"x": {"kind": "k143"}})
        assert not accepts(held, {"x": {"kind": "k300"}})


def test_of_unions_whose_combinations_are_too_many_the_last_are_given_up_and_said_to_be() -> None:
    unions = [
        {"anyOf": [_object(**{f"m{at}_{number}": {"type": "integer"}}) for number in range(12)]}
        for at in range(3)
    ]
    held = member({"allOf": unions})
    assert accepts(held, {"x": {"m0_11": 1, "m1_11": 1, "m2_11": 1}})
    assert not accepts(held, {"x": {"m0_11": 1, "m2_11": 1}})
    carried = {path for path, keyword in compile_tool(held).carried if keyword == "anyOf"}
    assert len(carried) == 2


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "exclusiveMinimum": 2_000_000},
        {"type": "number", "exclusiveMinimum": 10**15},
        {"type": "number", "minimum": 1e-20},
        {"type": "number", "exclusiveMaximum": 1e300},
        {"type": "integer", "maximum": 10**400},
        {"type": "number", "maximum": math.inf},
        {"type": "integer", "exclusiveMinimum": -math.inf},
        {"type": "integer", "multipleOf": math.nan},
    ],
)
def test_a_member_whose_bounds_cannot_be_held_can_still_be_written(schema: dict[str, Any]) -> None:
    optional = tool({"properties": {"a": schema, "b": {"type": "string"}}})
    assert accepts(optional, {"a": 4_000_000, "b": "x"})
    assert not accepts(optional, {"a": "x"})
    required = tool({"properties": {"a": schema}, "required": ["a"]})
    assert accepts(required, {"a": 4_000_000})
    assert not accepts(required, {"other": 1})


def test_beside_a_name_of_any_length_other_members_can_be_written() -> None:
    name = "n" * 5_000
    open_ = tool({"properties": {name: {"type": "null"}}, "additionalProperties": True})
    assert accepts(open_, {name: None})
    assert accepts(open_, {"other": 1})


FREE_TEXT = {"type": "any_text", "excludes": ["<|tool_call>"]}
EBNF = compile_grammar(TWO, ToolChoice()).ebnf
TAG = {
    "type": "tag",
    "begin": CALL,
    "content": {"type": "grammar", "grammar": EBNF},
    "end": CLOSE,
}


def _triggered(*, at_least_one: bool, stop_after_first: bool) -> dict[str, Any]:
    """Free text until a call begins, which is then a valid one."""
    return {
        "type": "triggered_tags",
        "triggers": ["<|tool_call>"],
        "tags": [TAG],
        "at_least_one": at_least_one,
        "stop_after_first": stop_after_first,
    }


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(), _triggered(at_least_one=False, stop_after_first=False)),
        (ToolChoice(max_calls=1), _triggered(at_least_one=False, stop_after_first=True)),
        (ONE, _triggered(at_least_one=True, stop_after_first=True)),
        (ToolChoice("required"), {"type": "plus", "content": TAG}),
        (
            ToolChoice("required", max_calls=3),
            {"type": "repeat", "min": 1, "max": 3, "content": TAG},
        ),
        (
            ToolChoice(max_calls=2),
            {
                "type": "sequence",
                "elements": [FREE_TEXT, {"type": "repeat", "min": 0, "max": 2, "content": TAG}],
            },
        ),
        (ToolChoice("none"), FREE_TEXT),
        (ToolChoice("none", max_calls=1), FREE_TEXT),
    ],
)
def test_each_choice_has_its_format_of_a_structural_tag(
    choice: ToolChoice, expected: dict[str, Any]
) -> None:
    assert form(compile_grammar(TWO, choice)) == expected


def test_without_tools_only_free_text_is_left() -> None:
    assert form(compile_grammar([], ToolChoice())) == FREE_TEXT
    with pytest.raises(ValueError, match=r"asks for a call, but the request's tools are \[\]"):
        compile_grammar([], ToolChoice("required"))


def test_several_tags_of_another_style_are_alternatives() -> None:
    tags = [{"type": "tag", "begin": name} for name in ("f", "g")]
    forced = form(compile_grammar(TWO, ToolChoice("required"), tags=lambda _: tags))
    assert forced == {"type": "plus", "content": {"type": "or", "elements": tags}}
    free = form(compile_grammar(TWO, ToolChoice(), tags=lambda _: tags))
    assert free["tags"] == tags


def test_a_named_tool_is_the_only_one_in_the_grammar() -> None:
    found = compile_grammar(TWO, ToolChoice("required", name="g"))
    assert [one.name for one in found.tools] == ["g"]
    assert Ebnf(found.ebnf).accepts("g{}")
    assert not Ebnf(found.ebnf).accepts("f{}")


def test_what_stands_behind_too_long_a_chain_of_definitions_is_free() -> None:
    chain: dict[str, object] = {
        f"D{at}": {
            "type": "object",
            "properties": {"n": {"$ref": f"#/$defs/D{at + 1}"}},
            "required": ["n"],
        }
        for at in range(600)
    }
    chain["D600"] = {"type": "string"}
    deep = tool({"properties": {"n": {"$ref": "#/$defs/D0"}}, "required": ["n"], "$defs": chain})
    grammar = Ebnf(compile_grammar([compile_tool(deep)], ToolChoice()).ebnf)
    for levels in (60, 90):
        assert grammar.accepts("f{" + "n:{" * levels + "n:5" + "}" * levels + "}")
    assert not grammar.accepts("f{n:5}")


def test_a_call_among_some_tools_is_of_none_but_these() -> None:
    found = compile_grammar(TWO, ToolChoice("required", among=("g", "h")))
    assert [one.name for one in found.tools] == ["g"]
    with pytest.raises(ValueError, match=r"asks for h or i, but the request's tools are"):
        compile_grammar(TWO, ToolChoice("required", among=("h", "i")))


def test_a_choice_that_no_tool_answers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"asks for h, but the request's tools are \['f', 'g'\]"):
        compile_grammar(TWO, ToolChoice("required", name="h"))


def test_rules_that_tools_share_are_written_once() -> None:
    tools = [compile_tool(lower(ToolDefinition(f"t{n}", "", _TEXTS))) for n in range(100)]
    ebnf = compile_grammar(tools, ToolChoice()).ebnf
    assert ebnf.count("TagDispatch") == 1


_TEXTS = {"properties": {"a": {"type": "string"}, "b": {"type": "string", "maxLength": 9}}}


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_integer_ranges_hold_exactly_their_integers(data: st.DataObject) -> None:
    low = data.draw(st.integers(-2000, 2000))
    high = data.draw(st.integers(low, 2500))
    compiled = grammar(member({"type": "integer", "minimum": low, "maximum": high}))
    for value in {low - 1, low, high, high + 1, (low + high) // 2, 0, -low, high * 10, 9, 10}:
        assert compiled.accepts(f"f{{x:{value}}}") == (low <= value <= high)
