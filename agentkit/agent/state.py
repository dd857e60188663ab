"""One run: what it works with, and what has come of it so far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import anyio

from agentkit.agent.answers import AnswerTool
from agentkit.agent.approvals import Decisions, GivenDecisions, UsedDecisions
from agentkit.context import ContextWindow
from agentkit.events import Event, RunResult
from agentkit.executors import Executor
from agentkit.journal import Journal
from agentkit.messages import Message, ModelRequest, ModelSettings, StopReason
from agentkit.models import Model
from agentkit.policy import Authority, Budget, Limits, PausedRun, ProgressGuard
from agentkit.toolset import Label, RunContext, Toolset

__all__ = ["Cancellation", "Run", "RunOptions", "Wiring", "current_budget", "current_run"]

current_budget: ContextVar[Budget | None] = ContextVar("agentkit_budget", default=None)
"""What the call that is at work here spends from: a sub-agent spends from it too."""

current_run: ContextVar[Run | None] = ContextVar("agentkit_run", default=None)
"""The run whose call is at work here: a run that begins here serves it, and is never freer."""


class Cancellation:
    """Ends a run from outside and leaves its partial result.

    Pass it to `Agent.run`, then call `cancel` from the same event loop.
    """

    def __init__(self) -> None:
        self._scope: anyio.CancelScope | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """Ends the run; `Agent.run` returns with `stop_reason="cancelled"`."""
        self.cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    def bind(self, scope: anyio.CancelScope) -> None:
        """Used by the run: what to cancel."""
        self._scope = scope
        if self.cancelled:
            scope.cancel()


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
    """What a run works with; the same for all its steps."""

    model: Model
    toolset: Toolset
    executor: Executor
    settings: ModelSettings
    context: RunContext[Any]
    authority: Authority
    emit: Callable[[Event], None]
    ask: Callable[[str], Awaitable[str]] | None = None
    answer: AnswerTool | None = None
    options: RunOptions = RunOptions()
    window: ContextWindow = field(default_factory=ContextWindow)


@dataclass(slots=True)
class Run:
    """One run's state. Only the loop changes it.

    Attributes:
        step: The current step, from 1.
        taint: What the conversation holds: labels out of `policy.READS`. It only grows.
        sent: The newest request; before the first, the messages that the run began with.
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
    sent: ModelRequest = field(default_factory=lambda: ModelRequest(()))

    def emit(self, event: Event) -> None:
        """Says what happens."""
        self.wiring.emit(event)

    def end(
        self,
        stop: StopReason,
        output: object = "",
        explanation: str = "",
        paused: PausedRun | None = None,
    ) -> RunResult[Any]:
        """The result, if the run ended now."""
        return RunResult(
            output=output,
            stop_reason=stop,
            messages=tuple(self.messages),
            usage=self.budget.usage,
            steps=self.budget.steps,
            run_id=self.wiring.context.run_id,
            explanation=explanation,
            paused=paused,
            context=self.wiring.window.use(),
        )
