"""A suite in one file: tasks with a world in memory, graded by the state they leave.

```
Task.world() ─► a fresh world ─► Task.tools(world) ─► the agent works ─► Task.check(world)
```
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from agentkit import Limits, Tool, Toolset
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
)

__all__ = ["Task", "TaskSuite"]

WorldT = TypeVar("WorldT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Generic[WorldT]):
    """Something to be done in a world.

    Attributes:
        id: Unique within the suite.
        turns: What the user says, one after another.
        world: Makes a fresh world; trials share nothing.
        tools: What can be done in it.
        check: Looks at the world in the end: None if it is right, or what is wrong, in a few words
            that reports can count by.
        gold: The calls of a right answer, by turn; they prove that the task can be solved.
        instructions: The system text.
        steps: Most model calls of a turn.
    """

    id: str
    turns: tuple[str, ...]
    world: Callable[[], WorldT]
    tools: Callable[[WorldT], Iterable[Tool[..., Any] | Callable[..., Any]]]
    check: Callable[[WorldT], str | None]
    gold: tuple[tuple[GoldCall, ...], ...] | None = None
    instructions: str | None = None
    steps: int = 20


class TaskSuite:
    """Tasks as a suite.

    Args:
        name: Of the suite.
        tasks: With distinct ids.

    Raises:
        EvalError: Two tasks have the same id.
    """

    def __init__(self, name: str, tasks: Sequence[Task[Any]]) -> None:
        self._name = name
        self._tasks = {task.id: task for task in tasks}
        if len(self._tasks) != len(tasks):
            raise EvalError(f"two tasks of {name} have the same id")

    @property
    def name(self) -> str:
        """As given."""
        return self._name

    @property
    def tasks(self) -> Sequence[Task[Any]]:
        """The tasks, in order."""
        return tuple(self._tasks.values())

    async def cases(self) -> Sequence[Case]:
        """The tasks, in order."""
        return [Case(task.id, task.gold) for task in self._tasks.values()]

    async def about(self) -> dict[str, str]:
        """A hash of what the users say and of the gold calls."""
        said = repr([(task.id, task.turns, task.gold) for task in self._tasks.values()])
        return {"tasks_sha256": hashlib.sha256(said.encode()).hexdigest()}

    @asynccontextmanager
    async def open(self, trial: Trial) -> AsyncGenerator[Session]:
        """A fresh world."""
        yield _TaskSession(self._tasks[trial.case.id])

    async def aclose(self) -> None:
        """Holds nothing."""


class _TaskSession:
    def __init__(self, task: Task[Any]) -> None:
        self._task = task
        self._world = task.world()
        self._tools = Toolset(task.tools(self._world))

    async def next_turn(self, transcript: Transcript) -> Turn | None:
        number = len(transcript.turns)
        if number == len(self._task.turns):
            return None
        return Turn(
            text=self._task.turns[number],
            tools=self._tools,
            instructions=self._task.instructions,
            limits=Limits(steps=self._task.steps),
        )

    async def grade(self, transcript: Transcript) -> Grade:
        try:
            wrong = self._task.check(self._world)
        except Exception as error:
            raise SuiteError(f"the check of {self._task.id} raised {error!r}") from error
        if wrong is None:
            return Grade(passed=True)
        if transcript.turns and transcript.turns[-1].stop_reason != "answer":
            wrong = f"agent:{transcript.turns[-1].stop_reason}"
        return Grade(passed=False, error=wrong)


if TYPE_CHECKING:
    _: Suite = TaskSuite("", [])
    _session: type[Session] = _TaskSession
