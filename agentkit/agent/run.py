"""One run: how it begins, what it works with, its state, its journal and its event loop.

`loop` and `step` change a run. Observers receive its events by `Run.emit` and cannot end it. A
journal changes none of that: it wraps the model and the executor that a run works with
(`journaled`), and takes each event before an observer does (`emitter`).
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import secrets
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from tempfile import SpooledTemporaryFile
from typing import Any, Final, Generic, TypeVar

import anyio
from anyio.from_thread import start_blocking_portal

from agentkit.agent.approvals import Decisions, GivenDecisions, UsedDecisions
from agentkit.agent.options import (
    Cancellation,
    Instructions,
    Observer,
    RunOptions,
    check_history,
    check_input,
    check_options,
)
from agentkit.agent.own_tools import PLAN, AnswerTool, with_partial_output
from agentkit.context import Context, ContextWindow
from agentkit.errors import JournalError
from agentkit.events import (
    Event,
    ModelEvent,
    ReasoningDelta,
    RunResult,
    StepRestarted,
    SubRunEvent,
    TextDelta,
    ToolCallDelta,
)
from agentkit.executors import Executor, JournaledExecutor
from agentkit.journal import Journal, JournaledRun, RunOpened
from agentkit.media import sound_messages
from agentkit.messages import (
    AssistantMessage,
    Content,
    Message,
    ModelRequest,
    ModelSettings,
    StopReason,
    SystemMessage,
    ToolResult,
    UserMessage,
    mended_history,
    text_of,
)
from agentkit.models import Model
from agentkit.models.base import Exchanges, JournaledModel
from agentkit.policy import Authority, Budget, Decision, PausedRun, ProgressGuard
from agentkit.redaction import get_logger
from agentkit.toolset import Label, RunContext, Tool, ToolContext, Toolset, ValidatedCall
from agentkit.trace import RunFiles, runs_directory, said_in
from agentkit.version import __version__

T = TypeVar("T")

current_budget: ContextVar[Budget | None] = ContextVar("agentkit_budget", default=None)
"""The budget of the call that runs in this context; a sub-agent spends from it too."""

current_run: ContextVar[Run | None] = ContextVar("agentkit_run", default=None)
"""The run whose call runs in this context. A run that begins here serves that call, and may do no
more than that run may."""

current_call: ContextVar[CallAtWork | None] = ContextVar("agentkit_call", default=None)
"""The call that runs in this context. The events of a run that begins here are shown under it."""

# --- how it begins -------------------------------------------------------------------------------


def new_run_id() -> str:
    """A new name for a run. Names sort by time, and can be file names on every system."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"


async def opening(
    instructions: Instructions[Any] | None, known: RunContext[Any], history: Sequence[Message]
) -> list[Message]:
    """The history with this run's instructions at its head."""
    made: object = instructions(known) if callable(instructions) else instructions
    text: Any = await made if inspect.isawaitable(made) else made
    if text is None:
        return list(history)
    if not isinstance(text, str):
        raise TypeError(f"instructions= returned {text!r:.60}; return a text, or None for none")
    rest = history[1:] if history and history[0].role == "system" else history
    return [SystemMessage(text), *rest]


async def beginning(
    model: str, instructions: Instructions[Any] | None, content: Content, options: RunOptions[Any]
) -> tuple[str, RunOpened]:
    """The name of a new run, and what it begins with.

    Raises:
        TypeError: An option or the input is of a wrong kind.
        ValueError: The input holds what no model takes, or a conversation has no journal.
        JournalError: The conversation's earlier turns cannot be read.
    """
    check_options(options)
    check_input(content)
    conversation = options.get("conversation") or ""
    history = await _history(conversation, options)
    run_id = options.get("run_id") or new_run_id()
    head = await opening(instructions, RunContext(options.get("deps"), run_id), history)
    messages = mended_history([*head, UserMessage(content)])
    settings, limits = options.get("settings"), options.get("limits")
    return run_id, RunOpened(
        tuple(messages), model, settings, limits, versions=versions(), conversation=conversation
    )


async def _history(conversation: str, options: RunOptions[Any]) -> Sequence[Message]:
    """The history that a run is given, or else that of its conversation, with a sentence in place
    of what cannot be sent.

    Raises:
        ValueError: There is no journal that could hold the conversation.
    """
    journal, given = options.get("journal"), options.get("history")
    if conversation and journal is None:
        raise ValueError("a conversation is kept in a journal: give journal= beside conversation=")
    if given is None:
        if journal is None or not conversation:
            return ()
        return sound_messages(await said_in(journal, conversation))
    check_history(given)
    return sound_messages(given)


