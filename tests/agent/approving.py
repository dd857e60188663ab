"""Random lives of runs whose calls need a person, and a ledger that knows only what could be seen.

An operator starts, decides, resumes, resumes twice, goes on from old pauses and lets the process
die; models fail; calls of a reply are equal. The ledger is written apart from the library: it books
the questions that were shown, the decisions that were given and the payments that were made, and
holds

- that every payment has one decision of its own, or a rule that a person made in that run before;
- that a decision for yes has led to its payment by the end of what it was given to, unless that
  died.

Shared by the unit test and `make soak PART=approvals`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio

from agentkit import (
    Agent,
    JournalError,
    Limits,
    ModelConnectionError,
    RunResult,
    Tool,
    ToolContext,
    tool,
)
from agentkit.events import ModelEvent, ModelFinished
from agentkit.journal import Entry, Lease, Record, RunOpened
from agentkit.journal.entries import dump_entry, load_entry
from agentkit.messages import (
    AssistantMessage,
    ModelRequest,
    ModelResponse,
    ToolCall,
    ToolMessage,
    Usage,
    next_call_number,
    text_of,
)
from agentkit.policy import Approval, Approve, Decision, Deny, Edit, Grant, PausedRun, preset
from tests.mortal import Killed, Mortal
from tests.pausing import pause_of

RUN = "the-run"


class GoneError(Exception):
    """The approver's terminal is gone."""


class MemoryJournal:
    """Keeps runs in memory, and lets its process die when so many writes were made.

    Attributes:
        fuse: Writes until the death; None for never. An odd one dies before the write.
        dead: Nothing reaches the disk any more.
        as_text: Entries come back from the text that a file would hold.
    """

    def __init__(self, *, as_text: bool) -> None:
        self.as_text = as_text
        self.records: list[Record] = []
        self.fuse: int | None = None
        self.dead = False
        self._epoch = 0
        self._held = False

    async def open(self, run_id: str, opening: RunOpened) -> Lease:
        assert not self.records
        self._epoch, self._held = 1, True
        self.records.append(Record(1, 1, 0.0, opening))
        return Lease(run_id, 1)

    async def claim(self, run_id: str) -> Lease:
        if self._held:
            raise JournalError("another process is at work on it")
        self._epoch, self._held = self._epoch + 1, True
        return Lease(run_id, self._epoch)

    async def append(self, lease: Lease, entries: Sequence[Entry], *, durable: bool) -> None:  # noqa: ARG002 - memory is all there is
        if self.dead or lease.epoch != self._epoch:
            raise Killed
        self.fuse = None if self.fuse is None else self.fuse - 1
        dies = self.fuse is not None and self.fuse < 0
        if not dies or self.fuse == -2:
            for entry in entries:
                self.records.append(Record(len(self.records) + 1, lease.epoch, 0.0, entry))
        if dies:
            self.dead = True
            raise Killed

    async def read(self, run_id: str) -> list[Record]:  # noqa: ARG002 - there is one run
        if not self.as_text:
            return list(self.records)
        return [
            Record(each.seq, each.epoch, each.at, load_entry(dump_entry(each.entry)))
            for each in self.records
        ]

    async def turns(self, conversation: str) -> list[str]:  # noqa: ARG002 - there is one run
        return []

    async def release(self, lease: Lease) -> None:
        if lease.epoch == self._epoch:
            self._held = False

    def reborn(self) -> None:
        """Another process opens it."""
        self.dead, self._held, self.fuse = False, False, None


class Model:
    """Gives the replies of a script, by how far the conversation is; fails when it is told to."""

    name, constrains = "scripted", False

    def __init__(self, script: Sequence[Sequence[tuple[str, int]]]) -> None:
        self._script = script
        self.failures = 0

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if self.failures:
            self.failures -= 1
            raise ModelConnectionError("the model is away")
        done = sum(isinstance(message, AssistantMessage) for message in request.messages)
        message = AssistantMessage("Done.")
        if done < len(self._script):
            first = next_call_number(request.messages)
            asked = enumerate(self._script[done], first)
            made = [ToolCall(f"call_{n}", name, {"number": number}) for n, (name, number) in asked]
            message = AssistantMessage(None, tuple(made))
        reason: Any = "tool_calls" if message.tool_calls else "stop"
        yield ModelFinished(ModelResponse(message, reason, Usage(1, 1)))

    async def aclose(self) -> None:
        """Holds nothing."""


# --- the reference -----------------------------------------------------------------------------


