from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.executors.process import dump_result, load_result, perform, remote_call
from agentkit.messages import ImagePart, TextPart, ToolCall, ToolResult
from agentkit.toolset import ToolContext, ValidatedCall, tool
from tests.executors.conformance import checked, context, later, who_asks

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@tool(effect="pure", strict=False)
def echo(ctx: ToolContext[Any], value) -> Any:  # type: ignore[no-untyped-def]  # any JSON is its point
    """Gives back what it was given."""
    return [value == ctx.call.arguments["value"]]


@given(anything)
def test_whatever_json_a_model_sends_arrives_as_it_was(value: Any) -> None:
    call = echo.validate(ToolCall("c1", "echo", {"value": value}))
    assert isinstance(call, ValidatedCall)
    request = remote_call(call, context(call)).to_json()
    assert b"\n" not in request
    assert perform(request).content == "[true]"


@given(st.text(), st.booleans(), anything)
def test_whatever_a_tool_returns_comes_back_as_it_was(text: str, bad: bool, data: Any) -> None:
    parts = (TextPart(text), ImagePart("data:image/png;base64,AA=="))
    result = ToolResult("c1", parts, is_error=bad, for_user=text, data=data, retry=bad)
    assert load_result(dump_result(result)) == result


def test_a_call_that_does_not_fit_there_is_feedback() -> None:
    request = json.loads(remote_call(checked(later, text="a"), _context()).to_json())
    request["call"]["arguments"] = {"text": 7, "other": 1}
    assert perform(json.dumps(request).encode()).kind == "invalid_arguments"


def _context() -> ToolContext[Any]:
    return ToolContext(None, "r")


def test_where_nobody_watches_progress_and_context_are_there_all_the_same() -> None:
    call = checked(who_asks, number=1)
    assert str(perform(remote_call(call, context(call)).to_json()).content).startswith('["run-1"')


@pytest.mark.parametrize("text", [b"", b"[]", b'{"call_id": 1}', b"\xff", b"[" * 100_000])
def test_what_is_no_result_is_refused(text: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        load_result(text)
