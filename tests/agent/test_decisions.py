"""Decisions of a run that no journal keeps, and what a run has read by its calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agentkit import Toolset, tool
from agentkit.agent.approvals import (
    GivenDecisions,
    UsedDecisions,
    checked_decisions,
    denied,
    taint_of,
    taint_of_calls,
)
from agentkit.messages import Message, ToolCall, ToolMessage, ToolResult, UserMessage
from agentkit.policy import Approval, Approve, Decision, Deny, Edit
from agentkit.toolset import LABELS

PAY = ToolCall("c", "pay", {"amount": 1})
QUESTION = Approval("a" * 32, PAY, "account 1")


# --- used once -----------------------------------------------------------------------------------


def test_a_question_is_asked_first_once_and_used_once() -> None:
    used = UsedDecisions()
    assert (used.asked_first("a"), used.asked_first("a"), used.asked_first("b")) == (
        True,
        False,
        True,
    )
    assert not used.is_used("a")
    assert (used.use("a"), used.use("a")) == (True, False)
    assert (used.is_used("a"), used.is_used("b")) == (True, False)


def test_the_oldest_of_more_than_65536_questions_is_forgotten() -> None:
    used = UsedDecisions()
    for number in range(65_536):
        assert used.asked_first(str(number))
    assert not used.asked_first("0")
    assert used.asked_first("one more")
    assert not used.asked_first("1")
    assert used.asked_first("0"), "it made room"


# --- given to a resumed run ----------------------------------------------------------------------


def test_a_question_keeps_the_id_that_it_had_before_the_pause() -> None:
    given = GivenDecisions(UsedDecisions(), waiting=[QUESTION])
    asked = replace(QUESTION, id="b" * 32, why="new")
    assert given.question(asked) == replace(asked, id=QUESTION.id)
    for other in (
        replace(asked, target="account 2"),
        replace(asked, call=replace(PAY, arguments={"amount": 2}), id="c" * 32),
    ):
        assert given.question(other) == other


def test_a_question_whose_decision_was_used_is_a_new_one() -> None:
    used = UsedDecisions()
    given = GivenDecisions(used, waiting=[QUESTION])
    assert used.use(QUESTION.id)
    made = {given.question(QUESTION).id for _ in range(3)}
    assert len(made) == 3
    assert QUESTION.id not in made
    assert {len(each) for each in made} == {32}


def test_without_a_pause_the_second_question_of_one_id_is_another() -> None:
    given = GivenDecisions(UsedDecisions())
    assert given.question(QUESTION) == QUESTION
    again = given.question(QUESTION)
    assert again.id != QUESTION.id
    assert replace(again, id=QUESTION.id) == QUESTION


def test_a_given_decision_is_taken_once_and_pends_until_then() -> None:
    given = GivenDecisions(UsedDecisions(), {"a": Approve(), "b": Deny("no")})
    assert given.pending
    assert (given.take("a"), given.take("a"), given.pending) == (Approve(), None, True)
    assert (given.take("b"), given.pending) == (Deny("no"), False)


def test_only_what_a_pause_holds_can_be_used_up() -> None:
    given = GivenDecisions(UsedDecisions(), waiting=[QUESTION, replace(QUESTION, id="other")])
    assert (given.use("unknown"), given.use("unknown")) == (True, True)
    assert (given.use(QUESTION.id), given.use(QUESTION.id)) == (True, False)
    assert given.use("other")
    assert not given.used.is_used("unknown")


# --- what is no decision -------------------------------------------------------------------------


def test_decisions_are_copied_and_checked_one_by_one() -> None:
    given: dict[str, Decision] = {"a": Approve(), "b": Deny("no"), "c": Edit({"amount": 2})}
    checked = checked_decisions(given)
    assert checked == given
    assert checked is not given
    assert checked_decisions(None) == {}
    wrong: Any = {"a": Approve(), "b": True}
    with pytest.raises(TypeError, match=r"the decision on b is True; give Approve\(\)"):
        checked_decisions(wrong)


def test_a_denied_call_is_an_error_that_says_why_and_what_to_do() -> None:
    assert denied(PAY, "no money") == ToolResult(
        "c", "Error: pay was not run: no money. Go on without it.", is_error=True, kind="denied"
    )


# --- what was read -------------------------------------------------------------------------------


@tool(labels={"reads_private"})
def notes() -> str:
    """Reads notes."""
    return ""


@tool(labels={"reads_untrusted", "egress"})
def fetch() -> str:
    """Fetches a page."""
    return ""


@tool(labels={"writes"})
def save() -> str:
    """Saves."""
    return ""


TOOLS = Toolset([notes, fetch, save])


@pytest.mark.parametrize(
    ("names", "taint"),
    [
        (["save"], set()),
        (["notes"], {"reads_private"}),
        (["fetch", "save"], {"reads_untrusted"}),
        (["notes", "fetch"], {"reads_private", "reads_untrusted"}),
        (["gone"], {"reads_private", "reads_untrusted"}),
    ],
)
def test_a_run_has_read_what_its_tools_read_and_all_where_one_is_gone(
    names: list[str], taint: set[str]
) -> None:
    said: list[Message] = [UserMessage("notes"), *(ToolMessage("c", name, "x") for name in names)]
    assert taint_of(said, TOOLS) == taint
    calls = [ToolCall(name, name) for name in names]
    ran = [ToolResult(name, "x") for name in names]
    assert taint_of_calls(TOOLS, calls, ran) == taint
    assert taint <= LABELS


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("denied", False),
        ("invalid_arguments", False),
        ("unknown_tool", False),
        ("error", True),
        (None, True),
    ],
)
def test_a_call_that_did_not_run_has_read_nothing(kind: Any, read: bool) -> None:
    result = ToolResult("1", "x", is_error=kind is not None, kind=kind)
    found = taint_of_calls(TOOLS, [ToolCall("1", "notes"), ToolCall("2", "fetch")], [result])
    assert found == ({"reads_private"} if read else set())
