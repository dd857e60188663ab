"""Random tool sets, policies and sub-agents: what ran is what the page of the documentation says.

The reference reads the table of `docs/policy.md` and the sentences under it, and plays each world
by them: who is asked, what runs, what ends a run. It shares no code with the library.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from agentkit import Agent, Limits, Policy, Tool, ToolDefinitionError
from agentkit.events import ModelEvent
from agentkit.messages import AssistantMessage, ModelRequest
from agentkit.policy import Approval, Approve, Deny
from agentkit.testing import Reply, ScriptedModel, calls, say
from agentkit.toolset import ToolOptions, dynamic, make_tool

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"
LABELS = ["reads_private", "reads_untrusted", "writes", "exec", "egress"]
ORDER = ["runs", "a person", "refused"]


def table() -> dict[str, dict[str, str]]:
    """The table of the page: by row and column, without its code marks."""
    lines = PAGE.read_text().split("## The table")[1].split("\n## ")[0].splitlines()
    rows = [
        [cell.strip().replace("`", "") for cell in line.strip("| ").split("|")]
        for line in lines
        if line.startswith("|") and not line.startswith("|--")
    ]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}


TABLE = table()
OF_LABEL = {
    "reads_private": "reads private data (reads_private)",
    "reads_untrusted": "reads text of strangers (reads_untrusted)",
    "writes": "writes (writes)",
    "exec": "executes (exec)",
    "egress": "sends out (egress)",
}


def strictest(*verdicts: str) -> str:
    """The one of them that counts."""
    return ORDER[max(ORDER.index(verdict) for verdict in verdicts)]


# --- a world -----------------------------------------------------------------------------------


@dataclass
class Made:
    """A tool: its labels, None for none given, and whom it wants asked."""

    name: str
    labels: set[str] | None
    wish: str

    @property
    def reach(self) -> set[str]:
        return set(LABELS) if self.labels is None else self.labels


@dataclass
class Member:
    """An agent: its tools, its sub-agents, its policy, its person, and what its model calls.

    Attributes:
        policy: Name of a preset, `no policy`, or `ask` or `deny` with labels.
        person: What the approver says; None where there is none.
        steps: Of its model, the names of what each calls.
    """

    name: str
    tools: list[Made]
    below: list[Member]
    policy: str | tuple[str, frozenset[str]]
    person: bool | None
    late: bool
    steps: list[list[str]]


def _member(rng: random.Random, depth: int, name: str) -> Member:
    tools = [
        Made(
            f"{name}_t{number}",
            None if rng.random() < 0.2 else {each for each in LABELS if rng.random() < 0.3},
            rng.choice(["policy", "policy", "policy", "always", "never"]),
        )
        for number in range(rng.randint(1, 4))
    ]
    below = [
        _member(rng, depth - 1, f"{name}_s{number}")
        for number in range(rng.randint(0, 2) if depth else 0)
    ]
    names = [each.name for each in tools] + [each.name for each in below]
    steps = [
        [rng.choice(names) for _ in range(rng.randint(1, 2))] for _ in range(rng.randint(1, 4))
    ]
    policy: str | tuple[str, frozenset[str]] = rng.choice(
        ["read-only", "ask", "auto-edit", "full", "full", "no policy"]
    )
    if rng.random() < 0.25:
        labels = frozenset(rng.sample(LABELS, rng.randint(1, 3)))
        policy = (rng.choice(["ask", "deny"]), labels)
    late = isinstance(policy, str) and rng.random() < 0.3
    return Member(name, tools, below, policy, rng.choice([True, True, False, None]), late, steps)


# --- the library -------------------------------------------------------------------------------


@dataclass
class Seen:
    """What happened: the tools that ran and the people who were asked, in no order."""

    ran: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)


def _built(member: Member, seen: Seen) -> Agent[Any, str]:
    tools = [_tool(made, seen) for made in member.tools]
    below = [_built(each, seen).as_tool(each.name, "Helps.") for each in member.below]
    policy: Any = None if member.policy == "no policy" else member.policy
    if isinstance(policy, tuple):
        kind, labels = policy
        policy = (Policy.ask if kind == "ask" else Policy.deny)(*sorted(labels))

    def approve(approval: Approval) -> Any:
        seen.asked[f"{member.name} about {approval.call.name}"] += 1
        return Approve() if member.person else Deny("no")

    number = count()
    sub_agents = {each.name for each in member.below}
    script = [
        calls(
            *(
                (name, {"task": str(next(number))} if name in sub_agents else {"n": next(number)})
                for name in step
            )
        )
        for step in member.steps
    ]
    made: list[Tool[..., Any]] = [*tools, *below]
    return Agent(
        Replies([*script, say("done")]),
        tools=[] if member.late else made,
        toolsets=[dynamic(lambda _context: made)] if member.late else [],
        policy=policy,
        approve=None if member.person is None else approve,
        observers=(),
        limits=Limits(steps=None),
    )


class Replies:
    """A model whose replies go by how far the conversation is, in every run anew."""

    name, constrains = "replies", False

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._replies = replies

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        done = sum(isinstance(message, AssistantMessage) for message in request.messages)
        async for event in ScriptedModel([self._replies[done]]).generate(request):
            yield event

    async def aclose(self) -> None:
        """Holds nothing."""


def _tool(made: Made, seen: Seen) -> Tool[..., Any]:
    def function(n: int) -> str:
        """Does it."""
        seen.ran[made.name] += 1
        return f"{made.name} {n}"

    options: dict[str, Any] = {"approval": made.wish}
    if made.labels is not None:
        options["labels"] = made.labels
    return make_tool(function, name=made.name, options=ToolOptions(**options))


# --- the page ----------------------------------------------------------------------------------


def _by_page(policy: str | tuple[str, frozenset[str]], made: Made, taint: set[str]) -> str:
    """What the page says of a call of a tool under one policy."""
    could_leak = (
        "egress" in made.reach
        and "reads_untrusted" in taint
        and "reads_private" in taint | made.reach
    )
    if isinstance(policy, tuple):
        kind, labels = policy
        said = {"ask": "a person", "deny": "refused"}[kind]
        verdict = said if labels & made.reach else "runs"
        return strictest(verdict, "a person" if could_leak else "runs")
    rows = ["touches nothing (labels=set())", *(OF_LABEL[label] for label in made.reach)]
    if made.labels is None:
        rows = ["has no labels"]
    if could_leak:
        unlabelled = made.labels is None
        after = "has no labels" if unlabelled else "sends out"
        rows.append(f"{after}, after the run has read both")
    return strictest(*(TABLE[row][policy] for row in rows))


def _has_hole(member: Member) -> bool:
    """Whether the agent is to be refused: nothing is said of a leak that can be seen beforehand."""
    if not isinstance(member.policy, tuple):
        return False
    reads = {label for each in member.below for label in _reads(each)}
    reach = reads.union(*(made.reach for made in member.tools))
    if not {"reads_private", "reads_untrusted", "egress"} <= reach:
        return False
    return any(
        "egress" in made.reach and made.wish != "always" and not member.policy[1] & made.reach
        for made in member.tools
    )


def _reads(member: Member) -> set[str]:
    """What an answer of a sub-agent may tell of."""
    if member.late:
        return {"reads_private", "reads_untrusted"}
    reach = [made.reach for made in member.tools] + [_reads(each) for each in member.below]
    return set().union(*reach) & {"reads_private", "reads_untrusted"}


def _play(member: Member, above: list[Member], taint: set[str], seen: Seen) -> None:
    """Plays one run by the page: `above` are the runs that it serves, the nearest first."""
    levels = [member, *above]
    for step in member.steps:
        waits, read = False, set[str]()
        for name in step:
            sub = next((each for each in member.below if each.name == name), None)
            reach = Made(name, _reads(sub), "policy") if sub else None
            made = reach or next(each for each in member.tools if each.name == name)
            verdict, people = _decided(levels, made, taint)
            if verdict == "a person":
                verdict = _asked(people, made, seen)
            waits |= verdict == "waits"
            if verdict == "runs":
                read |= made.reach & {"reads_private", "reads_untrusted"}
                if sub is not None:
                    _play(sub, levels, set(taint), seen)
                else:
                    seen.ran[name] += 1
        taint |= read
        if waits:
            return


def _decided(levels: list[Member], made: Made, taint: set[str]) -> tuple[str, list[Member | None]]:
    """The verdict, and who is asked: for each level that wants it its person or the next above."""
    verdicts: list[str] = []
    people: list[Member | None] = []
    for place, level in enumerate(levels):
        verdict = _by_page(level.policy, made, taint)
        if place == 0 and made.wish == "always":
            verdict = strictest(verdict, "a person")
        verdicts.append(verdict)
        if verdict == "a person":
            asked = next((each for each in levels[place:] if each.person is not None), None)
            if not any(asked is each for each in people):
                people.append(asked)
    return strictest(*verdicts), people


def _asked(people: list[Member | None], made: Made, seen: Seen) -> str:
    for person in people:
        if person is None:
            return "waits"
        seen.asked[f"{person.name} about {made.name}"] += 1
        if not person.person:
            return "refused"
    return "runs"


# --- both --------------------------------------------------------------------------------------


async def govern(seed: int) -> Counter[str]:
    """One world by the library and by the page; what was counted.

    Raises:
        AssertionError: They differ.
    """
    member = _member(random.Random(seed), 2, "a")
    members = [member]
    for each in members:
        members += each.below
    counts: Counter[str] = Counter(worlds=1, agents=len(members))
    seen, expected = Seen(), Seen()
    try:
        agent = _built(member, seen)
    except ToolDefinitionError:
        assert any(map(_has_hole, members)), f"world {seed}: refused without a reason"
        return counts + Counter({"refused when built": 1})
    assert not any(map(_has_hole, members)), f"world {seed}: a hole was not noticed"
    await agent.run("Go.")
    _play(member, [], set(), expected)
    assert seen == expected, f"world {seed}: {seen} is not {expected}: {member}"
    return counts + Counter(ran=seen.ran.total(), asked=seen.asked.total())
