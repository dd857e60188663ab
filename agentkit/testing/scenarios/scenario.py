"""What a scenario is: a bad day in a few words, and the ending that it is to have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from agentkit.messages import StopReason
from agentkit.models import Timeouts
from agentkit.policy import Limits
from agentkit.testing.faults import Delivery, ServerStep
from agentkit.testing.scenarios.world import SUM, Errand, clerk

CancelAt: TypeAlias = Literal["TextDelta", "StepStarted", "ToolStarted", "await"]
"""When the run is cancelled: at the first event of that name, or (`await`) once at each await."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run is to end.

    Attributes:
        stop: The run's stop reason.
        why: Why this is right, for people.
        text: What the output must be; "" for the errand's answer, None for anything.
        error: Name of the exception that a run with stop reason `error` raises.
    """

    stop: StopReason
    why: str
    text: str | None = None
    error: str = ""

    def __str__(self) -> str:
        return self.error or self.stop


def answers(why: str, text: str = "") -> Ending:
    """The right answer, in spite of everything."""
    return Ending("answer", why, text)


def stops(stop: StopReason, why: str) -> Ending:
    """A typed stop: a result with a reason and all partial work."""
    return Ending(stop, why)


def fails(error: str, why: str) -> Ending:
    """A typed error that says what to do, with the partial result in it."""
    return Ending("error", why, error=error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One bad day.

    Attributes:
        name: Unique.
        what: What the model or the server does.
        script: What the server answers, request by request.
        ending: How the run is to end.
        whole: Instead of `ending`, where replies are not streamed.
        errand: What the user wants; its tool and answer.
        then: What the server answers after the script; by default the model has come to its
            senses and does the errand.
        ran: Executions of tools that the run may and must cause, in order; None for any.
        calls: Most chat-completions requests that the run may need.
        tools: Names of the world's tools that the run has.
        timeouts: The model's clocks.
        whole_timeouts: Instead of `timeouts`, where replies are not streamed.
        limits: The run's.
        first: What other paths of the server answer before they behave.
        grammar: Whether the server obeys a grammar.
        denied: Whether a person denies every call that asks.
        cancel: When the run is cancelled.
    """

    name: str
    what: str
    script: tuple[ServerStep, ...] = ()
    ending: Ending
    whole: Ending | None = None
    errand: Errand = SUM
    then: ServerStep | None = None
    ran: tuple[str, ...] | None = ("add(4017, 258)",)
    calls: int = 12
    tools: tuple[str, ...] = ("add", "now", "search", "order")
    timeouts: Timeouts = field(
        default_factory=lambda: Timeouts(connect=5, first_event=5, idle=5, total=20, retry=10)
    )
    whole_timeouts: Timeouts | None = None
    limits: Limits = field(default_factory=lambda: Limits(steps=20))
    first: dict[str, tuple[Delivery, ...]] = field(default_factory=dict)
    grammar: bool = False
    denied: bool = False
    cancel: CancelAt | None = None

    @property
    def afterwards(self) -> ServerStep:
        """What the server answers after the script."""
        return self.then or clerk(self.errand)

    def ends(self, *, stream: bool) -> Ending:
        """The ending to expect."""
        return self.ending if stream or self.whole is None else self.whole

    def clocks(self, *, stream: bool) -> Timeouts:
        """The model's clocks."""
        return self.timeouts if stream else self.whole_timeouts or self.timeouts
