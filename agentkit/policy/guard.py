"""What guards a run against going on for nothing: limits, the progress guard, unusable replies.

- `Budget` books what a run has spent and says which of its `Limits` is reached.
- `ProgressGuard` notices a model that goes in circles, and leads it out by degrees.
- `unusable` says why a reply is no step forward: cut, empty, repeating itself, or a call in a form
  that cannot be run; `second_try` and `reminded` say what to change when it is asked for again.
- `RepeatWatch` notices, while a reply is being written, that it repeats itself without end.

In: what was spent, called and replied. Out: the run's stop reason with a sentence for a person, or
what is to be done instead of stopping. Nothing here asks a model, runs a tool or waits.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncGenerator, Collection, Hashable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, fields, replace
from typing import Final

from agentkit.errors import check_kinds, explains_init
from agentkit.events import (
    ModelEvent,
    ModelFinished,
    ReasoningDelta,
    StepRestarted,
    TextDelta,
    ToolCallDelta,
)
from agentkit.gemma4.wrong_forms import is_blank, wrong_form
from agentkit.messages import (
    AssistantMessage,
    Message,
    ModelResponse,
    ModelSettings,
    ResultKind,
    StopReason,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolMessage,
    ToolResult,
    Usage,
    UserMessage,
)
from agentkit.toolset import Effect
from agentkit.wire import Reply
from agentkit.wording import pluralize

# --- limits --------------------------------------------------------------------------------------


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
        """What these tokens cost."""
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
        TypeError: A bound is not a number.
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
        kinds: dict[str, tuple[tuple[type, ...], str]] = {
            bound.name: ((int, float), "give a number") for bound in fields(self)
        }
        kinds["prices"] = ((Prices,), "give Prices(input=…, output=…)")
        check_kinds({name: getattr(self, name) for name in kinds}, kinds)
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
        runs: Ids of the runs that spent from it, such as the sub-agents that served a call.
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
        self.usage = self.usage if usage is None else self.usage + usage
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
            ("cost", limits.cost, 0 if limits.cost is None else limits.prices.of(usage), ""),
        )
        for reason, limit, value, unit in spent:
            if limit is not None and value >= limit:
                amount = pluralize(value, unit) if unit else f"{value:g} of cost"
                return reason, f"stopped after {amount}; the limit is {limit}"
        return self.parent.over() if self.parent is not None else None


# --- circles -------------------------------------------------------------------------------------
# The guard counts how often the same call brought the same result, whatever came between, so
# repeats and cycles (A-B-A-B) are one case, and polling something that changes is none. The ladder:
# show the earlier result again → warn inside the result → ask for a change of settings → end the
# run. A bare refusal makes small models invent data (artokun/comfyui-mcp#2430), so a result always
# comes first; and the guard never speaks as the user, which would void the server's prefix cache.

_WARN_AT = 3
_CHANGE_AT = 4
_STOP_AT = 6
"""Occurrences of one call with one result. Three may be carelessness, six lead nowhere."""

_ERRORS_WARN_AT = 3
_ERRORS_STOP_AT = 8
"""Replies in a row whose calls of one tool brought errors of one kind. The bound is higher than
for repeats: a model that tries other arguments each time may still find the right ones."""


@dataclass(slots=True)
class _Seen:
    """The newest result of a call.

    Attributes:
        result: The result.
        digest: A digest of what the model read of it.
        times: How often the call brought it in a row.
        epoch: The guard's epoch when it came.
    """

    result: ToolResult
    digest: bytes
    times: int
    epoch: int


class ProgressGuard:
    """Watches the calls of one run.

    Attributes:
        change: Whether the next request should be made with other settings.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._errors: tuple[str, ResultKind] | None = None
        self._error_times = 0  # replies in a row with such an error
        self._error_step: int | None = None  # the step of the newest of them
        self._epoch = 0  # the number of calls that may have changed something
        self._circling: str | None = None
        self._failing: str | None = None
        self.change = False

    @property
    def stop(self) -> str | None:
        """Why the run should end; None while it should not."""
        return self._circling or self._failing

    def known(self, call: ToolCall, effect: Effect) -> ToolResult | None:
        """The earlier result of a call that can only bring the same result again; else None."""
        if effect != "pure":
            return None
        seen = self._seen.get(_key(call))
        if seen is None or seen.epoch != self._epoch or seen.result.is_error:
            return None
        return replace(seen.result, call_id=call.id, seconds=0.0, attempts=0)

    def watch(
        self, call: ToolCall, result: ToolResult, effect: Effect | None, step: int
    ) -> ToolResult:
        """Counts a result; returns it, with a warning in it where one is due.

        Args:
            call: The call that brought it.
            result: The result as the tool returned it.
            effect: What the tool declares; None where there is no such tool.
            step: Number of the step whose reply made the call.
        """
        if effect not in ("pure", None) and result.attempts:
            self._epoch += 1
        warnings = (self._repeated(call, result), self._failed(call, result, step))
        notes = [warning for warning in warnings if warning is not None]
        if not notes or not isinstance(result.content, str):
            return result
        return replace(result, content="\n\n".join([result.content, *notes]))

    def _repeated(self, call: ToolCall, result: ToolResult) -> str | None:
        digest = hashlib.sha256(repr((result.content, result.kind)).encode()).digest()
        key = _key(call)
        seen = self._seen.get(key)
        if seen is None or seen.digest != digest:
            self._seen[key] = _Seen(result, digest, 1, self._epoch)
            self.change = False  # a new result: the model has left the circle
            return None
        seen.times += 1
        seen.epoch = self._epoch
        if seen.times >= _CHANGE_AT:
            self.change = True
        if seen.times >= _STOP_AT:
            self._circling = f"{call.name} was called {seen.times} times with the same result"
        if seen.times >= _WARN_AT:
            return (
                f"Warning: this is call number {seen.times} of {call.name} with these arguments, "
                "and the result is always the same. Use it, or do something else."
            )
        return f"(You have made this call before; its result is the same as then: {call.name}.)"

    def _failed(self, call: ToolCall, result: ToolResult, step: int) -> str | None:
        # A model may invent another name each time, so all unknown tools are counted as one.
        name = "a tool that is not offered" if result.kind == "unknown_tool" else call.name
        failure = (name, result.kind) if result.is_error else None
        if failure != self._errors:
            self._errors, self._error_times, self._error_step = failure, 0, None
            self._failing = None
        if failure is None:
            return None
        if step != self._error_step:  # the calls of one reply were made before any was answered
            self._error_step = step
            self._error_times += 1
        if self._error_times >= _ERRORS_STOP_AT:
            self._failing = f"{name} failed {self._error_times} times in a row ({result.kind})"
        if self._error_times >= _ERRORS_WARN_AT:
            return (
                f"Warning: {name} has failed {self._error_times} times in a row. "
                "Try another way, or answer with what you have."
            )
        return None


