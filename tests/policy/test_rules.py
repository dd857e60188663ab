"""Which calls run: the table, the rules, what a run has read, and whose run it is."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from agentkit import Agent, Tool, ToolDefinitionError, Toolset, tool
from agentkit.messages import ToolCall
from agentkit.policy import (
    PRESETS,
    READS,
    Approve,
    Authority,
    Edit,
    Grant,
    Policy,
    Preset,
    Verdict,
    preset,
)
from agentkit.testing import ScriptedModel
from agentkit.toolset import LABELS, Label, ToolOptions, ValidatedCall, dynamic, make_tool

ORDER: list[Verdict] = ["allow", "ask", "deny"]


def named(name: str, *labels: Label, **options: Any) -> Tool[..., Any]:
    def function() -> str:
        """Does it."""
        return name

    return make_tool(function, name=name, options=ToolOptions(labels=set(labels), **options))


@tool
def unlabelled() -> str:
    """Does something."""
    return ""


def called(of: Tool[..., Any]) -> ValidatedCall:
    call = of.validate(ToolCall("1", of.name))
    assert isinstance(call, ValidatedCall)
    return call


def verdict(policy: Policy, of: Tool[..., Any], taint: frozenset[Label] = frozenset()) -> Verdict:
    return policy.verdict(called(of), taint)


# --- labels ------------------------------------------------------------------------------------


def test_labels_decide_and_a_tool_without_them_counts_as_having_all() -> None:
    policy = Policy.ask("writes")
    assert verdict(policy, named("save", "writes")) == "ask"
    assert verdict(policy, named("look", "reads_private")) == "allow"
    assert verdict(policy, named("add")) == "allow", "an empty set says that it touches nothing"
    assert verdict(policy, unlabelled) == "ask"
    for label in LABELS:
        assert verdict(Policy.deny(label), unlabelled) == "deny"


@pytest.mark.parametrize("wrong", ["write", "execute", "exce", "", "WRITES"])
def test_a_label_that_there_is_not_is_refused_where_it_is_written(wrong: Any) -> None:
    for make in (Policy.ask, Policy.deny):
        with pytest.raises(ValueError, match="there is no label"):
            make(wrong)
    with pytest.raises(ToolDefinitionError, match="there is no label"):
        tool(labels={wrong})(unlabelled.function)
    with pytest.raises(ToolDefinitionError, match="there is no label"):
        Toolset([unlabelled]).labelled({"unlabelled": {wrong}})


def test_a_typo_is_told_with_what_was_meant() -> None:
    with pytest.raises(ValueError, match="Did you mean 'writes'"):
        Policy.ask("write")  # type: ignore[arg-type]  # a typo
    with pytest.raises(ToolDefinitionError, match=r"write \{'exec'\}, a set"):
        tool(labels="exec")(unlabelled.function)  # type: ignore[call-overload]  # a mistake


def test_a_rule_about_no_label_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Policy\.ask needs the labels"):
        Policy.ask()


# --- rules -------------------------------------------------------------------------------------


def test_the_first_opinion_counts() -> None:
    save = named("save", "writes")
    assert verdict(Policy.deny("writes") + Policy.ask("writes"), save) == "deny"
    assert verdict(Policy.ask("writes") + Policy.deny("writes"), save) == "ask"
    assert verdict(Policy(Grant("save")) + preset("read-only"), save) == "allow"


def test_a_rule_that_answers_with_no_verdict_is_an_error_and_nothing_runs() -> None:
    def rule(_call: ValidatedCall) -> Any:
        return "alow"

    with pytest.raises(ValueError, match="says 'alow' of save; a rule returns allow, ask, deny"):
        verdict(Policy(rule), named("save", "writes"))


@pytest.mark.parametrize("rule", ORDER)
@pytest.mark.parametrize("wish", ["policy", "always", "never"])
def test_a_tool_can_be_stricter_than_a_policy_and_never_freer(rule: Verdict, wish: Any) -> None:
    save = named("save", "writes", approval=wish)
    own: Verdict = "ask" if wish == "always" else "allow"
    assert verdict(Policy(lambda _call: rule), save) == max(rule, own, key=ORDER.index)
    assert Authority().ruling(called(save), frozenset()).verdict == own, "without a policy"


# --- presets -----------------------------------------------------------------------------------


def test_the_table_says_something_of_every_label_in_every_preset() -> None:
    for row in PRESETS.values():
        assert row.keys() == LABELS | {"tainted"}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", range(len(LABELS) + 1))
def test_a_tool_gets_the_strictest_verdict_of_its_labels(name: Preset, size: int) -> None:
    for labels in itertools.combinations(sorted(LABELS), size):
        said: list[Verdict] = ["allow", *(PRESETS[name][label] for label in labels)]
        assert verdict(preset(name), named("it", *labels)) == max(said, key=ORDER.index)
    said = [PRESETS[name][label] for label in LABELS]
    assert verdict(preset(name), unlabelled) == max(said, key=ORDER.index)


def test_an_unknown_preset_is_an_error() -> None:
    with pytest.raises(ValueError, match="there are read-only, ask, auto-edit, full"):
        preset("yolo")  # type: ignore[arg-type]  # what a configuration might say
    with pytest.raises(ValueError, match="there is no preset 'yolo'"):
        Agent(ScriptedModel([]), policy="yolo")  # type: ignore[call-overload]  # likewise


# --- what a run has read -----------------------------------------------------------------------


@pytest.mark.parametrize("taint", [frozenset(), {"reads_private"}, {"reads_untrusted"}, READS])
@pytest.mark.parametrize(
    ("labels", "leaks_after"),
    [
        (("egress",), [READS]),
        (("egress", "reads_private"), [{"reads_untrusted"}, READS]),
        (("egress", "reads_untrusted"), [READS]),
        (("exec", "writes", "reads_private", "reads_untrusted"), []),
    ],
)
@pytest.mark.parametrize("tainted", [None, *ORDER])
def test_what_strangers_wrote_may_not_send_out_what_is_private(
    taint: frozenset[Label],
    labels: tuple[Label, ...],
    leaks_after: list[frozenset[Label]],
    tainted: Verdict | None,
) -> None:
    expected = (tainted or "ask") if taint in leaks_after else "allow"
    policy = Policy(lambda _call: "allow", tainted=tainted)
    assert verdict(policy, named("send", *labels), frozenset(taint)) == expected
    assert verdict(preset("full", tainted=tainted), named("send", *labels), frozenset(taint)) == (
        expected
    )


def test_a_grant_lifts_the_question_of_a_rule_and_nothing_else() -> None:
    send, grants = called(named("send", "egress")), [Grant("send")]
    assert Authority(preset("ask"), grants=grants).ruling(send, frozenset()).verdict == "allow"
    assert Authority(preset("ask"), grants=grants).ruling(send, READS).verdict == "ask"
    assert Authority(preset("read-only"), grants=grants).ruling(send, READS).verdict == "deny"
    always = called(named("send", "egress", approval="always"))
    assert Authority(preset("ask"), grants=grants).ruling(always, frozenset()).verdict == "ask"


READ, FETCH, SEND = (
    named("read", "reads_private"),
    named("fetch", "reads_untrusted"),
    named("send", "egress"),
)
ALL_THREE = [READ, FETCH, SEND]


@pytest.mark.parametrize(
    ("policy", "tools"),
    [
        (Policy(), ALL_THREE),
        (Policy.ask("writes"), ALL_THREE),
        (Policy.deny("exec") + Policy.ask("writes"), ALL_THREE),
        (Policy(), [unlabelled]),
        (Policy.ask("reads_private"), ALL_THREE),
    ],
)
def test_a_policy_that_says_nothing_of_a_leak_is_refused_when_the_agent_is_built(
    policy: Policy, tools: list[Tool[..., Any]]
) -> None:
    with pytest.raises(ToolDefinitionError, match=r"can send it out.*Policy\.ask\(\"egress\"\)"):
        Agent(ScriptedModel([]), tools=tools, policy=policy)


@pytest.mark.parametrize(
    ("policy", "tools"),
    [
        (None, ALL_THREE),
        (Policy.ask("egress"), ALL_THREE),
        (Policy.deny("egress"), ALL_THREE),
        (Policy(lambda _call: None), ALL_THREE),  # asks when it comes to that
        (Policy(tainted="allow"), ALL_THREE),
        (Policy(), [READ, FETCH]),
        (Policy(), [READ, SEND]),
        (Policy(), [READ, FETCH, named("send", "egress", approval="always")]),
        *((preset(name), ALL_THREE) for name in PRESETS),
    ],
)
def test_other_agents_are_built(policy: Policy | None, tools: list[Tool[..., Any]]) -> None:
    Agent(ScriptedModel([]), tools=tools, policy=policy)


@pytest.mark.anyio
async def test_tools_that_are_made_for_a_run_are_looked_at_when_it_begins() -> None:
    late = dynamic(lambda _context: ALL_THREE)
    agent = Agent(ScriptedModel([]), toolsets=[late], policy=Policy(), observers=())
    with pytest.raises(ToolDefinitionError, match="can send it out"):
        await agent.run("x")


async def later(_call: ValidatedCall) -> Verdict:
    return "deny"


@pytest.mark.parametrize("rule", ["ask", None, preset("ask"), Grant, {"writes": "ask"}, later])
def test_what_is_no_rule_is_refused_where_it_is_written(rule: Any) -> None:
    with pytest.raises(TypeError, match="rule"):
        Policy(rule)


@pytest.mark.parametrize("wrong", [{"tool": called}, {"tool": "save", "target": None}])
def test_a_grant_is_of_texts(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="give a text"):
        Grant(**wrong)


@pytest.mark.parametrize(
    ("decision", "given"), [(Edit, None), (Edit, "x"), (Edit, [("a", 1)]), (Approve, "save")]
)
def test_a_decision_that_could_not_be_kept_is_refused_where_it_is_written(
    decision: Any, given: Any
) -> None:
    with pytest.raises(TypeError, match=r"give (a dict of all arguments|Grant)"):
        decision(given)


def test_labels_come_one_by_one() -> None:
    labels: Any = ["writes"]
    with pytest.raises(TypeError, match="one by one"):
        Policy.ask(labels)


# --- whose run it is ---------------------------------------------------------------------------

POLICIES: dict[str, Policy | None] = {"none": None, **{name: preset(name) for name in PRESETS}}


@pytest.mark.parametrize("above", POLICIES)
@pytest.mark.parametrize("own", POLICIES)
def test_a_run_is_as_bound_as_the_one_that_it_serves(above: str, own: str) -> None:
    chain = Authority(POLICIES[own], above=Authority(POLICIES[above]))
    for label in LABELS:
        call = called(named("it", label))
        alone = [Authority(POLICIES[name]).ruling(call, frozenset()) for name in (above, own)]
        ruling = chain.ruling(call, frozenset())
        assert ruling.verdict == ORDER[max(ORDER.index(each.verdict) for each in alone)]
        assert len(ruling.asked_by) == sum(each.verdict == "ask" for each in alone)