def window_for(
    context: Context | None,
    tools: Iterable[Tool[..., Any]],
    own: frozenset[str],
    whole: WholeResults,
) -> ContextWindow:
    """A run's window. It knows which calls may simply be made again, keeps the plan in view, and
    names the agent's own tools that read what it leaves out.
    """
    again = frozenset(tool.name for tool in tools if tool.effect in ("pure", "idempotent"))
    return ContextWindow(context, repeatable=again, kept=own & {PLAN}, recall=own, whole=whole.get)


def versions() -> dict[str, str]:
    """The versions of agentkit and of what it runs on, for the record of a run."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"agentkit": __version__, "python": python, "platform": sys.platform}


def emitter(
    run_id: str,
    observers: Iterable[Observer],
    listener: Callable[[Event], None] | None,
    answer: AnswerTool | None,
    record: JournaledRun | None,
) -> Callable[[Event], None]:
    """The function that takes each event of a run, in this order.

    1. A journal adds the event to its record. One that was shown before a crash is not shown again.
    2. The observers get it, then the stream, then the observers of the run whose call this run
       serves. An observer that raises gets no more events.
    3. After a piece of a typed answer, the same get a `PartialOutput`, which no journal records.

    Args:
        run_id: The run's name.
        observers: The functions that observe it.
        listener: The function that streams it.
        answer: The tool of a typed answer.
        record: The run's record in a journal.
    """
    watching, call = list(observers), current_call.get()

    def show(event: Event) -> None:
        for observer in tuple(watching):
            try:
                observer(run_id, event)
            except Exception as error:  # noqa: BLE001 - the boundary around users' code
                watching.remove(observer)
                get_logger().warning(
                    "observer left out of the rest of this run",
                    observer=repr(observer),
                    run_id=run_id,
                    event_kind=type(event).__name__,
                    error=repr(error),
                )
        if listener is not None:
            listener(event)
        if call is not None:
            call.show(run_id, event)

    emit = show if answer is None else with_partial_output(answer, show)
    return emit if record is None else record.emitter(emit)


def default_observers() -> list[Observer]:
    """A JSONL file for each run, unless the environment says `off`."""
    directory = runs_directory()
    return [RunFiles(directory)] if directory else []


# --- what it works with --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a run works with; the same for all its steps.

    Attributes:
        side_model: Answers what tools ask; the model itself, without the run's window and record.
        own: The names of the agent's own tools.
        options: What the run was given.
    """

    model: Model
    toolset: Toolset
    executor: Executor
    settings: ModelSettings
    deps: Any
    authority: Authority
    side_model: Model
    own: frozenset[str] = frozenset()
    ask: Callable[[str], str | Awaitable[str]] | None = None
    answer: AnswerTool | None = None
    options: RunOptions[Any] = field(default_factory=RunOptions)
    window: ContextWindow = field(default_factory=ContextWindow)


# --- its state -----------------------------------------------------------------------------------

_IN_MEMORY: Final = 64 * 2**20
"""Bytes of results, in UTF-8, that one run keeps in memory beyond its history."""


class WholeResults:
    """The whole text of results that the history holds only in part.

    What outgrows memory goes to a private temporary file, which `close` deletes.

    Args:
        in_memory: Most bytes that are kept in memory.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self._places: dict[int, tuple[int, int]] = {}  # number -> first byte and length
        self._bytes = SpooledTemporaryFile(in_memory, prefix="agentkit-")  # noqa: SIM115 - `close`

    def keep(self, number: int, content: Content, in_history: Content) -> None:
        """Keeps the text of a result, if the history holds less of it.

        Args:
            number: Its place in the history, from 1, the instructions not counted.
            content: What the tool returned.
            in_history: What the history holds.
        """
        text = text_of(content)
        if len(text) <= len(text_of(in_history)):
            return
        data = text.encode()
        self._places[number] = self._bytes.seek(0, 2), len(data)
        self._bytes.write(data)

    def get(self, number: int) -> str | None:
        """All of a result's text; None if the history holds all of it."""
        if number not in self._places:
            return None
        start, length = self._places[number]
        self._bytes.seek(start)
        return self._bytes.read(length).decode()

    def close(self) -> None:
        """Throws all of it away."""
        self._bytes.close()