@dataclass
class Question:
    """What was seen of one question to a person.

    Attributes:
        wants: What a yes pays: as the model asked, or as a person changed it; None for nothing.
        said: All that people have said so far.
        paid: How often.
        disturbed: The process died, or what a person said was replaced, while it was open.
        closed: What was said of it has been heard: all else comes too late.
    """

    call: str
    number: int
    wants: int | None = None
    said: list[Decision] = field(default_factory=list)
    paid: int = 0
    disturbed: bool = False
    closed: bool = False

    def decided(self, decision: Decision) -> None:
        before = self.wants
        match decision:
            case Approve():
                self.wants = self.number
            case Edit(arguments={"number": int(number)}):
                self.wants = number
            case _:
                self.wants = None
        self.disturbed |= bool(self.said) and before != self.wants
        self.said.append(decision)


class Ledger:
    """Questions, decisions and payments as they were seen from outside."""

    def __init__(self) -> None:
        self.questions: dict[str, Question] = {}
        self.wrong: list[str] = []  # found inside a tool, whose exceptions the library handles
        self.counts: Counter[str] = Counter()

    def shown(self, approval: Approval) -> Question:
        number = approval.call.arguments["number"]
        assert isinstance(number, int)
        question = self.questions.setdefault(approval.id, Question(approval.call.id, number))
        assert (question.call, question.number) == (approval.call.id, number), "an id of two calls"
        return question


@dataclass
class Life:
    """One stretch of work: from a start or a resumption to its end.

    Attributes:
        ledger: Of the whole.
        mine: The questions whose decisions this stretch may use.
        rules: The numbers that people have permitted before, in this run.
        given: Questions that were decided for this stretch.
        owed: Those of them that got a yes.
    """

    ledger: Ledger
    mine: set[str]
    rules: set[int]
    given: set[str] = field(default_factory=set)
    owed: set[str] = field(default_factory=set)

    def give(self, approval: str, decision: Decision) -> None:
        question = self.ledger.questions[approval]
        if question.closed or question.paid:
            return
        question.decided(decision)
        self.given.add(approval)
        self.mine.add(approval)
        (self.owed.discard if question.wants is None else self.owed.add)(approval)
        if isinstance(decision, Approve) and decision.grant is not None:
            self.rules.add(int(decision.grant.target.removeprefix("account ")))
        self.ledger.counts[decision.type] += 1

    def pay(self, call: str, number: int) -> None:
        """A payment is made: whose decision is it?"""
        self.ledger.counts["payments"] += 1
        questions = [self.ledger.questions[name] for name in self.mine]
        for question in sorted(questions, key=lambda each: each.disturbed):
            if question.call == call and not question.paid and _could_be(question, number):
                question.paid += 1
                return
        if number not in self.rules:
            self.ledger.wrong.append(f"{call} paid {number} without a decision of its own")
        self.ledger.counts["payments by a rule"] += 1

    def ended(self, *, broken: bool) -> None:
        """It ended by itself, or broke off: then what it owed may not have come to be."""
        assert not self.ledger.wrong, self.ledger.wrong
        for name in self.given:
            question = self.ledger.questions[name]
            question.disturbed |= broken
            question.closed |= not broken
        for name in self.owed:
            question = self.ledger.questions[name]
            if not question.disturbed and question.number not in self.rules:  # or a rule settled it
                assert question.paid == 1, f"a yes to {question.call} has led to no payment"


def _could_be(question: Question, number: int) -> bool:
    """Whether some decision on it, not only the newest, is for that payment.

    Only of a question whose decision was replaced or whose process died older ones can be meant.
    """
    if not question.disturbed:
        return question.wants == number
    possible = Question(question.call, question.number)
    for decision in question.said:
        possible.decided(decision)
        if possible.wants == number:
            return True
    return False


# --- the operator ------------------------------------------------------------------------------


@dataclass
class Pause:
    """A paused run, and the rules that were made in it."""

    paused: PausedRun
    rules: frozenset[int]


@tool(labels={"writes"}, target=lambda values: f"account {values['number']}")
async def pay(context: ToolContext[Any], number: int) -> str:
    """Pays."""
    world: World = context.deps
    world.life.pay(context.call.id, number)
    await anyio.lowlevel.checkpoint()
    if world.dies_in_tool:
        world.dies_in_tool = False
        if world.journal is not None:
            world.journal.dead = True
        raise Killed
    return f"paid {number}"


@tool(effect="pure", labels={"reads_private"})
async def look(number: int) -> str:
    """Looks."""
    return f"saw {number}"


TOOLS: list[Tool[..., Any]] = [pay, look]
POLICY = preset("ask")
LIMITS = Limits()


