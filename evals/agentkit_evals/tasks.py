"""A suite in one file: tasks with a world in memory, graded by the state they leave.

```
Task.world() ─► a fresh world ─► Task.tools(world) ─► the agent works ─► Task.check(world)
```
"""

from __future__ import annotations

import hashlib
import inspect
import reprlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from traceback import extract_tb, walk_tb
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast

from agentkit import Limits, Tool, Toolset
from agentkit.errors import check_kinds, wrong_value
from agentkit_evals.contained import contained
from agentkit_evals.core import (
    Case,
    EvalError,
    GoldCall,
    Grade,
    Session,
    Suite,
    SuiteError,
    Transcript,
    Trial,
    Turn,
    kept,
)
from agentkit_evals.sources import files_hash, sources_hash
from agentkit_evals.users import User, name_of

WorldT = TypeVar("WorldT")

Verdict: TypeAlias = str | bool | tuple[float, str] | Grade | None
"""The result of a check; see `Task.check`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Generic[WorldT]):
    """Something to be done in a world.

    Attributes:
        id: Unique within the suite.
        turns: The user's messages; or a played user, such as a `ModelUser` of
            `agentkit_evals.users`.
        world: Makes a fresh world; trials share nothing.
        tools: Makes the tools of a world.
        check: Looks at the world at the end, and at the transcript if it takes a second argument.
            It returns None or True if all is right; False, or what is wrong in a few words that
            reports count; a `Grade`; or a score from 0 to 1 and a reason, where 1 is a pass. An
            `assert` that fails says what is wrong, too. It may be `async`, to ask a model;
            `agentkit_evals.scorers` has some.
        gold: The calls of a right answer, by turn; they prove that the task can be solved.
        answer: What a right answer says in the end, if the check looks at words.
        instructions: The system text.
        steps: Most model calls of a turn.
        most_turns: Most turns of a conversation with a played user.
        tags: Words by which tasks are chosen.
        seconds: Most seconds for making the world, for the check, and for each message of a played
            user.

    Raises:
        TypeError: One of these is of a wrong type, or cannot be called as it has to be.
        ValueError: There are no turns, or gold calls of more turns than there are.
    """

    id: str
    turns: tuple[str, ...] | User
    world: Callable[[], WorldT]
    tools: Callable[[WorldT], Iterable[Tool[..., Any] | Callable[..., Any]]]
    check: Callable[..., Verdict | Awaitable[Verdict]]
    gold: tuple[tuple[GoldCall, ...], ...] | None = None
    answer: str | None = None
    instructions: str | None = None
    steps: int = 20
    most_turns: int = 50
    tags: tuple[str, ...] = ()
    seconds: float = 30.0

    def __post_init__(self) -> None:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        check_kinds(given, _KINDS)
        for name, counts in _CALLED.items():
            if name != "turns" or not isinstance(self.turns, tuple):
                _check_callable(name, given[name], counts)
        if isinstance(self.turns, tuple):
            for text in self.turns:
                if not isinstance(text, str):
                    raise wrong_value("a turn", text, "give a text")
            if not self.turns:
                raise wrong_value("turns", self.turns, _REMEDIES["turns"], ValueError)
            if self.gold is not None and len(self.gold) > len(self.turns):
                raise ValueError(
                    f"gold has calls of {len(self.gold)} turns, and there are {len(self.turns)}; "
                    f"{_GOLD}"
                )
        for made in self.gold or ():
            _check_gold(made)
        if not self.seconds > 0:
            raise wrong_value("seconds", self.seconds, "give a number above 0")


def _check_callable(name: str, value: Any, counts: tuple[int, ...]) -> None:
    """Refuses what cannot be called with any of so many arguments, or gives no result."""
    endless = inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value)
    if not callable(value) or endless:
        raise wrong_value(name, value, _REMEDIES[name])
    for count in counts:
        try:
            inspect.signature(value).bind(*[None] * count)
        except TypeError:
            continue
        except ValueError:  # written in C, without a signature
            pass
        return
    raise wrong_value(name, value, _REMEDIES[name])


def _check_gold(made: object) -> None:
    """Refuses what is not the calls of one turn."""
    for call in made if isinstance(made, tuple | list) else (made,):
        match call:
            case (str(), Mapping()):
                pass
            case _:
                raise wrong_value("a gold call", call, _GOLD)


_CALLED: Final = {"world": (0,), "tools": (1,), "check": (1, 2), "turns": (2,)}
"""With how many arguments each is called."""
_GOLD: Final = "give a tuple of calls for each turn: (((name, arguments),),)"
_REMEDIES: Final = {
    "turns": "write turns=(text,), or give a function of (transcript, seed) that plays the user",
    "world": "give a function without arguments that makes a fresh world",
    "tools": "give a function of the world that returns its tools",
    "check": "give a function of the world, or of (world, transcript), that says what is wrong",
}
_KINDS: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    "id": ((str,), "give a text"),
    "gold": ((tuple,), _GOLD),
    "answer": ((str,), "give a text"),
    "instructions": ((str,), "give a text"),
    "steps": ((int,), "give a whole number"),
    "most_turns": ((int,), "give a whole number"),
    "tags": ((tuple,), 'write tags=("word",)'),
    "seconds": ((int, float), "give a number"),
}


class TaskSuite:
    """Tasks as a suite.

    Args:
        name: Name of the suite.
        tasks: The tasks; each has an id of its own.

    Raises:
        EvalError: Two tasks have the same id.
        TypeError: What is given is no task.
    """

    def __init__(self, name: str, tasks: Sequence[Task[Any]]) -> None:
        self._name = name
        self._tasks: dict[str, Task[Any]] = {}
        for task in tasks:
            if not isinstance(cast("object", task), Task):
                raise wrong_value(f"a task of {name}", task, "give a Task")
            if task.id in self._tasks:
                raise EvalError(f"two tasks of {name} have the same id {task.id!r}: rename one")
            self._tasks[task.id] = task

    @property
    def name(self) -> str:
        return self._name

    @property
    def tasks(self) -> Sequence[Task[Any]]:
        """The tasks, in order."""
        return tuple(self._tasks.values())

    async def cases(self) -> Sequence[Case]:
        """The tasks, in order."""
        return [
            Case(task.id, _gold(task), task.tags, answer=task.answer)
            for task in self._tasks.values()
        ]

    async def about(self) -> dict[str, str]:
        """Hashes of the tasks' texts and limits, of the checks, the worlds and their tools, and of
        the files that these are in.
        """
        tasks = self._tasks.values()
        texts = repr([_described(task) for task in tasks])
        users = [task.turns for task in tasks if not isinstance(task.turns, tuple)]
        checks = [task.check for task in tasks]
        worlds = [task.world for task in tasks]
        tools = [task.tools for task in tasks]
        return {
            "tasks_sha256": hashlib.sha256(texts.encode()).hexdigest(),
            "checks_sha256": sources_hash(checks),
            "worlds_sha256": sources_hash(worlds),
            "tools_sha256": sources_hash(tools),
            "users_sha256": sources_hash(users),
            "files_sha256": files_hash([*checks, *worlds, *tools, *users]),
        }

    @asynccontextmanager
    async def open(self, trial: Trial) -> AsyncGenerator[Session]:
        """Opens a fresh world.

        Raises:
            SuiteError: It cannot be made.
        """
        task = self._tasks[trial.case.id]

        def with_tools(world: Any) -> tuple[Any, Toolset]:
            return world, Toolset(task.tools(world))

        what = f"the world of {task.id}"
        world, tools = await contained(what, task.world, with_tools, task.seconds)
        yield _TaskSession(task, trial, world, tools)

    async def aclose(self) -> None:
        """Does nothing: a suite of tasks holds nothing."""


def _gold(task: Task[Any]) -> tuple[tuple[GoldCall, ...], ...] | None:
    """The gold calls of a task; a task with only an `answer` is solved without any call."""
    if task.gold is None and task.answer is not None:
        return ((),) * len(_words(task) or ((),))
    return task.gold


def _described(task: Task[Any]) -> tuple[object, ...]:
    """What a verdict on a task depends on, beside code."""
    given = (task.gold, task.answer, task.instructions, task.steps, task.most_turns)
    return (task.id, _words(task), *given)


def _words(task: Task[Any]) -> tuple[str, ...] | None:
    """The user's messages; None if the user is played."""
    return task.turns if isinstance(task.turns, tuple) else None


