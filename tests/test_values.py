"""Long texts of a run are written once, and come back whatever they hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from agentkit.events.lines import Values

LONG = "It is long. " * 40
texts = st.one_of(
    st.text(max_size=20), st.sampled_from([LONG, LONG + '"', "\\" * 300, "é" * 300, "\x00" * 300])
)
values = st.recursive(
    st.one_of(texts, st.none(), st.integers(), st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.sampled_from(["$same", "$as_is", LONG]), st.text(max_size=5)),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=20,
)


@pytest.mark.slow
@given(st.lists(values, max_size=5))
def test_whatever_is_packed_comes_back(bodies: list[Any]) -> None:
    writer, reader = Values(), Values()
    for body in bodies:
        line = writer.pack(to_json({"event": "Any", "padding": "p" * 250, "body": body}))
        assert reader.unpack(json.loads(line))["body"] == body


def test_a_text_that_comes_again_takes_some_forty_bytes() -> None:
    writer = Values()
    body = to_json({"padding": ["x"] * 300, "first": LONG, "second": LONG})
    first, second = writer.pack(body), writer.pack(body)
    assert first.count(LONG.encode()) == 1
    assert second.count(LONG.encode()) == 0
    assert len(body) - len(second) > 2 * (len(LONG) - 45)


def test_what_looks_like_a_mark_comes_back_from_any_depth_that_can_be_written() -> None:
    body: Any = {"$same": "A" * 24}
    for _ in range(240):
        body = [body]
    line = Values().pack(to_json({"body": body}))
    assert Values().unpack(json.loads(line)) == {"body": body}


def test_a_text_that_is_lost_is_named_or_left_out() -> None:
    writer = Values()
    body = to_json({"padding": ["x"] * 300, "text": LONG})
    writer.pack(body)
    lost = json.loads(writer.pack(body))
    with pytest.raises(ValueError, match="a text again that no entry before it has"):
        Values().unpack(lost)
    assert "not here" in Values(lenient=True).unpack(lost)["text"]


@pytest.mark.parametrize("body", [{"$same": 1}, {"$same": "word"}, {"a": {"$same": None}}])
def test_what_only_looks_like_a_mark_in_a_record_of_before_is_left_alone(body: Any) -> None:
    assert Values().unpack({"value": body}) == {"value": body}