@dataclass(slots=True)
class Streamed:
    """What was shown of a reply that has not come to its end."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, tuple[str, list[str]]] = field(default_factory=dict)
    """The name of each call and the pieces of its arguments, by the call's place in the reply."""

    def add(self, event: ModelEvent) -> None:
        """Adds what is shown next. `StepRestarted` takes back everything before it."""
        match event:
            case TextDelta(text=text):
                self.text.append(text)
            case ReasoningDelta(text=text):
                self.reasoning.append(text)
            case ToolCallDelta(index=index, name=name, arguments=arguments):
                known, pieces = self.calls.get(index, ("", []))
                pieces.append(arguments)
                self.calls[index] = name or known, pieces
            case StepRestarted():
                self.text, self.reasoning, self.calls = [], [], {}
            case _:
                pass

    def __bool__(self) -> bool:
        return bool(self.text or self.reasoning or self.calls)

    @property
    def message(self) -> AssistantMessage:
        """Text and reasoning as far as they came. Calls are left out: nothing of this may run."""
        return AssistantMessage("".join(self.text), reasoning="".join(self.reasoning) or None)


@dataclass(slots=True)
class Run:
    """One run's state, which `loop` and `step` change.

    Attributes:
        id: Its name.
        emit: Takes an event; see `emitter`.
        step: The current step, from 1.
        taint: The kinds of text that the conversation holds, out of `policy.READS`. It only grows.
        sent: The newest request; before the first, the messages that the run began with.
        exchanges: What went to the server so far.
        streamed: What was shown of a reply that has not come to its end.
        cancellation: Ends it, or one of its calls, from outside.
        no_media: The server's words when it refused images or sounds of tools; empty if it has not.
        whole: The whole text of results that the history holds only in part.
    """

    id: str
    wiring: Wiring
    messages: list[Message]
    budget: Budget
    whole: WholeResults
    emit: Callable[[Event], None]
    step: int = 0
    guard: ProgressGuard = field(default_factory=ProgressGuard)
    locks: dict[str, anyio.Lock] = field(default_factory=dict)
    decisions: Decisions = field(default_factory=lambda: GivenDecisions(UsedDecisions()))
    taint: frozenset[Label] = frozenset()
    output: list[Any] = field(default_factory=list)
    cancellation: Cancellation = field(default_factory=Cancellation)
    sent: ModelRequest = field(default_factory=lambda: ModelRequest(()))
    exchanges: Exchanges = field(default_factory=Exchanges)
    streamed: Streamed | None = None
    no_media: str = ""

    @property
    def next_number(self) -> int:
        """The place of the next message, from 1, the instructions not counted."""
        instructed = bool(self.messages) and self.messages[0].role == "system"
        return len(self.messages) + 1 - instructed

    def end_early(self, stop: StopReason, explanation: str) -> RunResult[Any]:
        """The result of a run that ends in the middle of a step, with the text that was shown."""
        text = ""
        if self.streamed is not None and self.wiring.answer is None:
            message = self.streamed.message
            text = message.content or ""
            if text:
                self.messages.append(message)
        return self.end(stop, text, explanation)

    def end(
        self,
        stop: StopReason,
        output: object = "",
        explanation: str = "",
        paused: PausedRun | None = None,
    ) -> RunResult[Any]:
        """The result, if the run ended now."""
        return RunResult(
            said=output,
            stop_reason=stop,
            messages=tuple(self.messages),
            usage=self.budget.usage,
            steps=self.budget.steps,
            run_id=self.id,
            explanation=explanation,
            pause=paused,
            context=self.wiring.window.use(),
            typed=self.wiring.answer is not None,
        )


@dataclass(frozen=True, slots=True)
class CallAtWork:
    """A call that is running.

    Attributes:
        run: The run that made it.
        call_id: Its id.
        step: The step that asked for it.
        thread: The thread in which its run emits events.
    """

    run: Run
    call_id: str
    step: int
    thread: int = field(default_factory=threading.get_ident)

    def show(self, run_id: str, event: Event) -> None:
        """Shows an event of a run that serves the call to the observers of the call's run.

        A run in another thread has an event loop of its own; its events are not shown.
        """
        if threading.get_ident() == self.thread:
            self.run.emit(SubRunEvent(self.call_id, run_id, event, self.step))


# --- with a journal ------------------------------------------------------------------------------
# The same model and executor, each wrapped by the run's record.


@asynccontextmanager
async def begun(journal: Journal, run_id: str, opening: RunOpened) -> AsyncGenerator[JournaledRun]:
    """A new run's record, open while the run is at work.

    Raises:
        JournalError: The name is taken, or nothing can be written.
    """
    lease = await journal.open(run_id, opening)
    record = JournaledRun(journal, lease, [opening])
    try:
        yield record
    finally:
        await record.close()