class _TaskSession:
    def __init__(self, task: Task[Any], trial: Trial, world: Any, tools: Toolset) -> None:
        self._task = task
        self._trial = trial
        self._world = world
        self._tools = tools

    async def next_turn(self, transcript: Transcript) -> Turn | None:
        turns, number = self._task.turns, len(transcript.turns)
        if isinstance(turns, tuple):
            text, said_by = turns[number] if number < len(turns) else None, None
        else:
            text, said_by = await self._played(turns, transcript), name_of(turns)
        if text is None:
            return None
        return Turn(
            text=text,
            tools=self._tools,
            instructions=self._task.instructions,
            limits=Limits(steps=self._task.steps),
            said_by=said_by,
        )

    async def _played(self, user: User, transcript: Transcript) -> str | None:
        """The message of a played user, now or when the trial was recorded."""
        number, said = len(transcript.turns), self._trial.said
        if said is not None:
            if number >= len(said):
                raise SuiteError("what the user would have said then was not recorded")
            return said[number]
        if number >= self._task.most_turns:
            return None
        what = f"the user of {self._task.id}"
        speaks = partial(user, transcript, self._trial.seed)
        return await contained(what, speaks, partial(_said, what), self._task.seconds)

    async def grade(self, transcript: Transcript) -> Grade:
        what = f"the check of {self._task.id}"
        check = partial(self._task.check, self._world)
        if _takes_two(self._task.check):
            check = partial(check, transcript)
        asserted = partial(_asserted, check)
        grade = await contained(what, asserted, partial(_grade, what), self._task.seconds)
        if grade.passed:
            return grade
        if transcript.turns and transcript.turns[-1].stop_reason != "answer":
            return replace(grade, error=f"agent:{transcript.turns[-1].stop_reason}")
        return grade


