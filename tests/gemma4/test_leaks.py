from __future__ import annotations

import random

import pytest

from agentkit.gemma4.leaks import find_leaked_calls
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
