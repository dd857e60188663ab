"""Runs whose calls need a person, killed for real on SQLite: every payment has a yes of its own.

A run is a forked process with a journal on disk; the parent is the person. The tool writes into a
diary which call it is and what it pays, before and after. Decisions are given to each process anew,
also those that an earlier one was given, as a caller does that repeats what was cut off.
"""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from agentkit import Agent, RunResult, SQLiteJournal, ToolContext, tool
from agentkit.messages import ToolMessage, text_of
from agentkit.policy import Approve, Decision, Deny, Edit, preset
from tests.agent.approving import Model
from tests.journal.crashing import Bomb, Diary, MinedJournal

RUN = "the-run"
POINTS = (
    "",
    *(f"{when} {kind}" for when in ("before", "after") for kind in ("Decided", "CallIntended")),
    *(f"{when} {kind}" for when in ("before", "after") for kind in ("CallStarted", "CallDone")),
    "before ApprovalNeeded",
    "after RunFinished",
    "in the tool",
    "after the tool",
)
"""Where a process kills itself; the empty one is killed from outside, at a random time."""


@dataclass
class Person:
    """Decides on each question once, and says so whenever asked.

    Attributes:
        said: By the ids of the questions.
        calls: What each question was about: the call's id and its number.
    """

    rng: random.Random
    said: dict[str, Decision] = field(default_factory=dict)
    calls: dict[str, tuple[str, int]] = field(default_factory=dict)

    def shown(self, waiting: list[dict[str, Any]]) -> None:
        for question in waiting:
            seen = (question["call"], question["number"])
            assert self.calls.setdefault(question["id"], seen) == seen, "an id of two calls"
            if question["id"] not in self.said and self.rng.random() < 0.8:
                self.said[question["id"]] = self._decision(question["number"])

    def _decision(self, number: int) -> Decision:
        chance = self.rng.random()
        if chance < 0.2:
            return Deny("no")
        return Edit({"number": number + 100}) if chance < 0.4 else Approve()

    def wants(self) -> dict[str, tuple[str, int]]:
        """The payments that have a yes: by question the call and what it is to pay."""
        paid: dict[str, tuple[str, int]] = {}
        for name, decision in self.said.items():
            call, number = self.calls[name]
            if isinstance(decision, Edit):
                number = decision.arguments["number"]
            if not isinstance(decision, Deny):
                paid[name] = (call, number)
        return paid


def _process(folder: Path, script: Any, decisions: dict[str, Decision], bomb: Bomb) -> None:
    """Begins the run or goes on with it, and writes what came of it."""
    diary = Diary(folder / "diary")

    @tool(labels={"writes"})
    def pay(context: ToolContext[Any], number: int) -> str:
        """Pays."""
        diary.write("begin", context.call.id, number)
        bomb.reached("in the tool")
        diary.write("end", context.call.id, number)
        bomb.reached("after the tool")
        return f"paid {number}"

    @tool(effect="pure", labels={"reads_private"})
    def look(number: int) -> str:
        """Looks."""
        return f"saw {number}"

    journal = SQLiteJournal(folder / "runs.db")
    mined = MinedJournal(journal, bomb)
    agent = Agent(Model(script), tools=[pay, look], policy=preset("ask"), observers=())

    async def main() -> RunResult[str]:
        if await journal.read(RUN):
            return await agent.resume(RUN, decisions, journal=mined)
        return await agent.run("Go.", journal=mined, run_id=RUN)

    result = anyio.run(main)
    waiting = result.paused.waiting if result.paused is not None else ()
    told = {
        "stop": result.stop_reason,
        "waiting": [
            {"id": each.id, "call": each.call.id, "number": each.call.arguments["number"]}
            for each in waiting
        ],
        "results": {
            m.call_id: text_of(m.content) for m in result.messages if isinstance(m, ToolMessage)
        },
    }
    (folder / "draft").write_text(json.dumps(told))
    (folder / "draft").replace(folder / "told")


def _life(folder: Path, script: Any, person: Person, point: str | None) -> bool:
    """One process, killed at the point; whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with suppress(BaseException):
            bomb = Bomb(point or "", person.rng.randint(1, 3))
            _process(folder, script, dict(person.said), bomb)
            code = 0
        os._exit(code)
    if point == "":
        time.sleep(person.rng.random() * 0.15)
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0, "a resumption failed"
    return not os.WIFSIGNALED(status)


def _one_run(folder: Path, seed: int, kills: int) -> Counter[str]:
    rng = random.Random(seed)
    script = [
        [
            (rng.choice(["pay", "pay", "look"]), rng.choice([1, 1, 2]))
            for _ in range(rng.randint(1, 3))
        ]
        for _ in range(rng.randint(1, 3))
    ]
    person, counts = Person(rng), Counter[str](runs=1)
    for _ in range(40):
        point = rng.choice(POINTS) if counts["kills"] < kills else None
        counts["kills"] += not _life(folder, script, person, point)
        _check(folder, person)
        if (folder / "told").exists():
            told = json.loads((folder / "told").read_text())
            if told["stop"] == "answer":
                return counts + _final(folder, person, told["results"])
            person.shown(told["waiting"])
    raise AssertionError(f"seed {seed}: it does not come to its end")


def _paid(folder: Path, what: str) -> list[tuple[str, int]]:
    """The payments in the diary: call and number."""
    file = folder / "diary"
    lines = file.read_text().splitlines() if file.exists() else []
    split = [line.split() for line in lines]
    return [(call, int(number)) for kind, call, number in split if kind == what]


def _check(folder: Path, person: Person) -> None:
    """Each payment that began has a yes of its own: that of its call, for that number."""
    begun = _paid(folder, "begin")
    assert len({call for call, _ in begun}) == len(begun), f"a call paid twice: {begun}"
    allowed = set(person.wants().values())
    assert set(begun) <= allowed, f"paid without a decision: {set(begun) - allowed}"


def _final(folder: Path, person: Person, told: dict[str, str]) -> Counter[str]:
    """At the end each yes has led to its payment, or the model was told that nobody knows."""
    counts: Counter[str] = Counter(decisions=len(person.said))
    ended = _paid(folder, "end")
    counts["payments"] = len(ended)
    for call, number in person.wants().values():
        unknown = "may or may not have taken effect" in told[call]
        counts["told as unknown"] += unknown
        assert unknown or (call, number) in ended, f"a yes to {call} has led to no payment"
    return counts


def killed_runs(seed: int, kills: int) -> dict[str, int]:
    """Plays runs until so many processes have been killed."""
    counts: Counter[str] = Counter()
    number = 0
    while counts["kills"] < kills:
        with tempfile.TemporaryDirectory() as folder:
            counts += _one_run(Path(folder), seed * 10_000 + number, 3)
        number += 1
    return {f"{name} on SQLite": count for name, count in counts.items()}
