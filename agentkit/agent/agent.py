"""`Agent`: what a worker is. Running it is the loop's work."""

from __future__ import annotations

import contextvars
import inspect
import math
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import anyio

from agentkit.agent.detached import Detached
from agentkit.agent.loop import Run, drive
from agentkit.errors import AgentKitError
from agentkit.events import Event, RunResult
from agentkit.executors import Executor, LocalExecutor
from agentkit.messages import Content, Message, ModelSettings, SystemMessage, UserMessage
from agentkit.models import Model
from agentkit.policy import Limits
from agentkit.toolset import RunContext, Tool, Toolset
from agentkit.trace import RunFiles, runs_directory

__all__ = ["Agent", "Instructions", "Observer", "RunOptions"]

Instructions: TypeAlias = str | Callable[[RunContext[Any]], str | Awaitable[str]]
"""Text, or a function of the run's context, evaluated once a run so that the prompt's beginning
(and with it the server's prefix cache) stays the same over all its steps."""

Observer: TypeAlias = Callable[[str, Event], None]
"""Called with the run's id and each of its events, in the run's own thread; must be quick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What one run may set beside its input.

    Attributes:
        deps: Reaches instructions and tools through their context.
        history: Messages to go on from, such as an earlier result's.
        settings: Over the agent's.
        limits: Instead of the agent's.
        run_id: Names the run and its file; by default the time and some random digits.
    """

    deps: Any = None
    history: Sequence[Message] = ()
    settings: ModelSettings | None = None
    limits: Limits | None = None
    run_id: str | None = None


