"""Every cell of the table in `docs/policy.md`, run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent, Tool
from agentkit.policy import Approval, Deny, Preset
from agentkit.testing import ScriptedModel, call, say
from agentkit.toolset import Label, ToolOptions, make_tool

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"
ROWS = [
    [cell.strip().replace("`", "") for cell in line.strip("| ").split("|")]
    for line in PAGE.read_text().split("## The table")[1].split("\n## ")[0].splitlines()
    if line.startswith("|") and not line.startswith("|--")
]
POLICIES: list[Preset | None] = ["read-only", "ask", "auto-edit", "full", None]


class Ledger:
    """Tools that note what ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def tool(self, name: str, *labels: Label, **options: Any) -> Tool[..., Any]:
        def function() -> str:
            """Does it."""
            self.ran.append(name)
            return name

        if labels != ("unlabelled",):
            options["labels"] = set(labels)
        return make_tool(function, name=name, options=ToolOptions(**options))


UNLABELLED: Any = "unlabelled"
KINDS: dict[str, Callable[[Ledger], Tool[..., Any]]] = {
    "touches nothing (labels=set())": lambda it: it.tool("it"),
    "reads private data (reads_private)": lambda it: it.tool("it", "reads_private"),
    "reads text of strangers (reads_untrusted)": lambda it: it.tool("it", "reads_untrusted"),
    "writes (writes)": lambda it: it.tool("it", "writes"),
    "executes (exec)": lambda it: it.tool("it", "exec"),
    "sends out (egress)": lambda it: it.tool("it", "egress"),
    "has no labels": lambda it: it.tool("it", UNLABELLED),
    "sends out, after the run has read both": lambda it: it.tool("it", "egress"),
    "has no labels, after the run has read both": lambda it: it.tool("it", UNLABELLED),
    'writes, with approval="never"': lambda it: it.tool("it", "writes", approval="never"),
    'reads private data, with approval="always"': lambda it: it.tool(
        "it", "reads_private", approval="always"
    ),
    'writes, with approval="always"': lambda it: it.tool("it", "writes", approval="always"),
    "is a sub-agent (as_tool, as_fan_out)": lambda it: _sub_agent(it, it.tool("inner")),
    "is a call of the sub-agent, which writes": lambda it: _sub_agent(it, it.tool("it", "writes")),
}


def _sub_agent(ledger: Ledger, inner: Tool[..., Any]) -> Tool[..., Any]:
    agent = Agent(
        ScriptedModel([lambda _request: _noted(ledger, inner.name), say("done")]),
        tools=[inner],
        observers=(),
    )
    return agent.as_tool("sub", "Helps.")


def _noted(ledger: Ledger, inner: str) -> Any:
    if inner == "inner":  # the row is about the delegation itself
        ledger.ran.append("it")
    return call(inner)


def test_the_page_has_a_row_for_each_kind_and_a_column_for_each_policy() -> None:
    assert ROWS[0] == ["a call of a tool that", *(name or "no policy" for name in POLICIES)]
    assert [row[0] for row in ROWS[1:]] == list(KINDS)
    assert {cell for row in ROWS[1:] for cell in row[1:]} == {"runs", "a person", "refused"}


@pytest.mark.anyio
@pytest.mark.parametrize("row", ROWS[1:], ids=[row[0] for row in ROWS[1:]])
@pytest.mark.parametrize("column", range(len(POLICIES)), ids=[str(name) for name in POLICIES])
async def test_what_happens_is_what_the_page_says(row: list[str], column: int) -> None:
    asked: list[Approval] = []

    def approve(approval: Approval) -> Deny:
        asked.append(approval)
        return Deny()

    ledger = Ledger()
    made = KINDS[row[0]](ledger)
    before = ledger.tool("before", "reads_private", "reads_untrusted")
    script = [call(made.name, **({"task": "x"} if made.name == "sub" else {})), say("done")]
    if "after" in row[0]:
        script.insert(0, call("before"))
    agent = Agent(
        ScriptedModel(script),
        tools=[made, before],
        policy=POLICIES[column],
        approve=approve,
        observers=(),
    )
    assert (await agent.run("x")).output == "done"
    happened = "a person" if asked else "runs" if "it" in ledger.ran else "refused"
    assert happened == row[1 + column]
    assert ("it" in ledger.ran) == (happened == "runs")
