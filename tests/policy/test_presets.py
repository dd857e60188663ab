from __future__ import annotations

from typing import Any

import pytest

from agentkit import Tool, tool
from agentkit.messages import ToolCall
from agentkit.policy import Preset, Verdict, preset
from agentkit.toolset import ValidatedCall


@tool(effect="pure", labels={"reads_private", "reads_untrusted"})
def look() -> str:
    """Looks."""
    return ""


@tool(labels={"writes"})
def note() -> str:
    """Writes."""
    return ""


@tool(labels={"exec", "reads_private"})
def start() -> str:
    """Executes."""
    return ""


@tool(labels={"egress"})
def send() -> str:
    """Sends."""
    return ""


@pytest.mark.parametrize(
    ("name", "changes"), [("read-only", "deny"), ("ask", "ask"), ("full", "allow")]
)
def test_each_preset_lets_reading_pass_and_decides_on_the_rest(
    name: Preset, changes: Verdict
) -> None:
    def verdict(of: Tool[..., Any]) -> Verdict:
        call = of.validate(ToolCall("1", of.name))
        assert isinstance(call, ValidatedCall)
        return preset(name).verdict(call)

    assert verdict(look) == "allow"
    assert {verdict(each) for each in (note, start, send)} == {changes}


def test_an_unknown_preset_is_an_error() -> None:
    with pytest.raises(ValueError, match="there are read-only, ask and full"):
        preset("yolo")  # type: ignore[arg-type]  # what a configuration might say