class Agent:
    """A model, its instructions and its tools. Immutable; share it between threads and loops.

    Args:
        model: Produces the replies.
        instructions: The system text.
        tools: Functions or tools.
        settings: Defaults for each step.
        limits: Bounds of each run.
        executor: Runs the tools; by default in this process.
        observers: Watch every run. Default: a JSONL file for each run (see `RunFiles`); pass `()`
            for none.

    Raises:
        ToolDefinitionError: A function cannot be a tool, or two tools share a name.
    """

    def __init__(
        self,
        model: Model,
        *,
        instructions: Instructions | None = None,
        tools: Iterable[Tool[..., Any] | Callable[..., Any]] = (),
        settings: ModelSettings | None = None,
        limits: Limits | None = None,
        executor: Executor | None = None,
        observers: Iterable[Observer] | None = None,
    ) -> None:
        self._model = model
        self._instructions = instructions
        self._toolset = Toolset(tools)
        self._settings = settings or ModelSettings()
        self._limits = limits or Limits()
        self._executor = executor or LocalExecutor()
        self._observers = tuple(_default_observers() if observers is None else observers)

    async def run(
        self,
        input: Content,  # noqa: A002 - the word users know it by
        *,
        deps: Any = None,
        history: Sequence[Message] = (),
        settings: ModelSettings | None = None,
        limits: Limits | None = None,
        run_id: str | None = None,
    ) -> RunResult:
        """Runs to the end.

        Args:
            input: What the user says.
            deps: Reaches instructions and tools through their context.
            history: Messages to go on from, such as an earlier result's.
            settings: Over the agent's.
            limits: Instead of the agent's.
            run_id: Names the run and its file; by default the time and some random digits.

        Returns:
            The answer, or why there is none; reaching a limit is a result too.

        Raises:
            AgentKitError: The model cannot be had.
        """
        options = RunOptions(
            deps=deps, history=history, settings=settings, limits=limits, run_id=run_id
        )
        return await self._drive(input, options, None)

    async def stream(
        self,
        input: Content,  # noqa: A002 - the word users know it by
        *,
        deps: Any = None,
        history: Sequence[Message] = (),
        settings: ModelSettings | None = None,
        limits: Limits | None = None,
        run_id: str | None = None,
    ) -> AsyncGenerator[Event, None]:
        """The same run as `run`, as its events; the last is `RunFinished`.

        Leaving the iteration ends the run. Arguments and exceptions are those of `run`.
        """
        options = RunOptions(
            deps=deps, history=history, settings=settings, limits=limits, run_id=run_id
        )
        # Unbounded, so that the run never waits for who watches it; what it can hold is bounded
        # by max_tokens and the number of steps.
        send, receive = anyio.create_memory_object_stream[Event](math.inf)
        running = Detached(partial(self._drive, input, options, send.send_nowait), send.close)
        try:
            async for event in receive:
                yield event
            running.result()
        finally:
            await running.end()
            receive.close()

    def run_sync(
        self,
        input: Content,  # noqa: A002 - the word users know it by
        *,
        deps: Any = None,
        history: Sequence[Message] = (),
        settings: ModelSettings | None = None,
        limits: Limits | None = None,
        run_id: str | None = None,
    ) -> RunResult:
        """`run` for code that is not async; also works inside a running event loop, in a notebook.

        Arguments and exceptions are those of `run`.
        """
        options = RunOptions(
            deps=deps, history=history, settings=settings, limits=limits, run_id=run_id
        )

        async def main() -> RunResult:
            try:
                return await self._drive(input, options, None)
            finally:
                await self._model.aclose()  # this event loop ends here

        return _in_own_loop(main)

    async def run_many(
        self,
        inputs: Iterable[Content],
        *,
        concurrency: int = 8,
        deps: Any = None,
        settings: ModelSettings | None = None,
        limits: Limits | None = None,
    ) -> list[RunResult]:
        """Runs all inputs, at most `concurrency` at a time; results in the order of the inputs.

        A run whose model fails does not end the others: its result says `error` and why.
        """
        options = RunOptions(deps=deps, settings=settings, limits=limits)
        todo = list(inputs)
        results: list[RunResult | None] = [None] * len(todo)
        limiter = anyio.CapacityLimiter(concurrency)

        async def one(position: int, text: Content) -> None:
            async with limiter:
                try:
                    results[position] = await self._drive(text, options, None)
                except AgentKitError as error:
                    results[position] = error.result

        async with anyio.create_task_group() as group:
            for position, text in enumerate(todo):
                group.start_soon(one, position, text)
        return [result for result in results if result is not None]

    async def _drive(
        self, content: Content, options: RunOptions, listener: Callable[[Event], None] | None
    ) -> RunResult:
        context = RunContext(deps=options.deps, run_id=options.run_id or _new_run_id())
        run = Run(
            model=self._model,
            toolset=self._toolset,
            executor=self._executor,
            settings=(options.settings or ModelSettings()).over(self._settings),
            limits=options.limits or self._limits,
            context=context,
            messages=[*await self._opening(context, options.history), UserMessage(content)],
            emit=_emitter(context.run_id, self._observers, listener),
        )
        return await drive(run)

    async def _opening(self, context: RunContext[Any], history: Sequence[Message]) -> list[Message]:
        """The history with this run's instructions at its head."""
        text = self._instructions
        if callable(text):
            made = text(context)
            text = await made if inspect.isawaitable(made) else made
        if text is None:
            return list(history)
        rest = history[1:] if history and history[0].role == "system" else history
        return [SystemMessage(text), *rest]

    async def aclose(self) -> None:
        """Closes what this event loop's runs hold open, such as connections."""
        await self._model.aclose()

    def replace(self, *, model: Model | None = None, limits: Limits | None = None) -> Agent:
        """A copy with another model or other limits."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._model = model or self._model
        copy._limits = limits or self._limits
        return copy


def _emitter(
    run_id: str, observers: Sequence[Observer], listener: Callable[[Event], None] | None
) -> Callable[[Event], None]:
    def emit(event: Event) -> None:
        for observer in observers:
            observer(run_id, event)
        if listener is not None:
            listener(event)

    return emit


def _default_observers() -> list[Observer]:
    directory = runs_directory()
    return [RunFiles(directory)] if directory else []


def _new_run_id() -> str:
    """Sorts by time, and names a file on every system."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"


def _in_own_loop(main: Callable[[], Awaitable[RunResult]]) -> RunResult:
    """Runs it in an event loop of its own: here, or in a thread if a loop already runs here."""
    try:
        anyio.get_current_task()
    except (RuntimeError, anyio.NoEventLoopError):
        return anyio.run(main)
    outcome: list[RunResult | BaseException] = []
    context = contextvars.copy_context()

    def work() -> None:
        try:
            outcome.append(anyio.run(main))
        except BaseException as error:  # noqa: BLE001 - handed over to the caller's thread
            outcome.append(error)

    thread = threading.Thread(target=context.run, args=(work,), name="agentkit-run-sync")
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