@asynccontextmanager
async def continued(
    journal: Journal, run_id: str, decisions: Mapping[str, Decision]
) -> AsyncGenerator[JournaledRun]:
    """The record of a run that paused, ended or died before.

    Args:
        journal: The journal that keeps it.
        run_id: Its name.
        decisions: What people decided since then, by `Approval.id`.

    Raises:
        JournalError: There is no such run, or another process is at work on it.
    """
    lease = await journal.claim(run_id)
    try:
        record = JournaledRun(journal, lease, [each.entry for each in await journal.read(run_id)])
    except BaseException:
        await journal.release(lease)
        raise
    try:
        for approval, decision in decisions.items():
            await record.decided(approval, decision, ahead=True)
        yield record
    finally:
        await record.close()


async def is_recorded(journal: Journal, run_id: str, content: Content) -> bool:
    """Whether the journal has a run of that name, which began with that input.

    Raises:
        JournalError: It began with another input.
    """
    records = await journal.read(run_id)
    opening = records[0].entry if records else None
    if isinstance(opening, RunOpened) and opening.messages[-1:] != (UserMessage(content),):
        raise JournalError(
            f"the journal keeps a run {run_id} that began with another input; give this one "
            "another name"
        )
    return bool(records)


def journaled(run_id: str, wiring: Wiring, record: JournaledRun) -> Wiring:
    """The wiring with the record around its model and its executor.

    Raises:
        JournalError: The record holds a call that these tools do not take. The loop would refuse
            it, and nobody would learn that it had run, or may have.
    """
    for call in record.calls():
        refused = wiring.toolset.validate(call)
        if isinstance(refused, ToolResult):
            raise JournalError(
                f"the run {run_id} called {call.name}, and the agent's tools do not "
                f"take that call ({text_of(refused.content)}); resume it with the agent that began "
                "it"
            )
    return replace(
        wiring,
        model=JournaledModel(wiring.model, record, wiring.window),
        executor=_ReplayedSpending(JournaledExecutor(wiring.executor, record), record),
    )


@dataclass(frozen=True, slots=True)
class _ReplayedSpending:
    """Spends what a recorded call has cost, since a sub-agent that does not run again does not."""

    inner: Executor
    record: JournaledRun

    async def execute(self, call: ValidatedCall, context: ToolContext[Any]) -> ToolResult:
        spent = self.record.spent(context.step, call.call.id)
        budget = current_budget.get()
        if spent is not None and budget is not None:
            budget.spend(usage=spent.usage, steps=spent.steps, tool_calls=spent.tool_calls)
            budget.runs += spent.runs
        return await self.inner.execute(call, context)


# --- its event loop ------------------------------------------------------------------------------


class Detached(Generic[T]):
    """A running call and its outcome, on asyncio or trio.

    A task group must not be open across a `yield`: the iteration of a stream may be left at any
    point and from any task. So a streamed run is a task of its own, and this handle ends it.

    Args:
        call: What to run, in a copy of the starter's context.
        finished: Called when it has ended, whatever ended it.
    """

    def __init__(self, call: Callable[[], Awaitable[T]], finished: Callable[[], object]) -> None:
        self._call = call
        self._finished = finished
        self._scope = anyio.CancelScope()
        self._done = anyio.Event()
        self._value: list[T] = []
        self._error: BaseException | None = None
        if anyio.get_cancelled_exc_class() is asyncio.CancelledError:  # this is asyncio
            # The reference keeps the task from being garbage collected.
            self._task = asyncio.get_running_loop().create_task(self._run())
        else:
            import trio  # noqa: PLC0415 - not all have it

            trio.lowlevel.spawn_system_task(self._run, context=contextvars.copy_context())

    async def _run(self) -> None:
        try:
            with self._scope:
                self._value.append(await self._call())
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception):
                raise
        finally:
            self._finished()
            self._done.set()

    def result(self) -> T:
        """What the call returned, once it has ended. Raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._value[0]

    async def end(self) -> None:
        """Cancels the call if it still runs, and waits until it has ended."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._done.wait()


def in_own_loop(main: Callable[[], Awaitable[T]]) -> T:
    """Runs `main` in a new event loop: here, or in a thread if a loop already runs here."""
    if not _loop_runs_here():
        return anyio.run(main)
    # Ctrl-C leaves the block, which cancels the run and waits until it has ended.
    with start_blocking_portal(name="agentkit-run-sync") as portal:
        return portal.call(main)


def _loop_runs_here() -> bool:
    for known in (anyio.get_current_task, asyncio.get_running_loop):  # `python -m asyncio`: no task
        with suppress(RuntimeError, anyio.NoEventLoopError):
            known()
            return True
    return False