_ARGUMENTS: Final = json.JSONEncoder(sort_keys=True, default=str)


def _key(call: ToolCall) -> str:
    return f"{call.name}\0{_ARGUMENTS.encode(call.arguments)}\0{call.malformed or ''}"


# --- unusable replies ----------------------------------------------------------------------------

_CHARACTERS_PER_TOKEN = 4
"""English text has about four. A server gives no count for a reply that is left before its end."""

_FREE: Final = ToolChoice()


def bounded_thoughts(
    events: AsyncGenerator[ModelEvent, None], most: int | None
) -> AsyncGenerator[ModelEvent, None]:
    """A reply's events. A reply whose reasoning grows too long ends there, as if it had been cut.

    What it cost is then an estimate of its reasoning, without the prompt.

    Args:
        events: The events of one `Model.generate`.
        most: Most tokens of reasoning; None for no bound.
    """
    return events if most is None else _bounded(events, most)


async def _bounded(
    events: AsyncGenerator[ModelEvent, None], most: int
) -> AsyncGenerator[ModelEvent, None]:
    length = 0  # characters of its reasoning
    async with aclosing(events):
        async for event in events:
            yield event
            if isinstance(event, StepRestarted):
                length = 0
            if not isinstance(event, ReasoningDelta):
                continue
            length += len(event.text)
            if length > most * _CHARACTERS_PER_TOKEN:
                cost = Usage(output_tokens=length // _CHARACTERS_PER_TOKEN)
                message = AssistantMessage(reasoning="(reasoning that grew too long)")
                yield ModelFinished(ModelResponse(message, "length", cost))
                return


def unusable(
    response: ModelResponse, tools: Collection[str] = (), choice: ToolChoice = _FREE
) -> tuple[StopReason, str] | None:
    """Why a reply is no step forward; None if it is one.

    Truncation is not malformation: a cut reply is told apart from a wrong one, its calls never run
    and its text is never an answer.

    Args:
        response: The reply.
        tools: Names of the tools that could be called; without them no text is taken for a call.
        choice: Which calls the reply might or had to hold.
    """
    message = response.message
    match response.finish_reason:
        case "length":
            part = "the answer" if message.content else "the reasoning"
            part = "a call" if message.tool_calls else part
            return "truncated", f"the reply was cut by its bound of tokens in {part}"
        case "repetition":
            return "loop", "the reply repeated itself without end"
        case "content_filter":
            return "content_filter", "the server withheld a part of the reply"
        case "malformed_call":
            return "malformed_call", "the reply began a call where none can be"
        case _:
            pass
    if message.tool_calls:
        if not any(call.name for call in message.tool_calls):
            return "malformed_call", "the reply held a call without a name"
        return _not_chosen(message.tool_calls, choice)
    text = message.content or ""
    if is_blank(text):
        held = "only reasoning" if message.reasoning and not text.strip() else "nothing"
        return "empty", f"the reply held {held}"
    if (notation := wrong_form(text, tools)) is not None:
        return "malformed_call", f"the reply was {notation} and nothing else"
    if choice.mode == "required":
        return "no_call", "a call was required, and the reply is text"
    return None


def _not_chosen(calls: Sequence[ToolCall], choice: ToolChoice) -> tuple[StopReason, str] | None:
    """Why calls are not what was asked for: only a grammar holds a model to that."""
    if choice.mode == "none":
        return "malformed_call", "the reply holds a call, and none was allowed"
    if choice.mode == "auto" or any(choice.allows(call.name) for call in calls):
        return None
    wanted = choice.name or " or ".join(choice.among)
    return "no_call", f"a call of {wanted} was required, and the reply calls {calls[0].name}"


def second_try(
    response: ModelResponse, settings: ModelSettings, choice: ToolChoice = _FREE
) -> ModelSettings:
    """Settings for asking once more after an unusable reply. They differ from those before in what
    the reply depends on, or it would come again.

    | the reply | is asked for again |
    |---|---|
    | was cut while it reasoned | without reasoning |
    | was cut elsewhere | with twice the room; without a grammar, if a call was cut |
    | repeats itself | without reasoning, at another temperature; without a grammar, if in a call |
    | is empty | with reasoning turned the other way, for it may hang in either (vllm#39885) |
    | is a call in a wrong form, or one that was not allowed | at another temperature |
    | had to hold a call and holds none | without reasoning |

    A grammar waits for the end of the reasoning, so a model that had to call and began none was
    free. Where a change might change nothing, since reasoning was off before, say, the temperature
    and the seed are others too.
    """
    again = _changed(response, settings, choice)
    more = (again.max_tokens, again.grammar) != (settings.max_tokens, settings.grammar)
    turned = settings.thinking not in (None, again.thinking)  # what None was is not known here
    sampled = settings.temperature != 0.0 and settings.seed is None
    if more or turned or (sampled and again != settings):
        return again
    seed = again.seed
    if seed is not None and seed == settings.seed:
        seed += 1
    return replace(again, temperature=again.temperature or 1.0, seed=seed)


def _changed(response: ModelResponse, settings: ModelSettings, choice: ToolChoice) -> ModelSettings:
    message = response.message
    if choice.mode == "required" and (
        not message.tool_calls or _not_chosen(message.tool_calls, choice)
    ):
        return replace(settings, thinking=False)
    if choice.mode == "none" and message.tool_calls:
        return settings
    only_reasoning = not message.content and not message.tool_calls and bool(message.reasoning)
    if message.tool_calls and response.finish_reason in ("length", "repetition"):
        # Under a grammar no string can end but by its quote, so a model that wanted to stop there
        # had to go on. Without one it can, and with another seed it need not come there again.
        seed = None if settings.seed is None else settings.seed + 1
        settings = replace(settings, grammar=False, seed=seed)
    if response.finish_reason == "length" and (not only_reasoning or settings.thinking is False):
        given = settings.max_tokens or response.usage.output_tokens
        return replace(settings, max_tokens=2 * max(given, 256))
    if response.finish_reason == "repetition":
        return replace(settings, thinking=False, temperature=1.0)
    if response.finish_reason == "malformed_call":
        return replace(settings, thinking=False)
    if response.finish_reason == "content_filter":
        return replace(settings, temperature=1.0, seed=None)
    if not is_blank(message.content or ""):
        return replace(settings, temperature=settings.temperature or 1.0, seed=None)
    return replace(settings, thinking=not only_reasoning and not settings.thinking)


def reminded(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation for asking again for a call that was in a wrong form, with a note.

    The note stands at the end of what was said last: a message of its own would void the server's
    prefix cache and take the model's earlier reasoning from it. It is part of one request alone.
    """
    return noted(messages, _NOTE)


def noted(messages: Sequence[Message], note: str) -> tuple[Message, ...]:
    """The conversation with a note at the end of what was said last."""
    *before, last = messages
    if isinstance(last, (UserMessage, ToolMessage)):
        content = last.content
        if isinstance(content, str):
            return (*before, replace(last, content=f"{content}\n\n{note}"))
        return (*before, replace(last, content=(*content, TextPart(f"\n\n{note}"))))
    return tuple(messages)


_NOTE: Final = (
    "(Your last reply was a tool call in a wrong form, so nothing was run. Call the tool in your "
    "own tool call format, or answer in words.)"
)


# --- a reply that repeats itself -----------------------------------------------------------------
# A model in a loop writes the same tokens over and over until its bound, and nothing after the
# second or third time is news. What is looked for is an exact period: every symbol equals the one a
# fixed distance before it, for many periods and for long. Honest text has none of that length,
# however regular it looks: in a table, a list of numbers or base64 something changes from row to
# row.
#
# One step costs the same however long the reply is. The distance is a guess that is kept while it
# holds; when it fails, the next guess leads to where the last few symbols were seen before. A
# period that holds blanks or other small repeats is found all the same: the guess that it fails at
# sets it right once in each period.

_LOOP_TOKENS: Final = 512
"""Tokens that must repeat before a reply is given up. Of 1,824 files of code, data and prose, in a
real Gemma's tokens, one has a repeat of even 64 tokens (a data file of equal rows):
`python -m benchmarks.repeats`.
"""

_LOOP_CHARACTERS: Final = _CHARACTERS_PER_TOKEN * _LOOP_TOKENS
"""Characters that must repeat where only the text is known."""

_TIMES: Final = 6
"""How often a period must be repeated."""

_TIMES_OF_LONG: Final = 2
"""How often a long period must be repeated, and four times what must repeat at least on top of it:
six times a page would be more than a reply may be long."""

_GRAM: Final = 6
"""How many of the last symbols a guess is made from."""


class Repeats:
    """Looks for a loop at the end of one sequence of symbols, such as token ids or characters.

    Args:
        least: How many symbols must repeat.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._seen: list[Hashable] = []
        self._looked_at = 0  # symbols; what is shorter than a loop is not looked at
        self._last: dict[tuple[Hashable, ...], int] = {}  # where a gram ended last
        self._distance = 0  # of the guess; 0 for none
        self._held = 0  # symbols for which it has held

    def feed(self, symbols: Sequence[Hashable]) -> bool:
        """Takes the next symbols; returns whether the end of what was written so far is a loop."""
        seen, last = self._seen, self._last
        seen += symbols
        if len(seen) < self._least:
            return False
        for at in range(self._looked_at, len(seen)):
            gram = tuple(seen[max(at + 1 - _GRAM, 0) : at + 1])
            if self._distance and seen[at - self._distance] == seen[at]:
                self._held += 1
            else:
                before = last.get(gram)
                self._distance = 0 if before is None else at - before
                self._held = len(gram) if self._distance else 0
            last[gram] = at
        self._looked_at = len(seen)
        times = min(_TIMES * self._distance, _TIMES_OF_LONG * self._distance + 4 * self._least)
        return bool(self._distance) and self._held >= max(self._least, times)


class RepeatWatch:
    """Watches a reply as it arrives: its tokens, or its text where a server sends no tokens."""

    def __init__(self) -> None:
        self._tokens = Repeats(_LOOP_TOKENS)
        self._characters = Repeats(_LOOP_CHARACTERS)
        self._taken = 0

    def sees_loop(self, reply: Reply, events: Sequence[ModelEvent]) -> bool:
        """Whether the end of the reply, as far as it has come, repeats itself.

        Args:
            reply: The reply as far as it has come.
            events: The events that its newest part brought.
        """
        loops = False
        if new := reply.token_ids[self._taken :]:
            self._taken = len(reply.token_ids)
            return self._tokens.feed(new)
        for event in events:
            if isinstance(event, ToolCallDelta):
                # Where no arguments came, it is the name that is being written.
                loops = self._characters.feed(event.arguments or event.name)
            elif isinstance(event, TextDelta | ReasoningDelta):
                loops = self._characters.feed(event.text)
        return loops
