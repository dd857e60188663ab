"""One run: what it works with, and what has come of it so far."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio

from agentkit.agent.answers import AnswerTool
from agentkit.agent.approvals import Decisions, GivenDecisions, UsedDecisions
from agentkit.context import ContextWindow
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
from agentkit.executors import Executor
from agentkit.journal import Journal
from agentkit.messages import AssistantMessage, Message, ModelRequest, ModelSettings, StopReason
from agentkit.models import Model
from agentkit.models.base import Exchanges
from agentkit.policy import Authority, Budget, Limits, PausedRun, ProgressGuard
from agentkit.toolset import Label, RunContext, Toolset

current_budget: ContextVar[Budget | None] = ContextVar("agentkit_budget", default=None)
"""What the call that is at work here spends from: a sub-agent spends from it too."""

current_run: ContextVar[Run | None] = ContextVar("agentkit_run", default=None)
"""The run whose call is at work here: a run that begins here serves it, and is never freer."""


current_call: ContextVar[CallAtWork | None] = ContextVar("agentkit_call", default=None)
"""The call that is at work here: what a run that begins here does is shown under it."""


class Cancels(Protocol):
    """Something that can be ended."""

    def cancel(self) -> object:
        """Ends it."""
        ...


class Cancellation:
    """Ends a run from outside and leaves its partial result.

    Pass it to `Agent.run`, or to several runs, then call `cancel` from the same event loop.
    """

    def __init__(self) -> None:
        self._scopes: list[anyio.CancelScope] = []
        self._calls: dict[str, list[Cancels]] = {}
        self.cancelled = False

    def cancel(self, call_id: str | None = None) -> bool:
        """Ends the run; `Agent.run` returns with `stop_reason="cancelled"`.

        Args:
            call_id: End only this call of it. A sub-agent at work on it keeps what it has done,
                and the run goes on.

        Returns:
            Whether there was anything to end: False for a call that is not at work.
        """
        if call_id is None:
            self.cancelled = True
            for scope in self._scopes:
                scope.cancel()
            return True
        at_work = self._calls.get(call_id, [])
        # Runs that serve the call end by themselves, with what they have; the call then has it.
        for each in at_work[1:] or at_work:
            each.cancel()
        return bool(at_work)

    def bind(self, scope: anyio.CancelScope) -> None:
        """Used by a run: what to cancel."""
        self._scopes.append(scope)
        if self.cancelled:
            scope.cancel()

    @contextmanager
    def at_work(self, call_id: str, what: Cancels) -> Generator[None]:
        """Used by a run: what ends a call, the call itself first."""
        held = self._calls.setdefault(call_id, [])
        held.append(what)
        try:
            yield
        finally:
            held.remove(what)
            if not held:
                self._calls.pop(call_id, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What one run may set beside its input; see `Agent.run`."""

    deps: Any = None
    history: Sequence[Message] = ()
    settings: ModelSettings | None = None
    limits: Limits | None = None
    run_id: str | None = None
    cancellation: Cancellation | None = None
    journal: Journal | None = None


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a run works with; the same for all its steps.

    Attributes:
        side_model: Answers what tools ask; the model itself, without the run's window and record.
    """

    model: Model
    toolset: Toolset
    executor: Executor
    settings: ModelSettings
    context: RunContext[Any]
    authority: Authority
    emit: Callable[[Event], None]
    side_model: Model
    ask: Callable[[str], Awaitable[str]] | None = None
    answer: AnswerTool | None = None
    options: RunOptions = RunOptions()
    window: ContextWindow = field(default_factory=ContextWindow)


@dataclass(slots=True)
class Streamed:
    """A reply while it comes, as far as it was shown."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, tuple[str, str]] = field(default_factory=dict)

    def add(self, event: ModelEvent) -> None:
        """Takes in what is shown next; a call that is made again takes all of it back."""
        match event:
            case TextDelta(text=text):
                self.text.append(text)
            case ReasoningDelta(text=text):
                self.reasoning.append(text)
            case ToolCallDelta(index=index, name=name, arguments=arguments):
                known, before = self.calls.get(index, ("", ""))
                self.calls[index] = name or known, before + arguments
            case StepRestarted():
                self.text, self.reasoning, self.calls = [], [], {}
            case _:
                pass

    def __bool__(self) -> bool:
        return bool(self.text or self.reasoning or self.calls)

    @property
    def message(self) -> AssistantMessage:
        """The answer and the thought as far as they came; no call, since nothing may run of it."""
        return AssistantMessage("".join(self.text), reasoning="".join(self.reasoning) or None)


@dataclass(slots=True)
class Run:
    """One run's state. Only the loop changes it.

    Attributes:
        step: The current step, from 1.
        taint: What the conversation holds: labels out of `policy.READS`. It only grows.
        sent: The newest request; before the first, the messages that the run began with.
        exchanges: What went to the server so far.
        streamed: What was shown of a reply that has not come to its end.
        cancellation: Ends it, or one of its calls, from outside.
        no_media: Why the server refused what tools returned beside text; empty while it has not.
    """

    wiring: Wiring
    messages: list[Message]
    budget: Budget
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

    def emit(self, event: Event) -> None:
        """Says what happens."""
        self.wiring.emit(event)

    def end_early(self, stop: StopReason, explanation: str) -> RunResult[Any]:
        """The result of a run that something else ends: what was shown of a reply stays."""
        streamed, text = self.streamed, ""
        if streamed is not None and self.wiring.answer is None:
            message = streamed.message
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
            run_id=self.wiring.context.run_id,
            explanation=explanation,
            pause=paused,
            context=self.wiring.window.use(),
            typed=self.wiring.answer is not None,
        )


@dataclass(frozen=True, slots=True)
class CallAtWork:
    """A call that is being run.

    Attributes:
        run: That made it.
        call_id: Its id.
        step: That asked for it.
        thread: The one in which its run says what happens.
    """

    run: Run
    call_id: str
    step: int
    thread: int = field(default_factory=threading.get_ident)

    def show(self, run_id: str, event: Event) -> None:
        """Shows whoever watches the run what happens in one that serves the call.

        One that runs in another thread has an event loop of its own; it is not shown.
        """
        if threading.get_ident() == self.thread:
            self.run.emit(SubRunEvent(self.call_id, run_id, event, self.step))