def _said(what: str, found: object) -> str | None:
    """The message of a played user, as a plain text."""
    if found is None or isinstance(found, str):
        return None if found is None else str.__str__(found)
    raise SuiteError(f"{what} said {reprlib.repr(found)}, which is neither text nor None")


def _asserted(check: Callable[[], Verdict | Awaitable[Verdict]]) -> object:
    """The result of a check, or what an `assert` in it says is wrong."""
    try:
        found = check()
    except AssertionError as error:
        return _denied(error)
    return _awaited(found) if inspect.isawaitable(found) else found


async def _awaited(found: Awaitable[Verdict]) -> Verdict:
    try:
        return await found
    except AssertionError as error:
        return _denied(error)


def _denied(error: AssertionError) -> str:
    """The text of a failed `assert`, or else its line.

    Raises:
        AssertionError: It is agentkit's own, such as that of a scripted grader with nothing to say.
    """
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    if frames[-1].f_globals.get("__name__", "").startswith("agentkit."):
        raise error
    return str(error) or extract_tb(error.__traceback__)[-1].line or "an assertion failed"


def _takes_two(check: Callable[..., Any]) -> bool:
    """Whether a check takes two arguments without a default, so that it gets the transcript too."""
    try:
        parameters = inspect.signature(check).parameters.values()
    except (TypeError, ValueError):  # written in C
        return False
    return sum(p.default is p.empty and p.kind in _BY_POSITION for p in parameters) > 1


_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _grade(what: str, verdict: object) -> Grade:
    """The result of a check as a grade.

    Raises:
        SuiteError: It is no verdict. A number alone is none, since 0 might mean a pass.
    """
    match verdict:
        case Grade():
            return kept(verdict, what)
        case None | True:
            return Grade(passed=True)
        case False:
            return Grade(passed=False)
        case str():
            return kept(Grade(passed=False, error=str.__str__(verdict)[:_LONGEST_ERROR]), what)
        case (float() | int() as value, str() as reason) if 0 <= value <= 1:
            passed = bool(value == 1)  # numpy has numbers whose comparison is no bool
            error = None if passed else str.__str__(reason)[:_LONGEST_ERROR]
            return kept(Grade(passed=passed, error=error, score=float(value)), what)
        case _:
            raise SuiteError(
                f"{what} returned {reprlib.repr(verdict)}, which is no verdict: it returns None or "
                "True, False, a few words, (score, reason) with a score from 0 to 1, or a Grade"
            )


_LONGEST_ERROR: Final = 500
"""Characters of an error of a check, by which reports count."""


if TYPE_CHECKING:
    _: Suite = TaskSuite("", [])
    _session: type[Session] = _TaskSession
