"""What a person is asked and may answer."""

from __future__ import annotations

import pytest

from agentkit import Toolset, tool
from agentkit.messages import ToolCall, ToolResult, Usage, UserMessage
from agentkit.policy import Approval, Authority, Grant, PausedRun, Policy, approval_id
from agentkit.toolset import ValidatedCall


@tool(target="text")
def erase(text: str) -> str:
    """Erases."""
    return text


@tool(labels={"writes"}, target=lambda values: f"/attic/{values['text']}")
def store(text: str) -> str:
    """Stores."""
    return text


@tool(labels={"exec"}, target="command")
def start(command: str) -> str:
    """Starts."""
    return command


@tool(labels={"writes"})
def save(text: str) -> str:
    """Saves."""
    return text


TOOLS = Toolset([erase, store, start, save])


def checked(name: str, **arguments: object) -> ValidatedCall:
    found = TOOLS.validate(ToolCall("1", name, arguments))
    assert isinstance(found, ValidatedCall)
    return found


def test_a_question_has_an_id_that_no_other_call_has() -> None:
    call = ToolCall("1", "save", {"text": "x"})
    one = approval_id("run", 1, 0, call, "")
    assert one == approval_id("run", 1, 0, ToolCall("other id", "save", {"text": "x"}), "")
    others = {
        approval_id("another", 1, 0, call, ""),
        approval_id("run", 2, 0, call, ""),
        approval_id("run", 1, 1, call, ""),
        approval_id("run", 1, 0, ToolCall("1", "save", {"text": "y"}), ""),
        approval_id("run", 1, 0, ToolCall("1", "erase", {"text": "x"}), ""),
        approval_id("run", 1, 0, call, "/etc/passwd"),
    }
    assert len(others | {one}) == 7


def test_a_sum_of_policies_names_the_target_of_the_first_that_gives_one() -> None:
    named, other = Policy(target=lambda _call: "one"), Policy(target=lambda _call: "two")
    call = checked("erase", text="x")
    assert (Policy.ask("writes") + named).target(call) == "one"
    assert (named + other).target(call) == "one"
    assert (other + Policy.ask("writes")).target(call) == "two"
    assert (Policy() + Policy()).target(call) == "x"


def test_a_tool_says_what_its_call_would_touch_unless_a_policy_does() -> None:
    assert Authority().target(checked("save", text="x")) == ""
    assert Authority().target(checked("erase", text="x")) == "x"
    assert Authority(Policy()).target(checked("store", text="x")) == "/attic/x"
    elsewhere = Authority(Policy(target=lambda _call: "elsewhere"))
    assert elsewhere.target(checked("store", text="x")) == "elsewhere"
    assert Authority(above=elsewhere).target(checked("store", text="x")) == "elsewhere"


@pytest.mark.parametrize(
    ("grant", "text", "covered"),
    [
        (Grant("store"), "a", True),
        (Grant("store", "/attic/a"), "a", True),
        (Grant("store", "/attic/*"), "b/c", True),
        (Grant("store", "/attic/b*"), "a", False),
        (Grant("store", "/attic/?"), "a", False),
        (Grant("store", "/attic/[ab]"), "a", False),
        (Grant("store", "/attic/[ab]"), "[ab]", True),
        (Grant("save"), "a", False),
        (Grant("store", "/attic/*"), "../cellar", False),
        (Grant("store", "/attic/*"), "b/./../../cellar", False),
        (Grant("store", "/attic/*"), "b\\..\\..\\cellar", False),
        (Grant("store", "/attic/*"), "%2e%2e/cellar", False),
        (Grant("store", "/attic/*"), "%252e%252e/cellar", False),
        (Grant("store", "/attic/*"), ".\t./cellar", False),
        (Grant("store", "/attic/*"), "%2e%0a%2e/cellar", False),
        (Grant("store", "/attic/*"), "..;x/cellar", False),
        (Grant("store", "/attic/*"), "\uff0e\uff0e/cellar", False),
        (Grant("store", "/attic/*"), "b..c/..d", True),
        (Grant("store", "/attic/../cellar"), "../cellar", True),
    ],
)
def test_a_grant_covers_a_tool_and_what_matches_its_pattern(
    grant: Grant, text: str, covered: bool
) -> None:
    call = checked("store", text=text)
    assert grant.covers(call, call.target) is covered
    assert (grant(call) == "allow") is covered


@pytest.mark.parametrize(
    ("target", "covered"),
    [("make test", True), ("*", True), ("make *", False), ("make tes*", False)],
)
def test_a_command_is_granted_whole_or_not_at_all(target: str, covered: bool) -> None:
    assert (
        Grant("start", target).covers(checked("start", command="make test"), "make test") is covered
    )


def test_a_paused_run_is_plain_json_and_comes_back_equal() -> None:
    waiting = (Approval("a", ToolCall("1", "save", {"text": "x"}), "x", "because"),)
    done = (ToolResult("2", "ok"),)
    paused = PausedRun(
        "run",
        (UserMessage("u"),),
        done,
        waiting,
        Usage(1, 2),
        3,
        step=2,
        taint=frozenset({"reads_private"}),
        grants=(Grant("save", "docs/*"),),
    )
    assert PausedRun.from_json(paused.to_json()) == paused


def test_a_paused_run_of_an_older_version_can_be_read() -> None:
    paused = PausedRun("run", (UserMessage("u"),), (), (), Usage(1, 2), 3)
    text = paused.to_json().replace(',"step":null,"taint":null,"grants":[]', "")
    assert "grants" not in text
    assert PausedRun.from_json(text) == paused
