"""The plain data of an evaluation, and the protocols of a suite.

```
Suite.cases ─► Case ─► Suite.open ─► Session ─ next_turn ─► Turn ─► Agent.run ─┐
                                        ▲                                      │
                                        └────────────── Transcript ◄───────────┘
                                        └─ grade ─► Grade        both ─► TrialResult ─► Store
```
A trial is one try at one case. All data here are frozen; pydantic writes and reads them as JSON.
"""

from __future__ import annotations

import json
import reprlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Literal, Protocol, TypeAlias

from pydantic import JsonValue, TypeAdapter
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from agentkit import AgentKitError, Context, Limits, Toolset, Usage
from agentkit.messages import JsonObject, Message, ResultKind, StopReason, UserMessage, text_of


class EvalError(AgentKitError):
    """An evaluation cannot be made or read; the text says what to do."""


class SuiteError(EvalError):
    """A suite's own machinery failed in a trial; that is never the fault of the tested agent."""


GoldCall: TypeAlias = tuple[str, JsonObject]
"""Name and arguments of a call in a right answer."""


@dataclass(frozen=True, slots=True)
class Case:
    """One task of a suite.

    Attributes:
        id: Unique within the suite.
        gold: The calls of a right answer, by turn, if the suite knows one; the reference subjects
            make them.
        tags: Words by which cases are chosen, such as their kind.
        at_once: Whether the gold calls of a turn belong in one reply.
        answer: What a right answer says in the end, if words are graded.
    """

    id: str
    gold: tuple[tuple[GoldCall, ...], ...] | None = None
    tags: tuple[str, ...] = ()
    at_once: bool = False
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One try at one case.

    Attributes:
        case: The case.
        number: The number of the try, from 0.
        seed: Sampling seed of the model, so that trials differ and can be repeated.
        said: The recorded messages of a played user, who is then not asked; a None at the end says
            that the user ended the conversation.
    """

    case: Case
    number: int
    seed: int
    said: tuple[str | None, ...] | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What identifies the trial within its run."""
        return self.case.id, self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLimits:
    """The limits of one trial, without its grading. None is no limit.

    Attributes:
        seconds: Wall time. A trial whose time ends in one of the suite's tools has no verdict; any
            other is graded by the state that it left.
        tokens: Tokens that the model may write in all turns together, reasoning included; a trial
            that uses them up is graded by the state that it left.
        memory: Bytes of memory beyond those that a process has before a trial begins. With this
            limit, each trial is played in a process of its own, which is ended with it.

    Raises:
        ValueError: A limit is below 0.
    """

    seconds: float | None = None
    tokens: int | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "tokens", "memory"):
            given = getattr(self, name)
            if given is not None and not given >= 0:
                raise ValueError(f"{name} is {given}; give 0 or more, or None for no limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The user's next message, and what the agent has for it.

    Attributes:
        text: The user's words.
        tools: The tools of this turn.
        instructions: The system text, if the suite prescribes one.
        context: The settings of the agent's window, if the suite prescribes them: a suite that
            follows an upstream offers no tools beside upstream's.
        history: The messages before a trial's first turn.
        limits: Limits of this turn; reaching one ends the turn.
        new_conversation: Whether the user begins a new conversation, without the turns before.
        said_by: The name of a played user; None if the words are the suite's.
    """

    text: str
    tools: Toolset
    instructions: str | None = None
    context: Context | None = None
    history: tuple[Message, ...] = ()
    limits: Limits = field(default_factory=Limits)
    new_conversation: bool = False
    said_by: str | None = None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call that the model made.

    Attributes:
        name: The tool, after repair.
        arguments: The arguments as the model wrote them.
        kind: How the call ended.
        fits: Whether the call, as it was written, names a tool and obeys its schema.
    """

    name: str
    arguments: JsonObject
    kind: ResultKind
    fits: bool

    @property
    def invalid(self) -> bool:
        """Whether the call, as it was written, named no tool or did not fit its schema."""
        return not self.fits or self.kind in ("unknown_tool", "invalid_arguments")


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """The record of one turn.

    Attributes:
        stop_reason: Why the agent's run ended.
        output: The answer, if there is one.
        steps: Model calls.
        usage: Tokens.
        calls: The calls, in the model's order.
        repairs: Calls whose name agentkit repaired, or that it asked for again.
        retries: Model calls that were made again.
        new_conversation: See `Turn`.
        said_by: See `Turn`.
        hidden: Tools of the suite that were called otherwise than `calls` and the messages say: by
            a sub-agent, or under another name.
    """

    stop_reason: StopReason
    output: str
    steps: int
    usage: Usage
    calls: tuple[CallRecord, ...] = ()
    repairs: int = 0
    retries: int = 0
    new_conversation: bool = False
    said_by: str | None = None
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Transcript:
    """The record of a trial, as far as it got.

    Attributes:
        turns: Its turns, in order.
        messages: All messages of the turns, and those before.
        over: Whether the user had nothing more to say.
    """

    turns: tuple[TurnRecord, ...] = ()
    messages: tuple[Message, ...] = ()
    over: bool = False

    @property
    def asked(self) -> tuple[str, ...]:
        """What the user said in each turn."""
        asked = [m for m in self.messages if isinstance(m, UserMessage)]
        before = max(0, len(asked) - len(self.turns))  # messages of the case's own history
        return tuple(text_of(m.content) for m in asked[before:])

    @property
    def usage(self) -> Usage:
        """Tokens of all turns."""
        return sum((turn.usage for turn in self.turns), Usage())

    @property
    def steps(self) -> int:
        """Model calls of all turns."""
        return sum(turn.steps for turn in self.turns)

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """Calls of all turns."""
        return tuple(call for turn in self.turns for call in turn.calls)


@dataclass(frozen=True, slots=True)
class Grade:
    """A suite's verdict.

    Attributes:
        passed: Whether the case is solved.
        error: The suite's own name for what is wrong.
        score: How well it is solved, from 0 to 1, if the suite measures that.
        idle_turns: Turns in which no call was wanted.
        overcalled: The idle turns in which the agent made a call all the same.
        details: Further JSON of the suite, such as what was executed.
    """

    passed: bool
    error: str | None = None
    score: float | None = None
    idle_turns: int = 0
    overcalled: int = 0
    details: JsonValue = None


def kept(grade: object, what: str = "the suite") -> Grade:
    """The grade as the store will give it back.

    Args:
        grade: What a check or a suite returned.
        what: The name of the check or suite, for errors.

    Raises:
        SuiteError: It is no grade, or not JSON.
    """
    if not isinstance(grade, Grade):
        raise SuiteError(f"{what} returned {reprlib.repr(grade)}, which is no Grade")
    try:
        same = _grades().validate_json(as_json(grade), strict=True)
    except ValueError as error:  # pydantic's, of reading and of writing
        raise SuiteError(
            f"{what} returned a Grade that cannot be kept: {error}"[:_LONGEST]
        ) from error
    if same.score is not None and not 0 <= same.score <= 1:
        raise SuiteError(f"{what} returned a Grade whose score is {same.score}: give 0 to 1")
    return same


def as_json(value: object) -> bytes:
    """Writes plain data of an evaluation as JSON."""
    try:
        return to_json(value, inf_nan_mode="constants")
    except PydanticSerializationError:
        # Half a surrogate pair, in what a model wrote.
        plain = to_jsonable_python(value)
        return json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace")


@cache
def _grades() -> TypeAdapter[Grade]:
    """Built at the first use, as that of whole results is."""
    return TypeAdapter(Grade)


_LONGEST: Final = 500
"""Characters of an error about a grade."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the model took in a trial.

    Attributes:
        first_tokens: Seconds of each model call until its reply began; a reply that came whole
            has none.
        model: Seconds of all model calls.
    """

    first_tokens: tuple[float, ...] = ()
    model: float = 0.0


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One trial's line in the store.

    Attributes:
        case: `Case.id`.
        trial: `Trial.number`.
        status: `graded`, or `infrastructure` when server, suite or harness failed: neither a pass
            nor a failure of the agent.
        grade: The verdict, if there is one.
        failure: What failed, if there is no verdict of the suite.
        transcript: The record, as far as the trial got.
        seconds: Wall time; not compared.
        worker: The worker that played it; not compared.
        timing: Timing of the model; not compared.
    """

    case: str
    trial: int
    status: Literal["graded", "infrastructure"]
    grade: Grade | None = None
    failure: str | None = None
    transcript: Transcript = field(default_factory=Transcript)
    seconds: float = 0.0
    worker: str = ""
    timing: Timing = field(default_factory=Timing)

    @property
    def key(self) -> tuple[str, int]:
        """What identifies the trial within its run."""
        return self.case, self.trial

    @property
    def passed(self) -> bool:
        """Whether the suite's verdict is a pass."""
        return self.grade is not None and self.grade.passed


def by_case(results: Iterable[TrialResult]) -> dict[str, list[TrialResult]]:
    """The trials of each case."""
    found: defaultdict[str, list[TrialResult]] = defaultdict(list)
    for result in results:
        found[result.case].append(result)
    return dict(found)


class Session(Protocol):
    """The world of one trial: it gives the turns, and grades at the end."""

    async def next_turn(self, transcript: Transcript) -> Turn | None:
        """The next turn, or None if the conversation is over.

        Raises:
            SuiteError: The suite's machinery failed.
        """
        ...

    async def grade(self, transcript: Transcript) -> Grade:
        """The verdict on the state that the trial left.

        Raises:
            SuiteError: The suite's machinery failed.
        """
        ...


class Suite(Protocol):
    """Cases, with a world for each and a grader."""

    @property
    def name(self) -> str:
        """The name of suite and split, such as `bfcl:multi_turn_base`."""
        ...

    async def cases(self) -> Sequence[Case]:
        """All cases, in the suite's order.

        Raises:
            EvalError: The suite is not installed.
        """
        ...

    async def about(self) -> dict[str, str]:
        """Versions and hashes of the cases and the grader, for the manifest."""
        ...

    def open(self, trial: Trial) -> AbstractAsyncContextManager[Session]:
        """A fresh world for one trial; trials are independent of each other."""
        ...

    async def aclose(self) -> None:
        """Releases what the suite holds, such as worker processes."""
        ...