class World:
    """One interleaving."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.ledger = Ledger()
        self.life = Life(self.ledger, set(), set())
        self.journal = MemoryJournal(as_text=not seed % 8) if rng.random() < 0.6 else None
        self.model = Model(_script(rng))
        self.run_id = f"{RUN}-{seed}" if rng.random() < 0.8 else f"{RUN}-{seed % 7}"
        self.pauses: list[Pause] = []
        self.told: list[RunResult[Any]] = []
        self.dies_in_tool = False

    # --- what the agent is made of ---

    def agent(self, approve: Callable[[Approval], Any] | None) -> Agent[Any, str]:
        return Agent(
            self.model,
            tools=TOOLS,
            policy=POLICY,
            approve=approve,
            observers=(),
            limits=LIMITS,
            executor=Mortal(),
        )

    def approver(self) -> Callable[[Approval], Any] | None:
        if self.rng.random() < 0.5:
            return None

        def approve(approval: Approval) -> Decision | None:
            self.ledger.shown(approval)
            chance = self.rng.random()
            if chance < 0.04:
                raise GoneError
            if chance < 0.08:
                if self.journal is not None:
                    self.journal.dead = True
                raise Killed
            if chance < 0.3:
                return None
            decision = self.decision(approval)
            self.life.give(approval.id, decision)
            return decision

        return approve

    def decision(self, approval: Approval) -> Decision:
        number = approval.call.arguments["number"]
        chance = self.rng.random()
        if chance < 0.5:
            return Approve()
        if chance < 0.6:
            return Approve(Grant("pay", f"account {self.rng.choice([number, 1, 2])}"))
        if chance < 0.75:
            return Deny("no")
        return Edit({"number": number + 100}) if chance < 0.95 else Edit({"wrong": 1})

    # --- one stretch of work ---

    async def stretch(self, work: Callable[[], Awaitable[RunResult[Any]]], life: Life) -> None:
        self.life = life
        broken = False
        try:
            result = await work()
        except ModelConnectionError as error:
            self.ledger.counts["the model was away"] += 1
            self._closes(error.result)
        except (Killed, GoneError) as error:
            broken = True
            self.ledger.counts[f"{type(error).__name__.lower()} in the middle"] += 1
        else:
            self._closes(result)
            self.told.append(result)
            if result.stop_reason == "paused":
                for approval in pause_of(result).waiting:
                    self.ledger.shown(approval)
                copy = PausedRun.from_json(pause_of(result).to_json())
                self.pauses.append(Pause(copy, frozenset(life.rules)))
        if self.journal is not None:
            self.journal.reborn()
        life.ended(broken=broken)

    def _closes(self, result: RunResult[Any] | None) -> None:
        """In a run that has one life, a call that has its result needs no decision any more."""
        if self.journal is None or result is None:
            return
        done = {m.call_id for m in result.messages if isinstance(m, ToolMessage)}
        if result.stop_reason == "paused":
            done -= {each.call.id for each in pause_of(result).waiting}
        for question in self.ledger.questions.values():
            question.closed |= question.call in done

    def faults(self) -> None:
        """What goes wrong in the next stretch."""
        self.model.failures = int(self.rng.random() < 0.25)
        self.dies_in_tool = self.rng.random() < 0.06
        if self.journal is not None and self.rng.random() < 0.3:
            self.journal.fuse = self.rng.randrange(8)

    async def start(self) -> None:
        self.faults()
        agent = self.agent(self.approver())
        options: Mapping[str, Any] = {"run_id": self.run_id, "journal": self.journal, "deps": self}
        life = Life(self.ledger, set(), set())
        await self.stretch(lambda: agent.run("Go.", **options), life)

    def given(self, pause: Pause) -> dict[str, Decision]:
        """Decisions for some of what waits, and now and then one that was for something else."""
        waiting = [each for each in pause.paused.waiting if self.rng.random() < 0.8]
        made = {each.id: self.decision(each) for each in waiting}
        if self.rng.random() < 0.2 and self.pauses:
            old = self.rng.choice(self.pauses).paused.waiting
            made |= {each.id: Approve() for each in old if each.id not in made}
        return made

    async def resume(self, pause: Pause, decisions: dict[str, Decision]) -> None:
        agent = self.agent(self.approver())
        life = self._life_of(pause, decisions)
        journal = self.journal
        await self.stretch(
            lambda: agent.resume(pause.paused, decisions, journal=journal, deps=self), life
        )

    def _life_of(self, pause: Pause, decisions: dict[str, Decision]) -> Life:
        if self.journal is not None:  # a run with a journal has one life, in stretches
            life = Life(self.ledger, self.life.mine, self.life.rules)
        else:
            life = Life(self.ledger, set(), set(pause.rules))
        waiting = {each.id for each in pause.paused.waiting}
        for name, decision in decisions.items():
            if self.journal is not None or name in waiting:  # else it is for another pause
                life.give(name, decision)
        return life

    async def at_once(self, pause: Pause) -> None:
        """Two resumptions of one pause with the same decisions, at the same time."""
        decisions: dict[str, Decision] = {each.id: Approve() for each in pause.paused.waiting}
        life = self._life_of(pause, decisions)
        agent, journal = self.agent(None), self.journal
        ends: list[RunResult[Any]] = []

        async def one() -> None:
            with suppress(JournalError, ModelConnectionError):
                ends.append(await agent.resume(pause.paused, decisions, journal=journal, deps=self))

        async def both() -> RunResult[Any]:
            async with anyio.create_task_group() as group:
                group.start_soon(one)
                group.start_soon(one)
            if not ends:
                raise ModelConnectionError("both were turned away")
            return ends[0]

        await self.stretch(both, life)

    # --- the whole ---

    async def live(self) -> None:
        await self.start()
        for _ in range(self.rng.randint(1, 4)):
            if not self.pauses:
                if self.journal is None or not self.journal.records:
                    break
                await self._again()
                continue
            self.faults()
            pause = self.pauses[-1] if self.rng.random() < 0.6 else self.rng.choice(self.pauses)
            chance = self.rng.random()
            if chance < 0.15:
                self.model.failures, self.dies_in_tool = 0, False
                if self.journal is not None:
                    self.journal.fuse = None
                await self.at_once(pause)
                continue
            decisions = self.given(pause)
            await self.resume(pause, decisions)
            if chance < 0.4:  # the same once more, perhaps because the model was away
                self.faults()
                await self.resume(pause, decisions)
        if self.journal is not None:
            await self._to_the_end()

    async def _again(self) -> None:
        """A run that died before it could pause goes on from its record."""
        self.faults()
        agent = self.agent(self.approver())
        life = Life(self.ledger, self.life.mine, self.life.rules)
        journal = self.journal
        await self.stretch(lambda: agent.resume(self.run_id, journal=journal, deps=self), life)

    async def _to_the_end(self) -> None:
        """Nothing goes wrong any more, and a person says yes to all."""
        self.model.failures, self.dies_in_tool = 0, False
        agent, journal = self.agent(None), self.journal
        decisions: dict[str, Decision] = {}
        for _ in range(20):
            life = Life(self.ledger, self.life.mine, self.life.rules)
            for name, decision in decisions.items():
                life.give(name, decision)
            resumed = partial(
                agent.resume, self.run_id, dict(decisions), journal=journal, deps=self
            )
            await self.stretch(resumed, life)
            result = self.told[-1]
            if result.stop_reason != "paused":
                break
            decisions = {each.id: Approve() for each in pause_of(result).waiting}
        assert self.told[-1].stop_reason in ("answer", "loop"), self.told[-1].explanation
        self._books()

    def _books(self) -> None:
        """Every question of the run, when all is over."""
        told = {
            m.call_id: text_of(m.content)
            for m in self.told[-1].messages
            if isinstance(m, ToolMessage)
        }
        for question in self.ledger.questions.values():
            text = told[question.call]
            unknown = "may or may not have taken effect" in text
            self.ledger.counts["told as unknown"] += unknown
            if "was not run" in text:
                assert not question.paid, "paid, and told as not run"
            elif not unknown and question.number not in self.life.rules:
                assert question.paid == 1, f"{question.call}: {text} and no payment"
                assert any(isinstance(said, Approve | Edit) for said in question.said)


def _script(rng: random.Random) -> list[list[tuple[str, int]]]:
    """Replies of calls, many of them equal to one beside them or a step before."""
    return [
        [
            (rng.choice(["pay", "pay", "look"]), rng.choice([1, 1, 2]))
            for _ in range(rng.randint(1, 3))
        ]
        for _ in range(rng.randint(1, 3))
    ]


async def interleaving(seed: int) -> Counter[str]:
    """One interleaving; what happened in it.

    Raises:
        AssertionError: The ledger does not balance.
    """
    world = World(seed)
    try:
        await world.live()
    except AssertionError as error:
        raise AssertionError(f"interleaving {seed}: {error}") from error
    return Counter(world.ledger.counts)
