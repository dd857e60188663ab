"""What of JSON can be kept exactly: judged by writing it into a journal and reading it back."""

import json
import math
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.exact import (
    MAX_DEPTH,
    MAX_DIGITS,
    InexactError,
    NotJsonError,
    read_exact,
    text_of_inexact,
    unfenced,
    why_inexact,
)
from agentkit.journal import CallIntended, dump_entry, load_entry
from agentkit.messages import ToolCall


def nested(levels: int, inner: Any = 1) -> Any:
    for level in range(levels):
        inner = {"a": inner} if level % 2 else [inner]
    return inner


def comes_back(arguments: dict[str, Any]) -> bool:
    """Whether a journal gives back the very value, told by its canonical text."""
    entry = load_entry(dump_entry(CallIntended("k", ToolCall("c", "f", arguments), "once", "b", 1)))
    assert isinstance(entry, CallIntended)
    return canonical(entry.call.arguments) == canonical(arguments)


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-9, 9).map(lambda n: 10**MAX_DIGITS + n)
    | st.floats()
    | st.text(st.characters()),  # halves of surrogate pairs too
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(), values, max_size=4))
def test_what_is_called_exact_comes_back_from_a_journal_as_it_was(value: dict[str, Any]) -> None:
    if why_inexact(value) is None:
        assert comes_back(value)
        assert read_exact(json.dumps(value)) == value


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(values)
def test_what_is_refused_is_refused_as_a_text_too(value: Any) -> None:
    if why_inexact(value) is not None:
        with pytest.raises(InexactError):
            read_exact(text_of_inexact(value))


@pytest.mark.parametrize(
    "value",
    [
        {"n": 10**MAX_DIGITS - 1},
        {"n": -(10**MAX_DIGITS) + 1},
        nested(MAX_DEPTH),
        {"x": sys.float_info.max},
        {"x": 5e-324},
        {"x": -0.0},
        {"text": "\U0010ffff\ufffe\x00\u2028"},
        {"": {"": None}},
    ],
    ids=["most digits", "fewest", "deepest", "largest", "smallest", "minus 0", "odd", "empty"],
)
def test_values_just_inside_each_bound_are_kept(value: Any) -> None:
    value = value if isinstance(value, dict) else {"v": value[0]}
    assert why_inexact(value) is None
    assert comes_back(value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"n": 10**MAX_DIGITS}, "more than 4,300 digits"),
        ({"n": [-(10**MAX_DIGITS)]}, "more than 4,300 digits"),
        (nested(MAX_DEPTH + 1), "nested more than 128 deep"),
        (nested(20_000), "nested more than 128 deep"),
        ({"x": math.nan}, "no number of JSON"),
        ({"x": [-math.inf]}, "no number of JSON"),
        ({"text": "half \ud83d of it"}, "half of a surrogate pair"),
        ({"\udcff": 1}, "half of a surrogate pair"),
        ({1: 2}, "key that is no text"),
        ({"b": b"bytes"}, "a bytes is no value"),
    ],
)
def test_values_just_outside_are_refused_with_the_reason(value: Any, why: str) -> None:
    assert why in (why_inexact(value) or "")
    if "of JSON" not in why and "no " not in why:
        with pytest.raises(InexactError, match=why):
            read_exact(text_of_inexact(value))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"to": "ann", "to": "bob"}', 'the key "to" stands twice'),
        ('{"a": {"b": 1, "c": 2, "b": 1}}', 'the key "b" stands twice'),
        ("1e999", "no number of JSON"),
        ('{"a": -Infinity}', "no number of JSON"),
        ("9" * 4301, "more than 4,300 digits"),
        ('"\\ud800"', "half of a surrogate pair"),
        ("[" * 200_000, "nested more than 128 deep"),
        ('{"a":' * 5_000, "nested more than 128 deep"),
    ],
)
def test_texts_that_readers_take_differently_are_refused(text: str, why: str) -> None:
    with pytest.raises(InexactError, match=why):
        read_exact(text)


def test_what_is_no_json_is_told_apart() -> None:
    with pytest.raises(NotJsonError):
        read_exact('{"a": ')


def test_an_object_of_a_hundred_thousand_equal_keys_is_refused_at_once() -> None:
    text = "{" + ",".join(f'"k{n}":1' for n in range(100_000)) + ',"k7":2}'
    with pytest.raises(InexactError, match='"k7" stands twice'):
        read_exact(text)


@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "\n {} \n",
        "\ufeff{}",
        "```\n{}\n```",
        "```json\n{}\n```",
        "```json\r\n{}\r\n```",
        "```JSON  \n{}\n```\n",
        "~~~~\n{}\n~~~~",
        "```json{}```",
        "```{}```",
        "```json\n{}",
        " \ufeff ```json\n{}\n```",
    ],
)
def test_what_stands_around_json_is_taken_off(around: str) -> None:
    assert unfenced(around.replace("{}", '{"a": "`"}')) == '{"a": "`"}'


@pytest.mark.parametrize("text", ["", "```", "word ```json\n{}\n```", '{"a": "```json\n{}\n```"}'])
def test_a_text_without_a_fence_around_it_stays_as_it_is(text: str) -> None:
    assert unfenced(text) == text.removeprefix("```")
