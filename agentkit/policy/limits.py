"""Limits as values, and what has been spent of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields

from agentkit.messages import StopReason, Usage
from agentkit.mistakes import explains_init
from agentkit.wording import pluralize


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a million tokens cost, in whatever currency the limit is meant in.

    Raises:
        ValueError: A price is below 0.
    """

    input: float = 0.0
    output: float = 0.0
    cached_input: float | None = None

    def __post_init__(self) -> None:
        for name in ("input", "output", "cached_input"):
            given = getattr(self, name)
            if given is not None and not given >= 0:
                raise ValueError(f"the price {name} is {given}; give 0 or more")

    def of(self, usage: Usage) -> float:
        cached = self.input if self.cached_input is None else self.cached_input
        fresh = usage.input_tokens - usage.cached_input_tokens
        total = fresh * self.input + usage.cached_input_tokens * cached
        return (total + usage.output_tokens * self.output) / 1_000_000


@explains_init(
    "Limits",
    {
        **dict.fromkeys(("max_steps", "max_turns", "max_iterations"), "write steps="),
        **dict.fromkeys(("request_limit", "max_requests", "recursion_limit"), "write steps="),
        **dict.fromkeys(
            ("max_tool_calls", "tool_calls_limit", "tool_call_limit"), "write tool_calls="
        ),
        **dict.fromkeys(("timeout", "max_seconds", "max_time", "time_limit"), "write seconds="),
        **dict.fromkeys(
            ("max_tokens", "output_tokens_limit"),
            "write output_tokens= for a whole run, or ModelSettings(max_tokens=…) for one reply",
        ),
        **dict.fromkeys(("input_tokens_limit", "request_tokens_limit"), "write input_tokens="),
        **dict.fromkeys(
            ("total_tokens", "total_tokens_limit"), "write input_tokens= and output_tokens="
        ),
        **dict.fromkeys(("max_cost", "cost_limit", "budget"), "write cost= and prices="),
    },
)
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a run. Reaching one gives a result with all that was done, never an exception.

    A run that serves as a tool of another spends from that one's limits as well as its own.

    Attributes:
        steps: Model calls; a second try at the same step is part of it.
        tool_calls: Calls asked for by the model.
        input_tokens: Prompt tokens over all steps, cached ones included.
        output_tokens: Tokens produced over all steps.
        seconds: Wall time; what runs when it is over is cancelled.
        cost: What all tokens cost, in the currency of `prices`.
        prices: What tokens cost.

    Raises:
        ValueError: A bound is below 0; 0 is a bound that is reached before anything is done.
    """

    steps: int | None = 50
    tool_calls: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float | None = None
    cost: float | None = None
    prices: Prices = field(default_factory=Prices)

    def __post_init__(self) -> None:
        for bound in fields(self):
            given = getattr(self, bound.name)
            if isinstance(given, int | float) and not given >= 0:
                raise ValueError(f"{bound.name} is {given}; give 0 or more, or None for no limit")


class Budget:
    """What a run has spent, and its sub-agents with it.

    Args:
        limits: The bounds of this run.
        parent: The budget of the run that this one serves; everything is spent there too.

    Attributes:
        runs: Ids of the runs that spent from it: a call's budget names those that served the call.
    """

    def __init__(self, limits: Limits, parent: Budget | None = None) -> None:
        self.limits = limits
        self.parent = parent
        self.usage = Usage()
        self.steps = 0
        self.tool_calls = 0
        self.runs: list[str] = []
        self._started = time.monotonic()

    def spend(self, *, usage: Usage | None = None, steps: int = 0, tool_calls: int = 0) -> None:
        """Books what was spent, here and in every budget above."""
        self.usage += usage or Usage()
        self.steps += steps
        self.tool_calls += tool_calls
        if self.parent is not None:
            self.parent.spend(usage=usage, steps=steps, tool_calls=tool_calls)

    @property
    def seconds_left(self) -> float | None:
        """Wall time until the nearest deadline here or above; None without one."""
        own = self.limits.seconds
        left = None if own is None else own - (time.monotonic() - self._started)
        above = self.parent.seconds_left if self.parent is not None else None
        known = [value for value in (left, above) if value is not None]
        return max(0.0, min(known)) if known else None

    def over(self) -> tuple[StopReason, str] | None:
        """The limit that is reached, here or above, and the sentence that says so."""
        limits, usage = self.limits, self.usage
        spent: tuple[tuple[StopReason, float | None, float, str], ...] = (
            ("steps", limits.steps, self.steps, "step"),
            ("tool_calls", limits.tool_calls, self.tool_calls, "tool call"),
            ("tokens", limits.input_tokens, usage.input_tokens, "input token"),
            ("tokens", limits.output_tokens, usage.output_tokens, "output token"),
            ("cost", limits.cost, limits.prices.of(usage), ""),
        )
        for reason, limit, value, what in spent:
            if limit is not None and value >= limit:
                spent_of_it = pluralize(value, what) if what else f"{value:g} of cost"
                return reason, f"stopped after {spent_of_it}; the limit is {limit}"
        return self.parent.over() if self.parent is not None else None
