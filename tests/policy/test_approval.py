"""Who may say yes, and to what."""

from __future__ import annotations

from agentkit import Toolset, tool
from agentkit.messages import ToolCall, ToolResult, Usage, UserMessage
from agentkit.policy import PausedRun, Policy
from agentkit.toolset import ValidatedCall


@tool(labels={"writes"})
def save(text: str) -> str:
    """Saves."""
    return text


@tool(effect="pure", approval="always")
def spend(amount: int) -> str:
    """Spends."""
    return str(amount)


@tool(labels={"writes"}, approval="never")
def log(text: str) -> str:
    """Logs."""
    return text


@tool(target="text")
def erase(text: str) -> str:
    """Erases."""
    return text


@tool(target=lambda values: f"/attic/{values['text']}")
def store(text: str) -> str:
    """Stores."""
    return text


TOOLS = Toolset([save, spend, log, erase, store])


def checked(name: str, **arguments: object) -> ValidatedCall:
    found = TOOLS.validate(ToolCall("1", name, arguments))
    assert isinstance(found, ValidatedCall)
    return found


def test_labels_decide_unless_the_tool_has_decided_itself() -> None:
    policy = Policy.ask("writes")
    assert policy.verdict(checked("save", text="x")) == "ask"
    assert policy.verdict(checked("spend", amount=1)) == "ask"
    assert policy.verdict(checked("log", text="x")) == "allow"
    assert Policy().verdict(checked("save", text="x")) == "allow"


def test_the_first_opinion_counts() -> None:
    both = Policy.deny("writes") + Policy.ask("writes")
    assert both.verdict(checked("save", text="x")) == "deny"


def test_an_approval_is_bound_to_tool_arguments_and_target() -> None:
    one = Policy().approval(checked("save", text="x"))
    assert Policy().approval(checked("save", text="x")).id == one.id
    assert Policy().approval(checked("save", text="y")).id != one.id
    elsewhere = Policy(target=lambda _call: "/etc/passwd").approval(checked("save", text="x"))
    assert elsewhere.id != one.id
    assert elsewhere.target == "/etc/passwd"


def test_a_tool_says_what_its_call_would_touch_unless_the_policy_does() -> None:
    assert Policy().approval(checked("save", text="x")).target == ""
    assert Policy().approval(checked("erase", text="x")).target == "x"
    assert Policy().approval(checked("store", text="x")).target == "/attic/x"
    policy = Policy(target=lambda _call: "elsewhere")
    assert policy.approval(checked("store", text="x")).target == "elsewhere"


def test_a_paused_run_is_plain_json_and_comes_back_equal() -> None:
    waiting = (Policy().approval(checked("save", text="x")),)
    done = (ToolResult("2", "ok"),)
    paused = PausedRun("run", (UserMessage("u"),), done, waiting, Usage(1, 2), 3)
    assert PausedRun.from_json(paused.to_json()) == paused
