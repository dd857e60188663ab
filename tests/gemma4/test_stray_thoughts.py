from __future__ import annotations

import random

import pytest

from agentkit.gemma4.leaks import find_leaked_calls, json_call, split_thought, unknown_names
from tests.gemma4.replies import SCHEMAS, random_reply

Q = '<|"|>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call:write{n:5}", [{"n": 5}]),
        (f"Now call:write{{path:{Q}a}}b{Q},n:3}}<tool_call|> done", [{"path": "a}b", "n": 3}]),
        (f"<|tool_call>call:write{{path={Q}v{Q}}}<tool_call|>", [{"path": "v"}]),
        ("call:write{n:1}call:write{n:2}", [{"n": 1}, {"n": 2}]),
        ("call:other{n:1}", []),
        ("write it as `call:write{n:1}` please", []),
        ('it says "call:write{n:1}"', []),
        ("```\ncall:write{n:1}\n```", []),
        ("```\ncode\n```\ncall:write{n:1}", [{"n": 1}]),
        ("call:write{n:", []),
        ("no call at all", []),
    ],
)
def test_leaked_calls_are_found_outside_quotes_and_code(
    text: str, expected: list[dict[str, object]]
) -> None:
    found = find_leaked_calls(text, ["write"], SCHEMAS)
    assert [call.arguments for call in found] == expected
    assert all(text[call.start : call.end] == call.raw for call in found)


def test_without_known_tools_nothing_is_a_call() -> None:
    assert find_leaked_calls("call:write{n:5}", []) == []


def test_any_text_is_searched_without_an_error() -> None:
    source = random.Random(9)
    for _ in range(400):
        text = random_reply(source) + "call:write{" + random_reply(source)
        for call in find_leaked_calls(text, SCHEMAS, SCHEMAS):
            assert text[call.start : call.end] == call.raw


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "write", "arguments": {"n": 1}}',
        '```json\n{"name": "write", "parameters": {}}\n```',
        ' ```\n{"tool": "write", "arguments": {}}\n``` ',
        '{"function": "write", "arguments": {}}',
    ],
)
def test_a_text_that_is_nothing_but_a_call_in_json_names_its_tool(text: str) -> None:
    assert json_call(text, {"write"}) == "write"


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "other", "arguments": {}}',
        '{"name": "write"}',
        '{"name": "write", "arguments": "n"}',
        '{"name": ["write"], "arguments": {}}',
        '{"name": "write", "arguments": {}',
        'Write: {"name": "write", "arguments": {}}',
        '```json\n{"sum": 3}\n```',
        '[{"name": "write", "arguments": {}}]',
        "",
    ],
)
def test_other_json_is_an_answer(text: str) -> None:
    assert json_call(text, {"write"}) is None


@pytest.mark.parametrize(
    ("text", "thought", "rest"),
    [
        ("<|channel>thought\nhm<channel|>Yes.", "hm", "Yes."),
        ("Yes. <|channel>thought\nhm<channel|>No.", "hm", "Yes. No."),
        ("<|channel>thought\na<channel|>b<|channel>c<channel|>d", "a\nc", "bd"),
        ("<|channel>thought\nnever closed", "never closed", ""),
        ("thought\nhm<channel|>Yes.", "hm", "Yes."),
        ("thought\nYes.", "", "Yes."),
        ("a thought\nYes.", "", "a thought\nYes."),
        ("`<|channel>` opens a thought.", "", "`<|channel>` opens a thought."),
        (
            "```\n<|channel>thought\nhm<channel|>\n```",
            "",
            "```\n<|channel>thought\nhm<channel|>\n```",
        ),
        ("Yes.", "", "Yes."),
    ],
)
def test_thoughts_are_taken_out_of_a_text(text: str, thought: str, rest: str) -> None:
    assert split_thought(text) == (thought, rest)


def test_names_behind_call_tokens_are_found_whoever_offers_them() -> None:
    text = "<|tool_call>call:a.b{}<tool_call|> call:c{} <|tool_call>call:d{"
    assert unknown_names(text) == {"a.b", "d"}
