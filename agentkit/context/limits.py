"""`Context`, the user's settings of the window, and the limits of a request that follow from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from agentkit.context.prompt import PromptForm, PromptPart
from agentkit.context.strategies import DEFAULT, Strategy
from agentkit.errors import refuse_async, wrong_value
from agentkit.events import PromptFitted
from agentkit.messages import Message, ModelSettings

_LEAST_RESULT: Final = 100
"""Tokens. A shorter preview would hold little more than the note that it is one."""

_ALWAYS: Final = 8_000
"""Tokens that one result may take however full the window is; older results make room for it. A
file of about 800 lines."""

UNKNOWN_WINDOW: Final = 64_000
"""Tokens that a window is assumed to hold if nobody knows its size."""

_MORE_RESULTS: Final = 2
"""A result that does not fit is cut so that there is room for so many more of its size, since a
model that reads one file mostly reads another. With room for 0, 1, 2 and 3 more, the model in the
end saw 190, 257, 349 and 382 of the 577 lines that it was asked about, in one to six files that
were too long for the window (`benchmarks.late_cut`). But each cuts a single result shorter: to a
half, a third, a quarter.
"""

_LONGEST_PAGE: Final = 8_000
"""Most tokens of a page that one of the agent's own tools shows."""

_LEAST_PAGE: Final = 120
"""Fewest tokens of such a page."""

_CALL: Final = 60
"""Tokens of a call of one of those tools, about."""

WORTH_IT: Final = 8
"""A compaction that frees less than an eighth of the limit is put off while there is room, since
each costs the server's prefix cache."""

_TARGET: Final = 0.6
"""Share of the limit that a compaction leaves. The prefix cache is lost from the first change on,
so a compaction is seldom and then thorough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """How much of a conversation is sent to the model.

    Attributes:
        compact_at: The size of a prompt beyond which old results are cleared and old exchanges
            dropped: tokens, or, as a float, a share of the window (1.0 is all of it but the reply).
            Default: what the model's profile says, within the window that is served.
        result_tokens: Most tokens of one tool result; the middle of a longer one is left out.
            Default: whatever fits into the rest of the window, with room for the reply. A result
            that does not fit is cut so that there is room for two more of its size.
        recall: Whether the model is given tools that read what a prompt leaves out; see
            `agentkit.agent.recall`. An agent without other tools is not given them. Default: what
            the model's profile says, which is yes but for the bundled demonstration model.
        compaction: What is left out of a prompt that is too long, in this order; see
            `agentkit.context.strategies`. Default: earlier reads of the same thing, whole or in
            part, then old results, then old exchanges.
        pinned: A function of a message: whether it always stays. The instructions, the task, the
            user's last message and the newest exchange stay in any case. A result that stays keeps
            its call.

    Raises:
        TypeError: A limit is no number of tokens, or `compaction` holds something that is no
            strategy.
        ValueError: A number is too small to work with, or no share.
    """

    compact_at: int | float | None = None
    result_tokens: int | None = None
    recall: bool | None = None
    compaction: Sequence[Strategy] = DEFAULT
    pinned: Callable[[Message], bool] | None = None

    def __post_init__(self) -> None:
        given = self.compaction
        strategies = tuple(given) if isinstance(given, list | tuple) else (given,)
        for strategy in strategies:
            if isinstance(strategy, type) or not callable(getattr(strategy, "moves", None)):
                raise wrong_value(
                    "compaction", strategy, "give strategies: compaction=[ClearOldResults(), …]"
                )
        object.__setattr__(self, "compaction", strategies)
        if self.pinned is not None and not callable(self.pinned):
            raise wrong_value("pinned", self.pinned, "give a function of a message")
        refuse_async("pinned", self.pinned)
        for name in ("compact_at", "result_tokens"):
            tokens = getattr(self, name)
            kinds = int | float | None if name == "compact_at" else int | None
            if not isinstance(tokens, kinds) or isinstance(tokens, bool):
                raise wrong_value(name, tokens, "give a number of tokens")
            if isinstance(tokens, float):
                if not 0 < tokens <= 1:
                    raise ValueError(
                        f"{name} is {tokens}; a share of the window is above 0 and at most 1.0, "
                        "and tokens are a whole number"
                    )
            elif tokens is not None and tokens < _LEAST_RESULT:
                raise ValueError(f"{name} is {tokens}; give at least {_LEAST_RESULT} tokens")


@dataclass(frozen=True, slots=True)
class PromptLimits:
    """The limits of one request, in tokens; None if nobody knows.

    Attributes:
        window: What prompt and reply may take together.
        profile_compact_at: The value that the model's profile would give `compact_at`.
        compact_at: The size of a prompt beyond which a compaction is due.
        max_prompt: The size of a prompt beyond which there is no room for a reply.
        after_compaction: The size of the prompt that a compaction aims at.
        result: The user's limit to one tool result, or, if the user sets none, what every result
            may take however full the window is.
        source: Where `compact_at` comes from.
    """

    window: int | None = None
    profile_compact_at: int | None = None
    compact_at: int | None = None
    max_prompt: int | None = None
    after_compaction: int = 0
    result: int = 0
    source: str = ""


def limits_of(
    context: Context, form: PromptForm, settings: ModelSettings, ceiling: int | None
) -> PromptLimits:
    """The limits of one request.

    Args:
        context: The user's settings.
        form: What the model makes of the request.
        settings: The settings of the request.
        ceiling: Most tokens of a prompt, learned from a server that refused more.
    """
    window = form.profile.context_window if form.profile else None
    profile_at = form.profile.compaction_point if form.profile else None
    reply = settings.max_tokens or form.reply_tokens
    left = None if window is None else window - max(1, min(reply, window // 8))
    max_prompt = _least(left, ceiling)
    compact_at = _compact_at(context, profile_at, max_prompt, window)
    result = _result_tokens(context, compact_at)
    after = int((compact_at or 0) * _TARGET)
    if context.compact_at is not None:
        source = f"Context(compact_at={context.compact_at})"
    else:
        source = f"the profile of {form.profile.name}" if form.profile else ""
    if compact_at is not None and compact_at == max_prompt:
        source = f"a window of {window} tokens, with room for a reply"
        if ceiling is not None and ceiling == max_prompt:
            source = "the server took a longer prompt for too long"
    return PromptLimits(window, profile_at, compact_at, max_prompt, after, result, source)


def under(context: Context, fitted: PromptFitted) -> PromptFitted:
    """The limits that the same prompt would have had with this context."""
    compact_at = _compact_at(context, fitted.profile_at, fitted.most, fitted.window)
    most = context.result_tokens or max(_result_tokens(context, compact_at), fitted.fair)
    return replace(fitted, compact_at=compact_at, result_tokens=most)


def fair_share(sizes: Sequence[int], left: int) -> int:
    """The most tokens of one new result, so that all fit and there is room for more of that size.

    Args:
        sizes: How many tokens each new result takes.
        left: Tokens of the window that nothing else takes.
    """
    longest = max(sizes, default=0)
    if sum(sizes) + _MORE_RESULTS * longest <= left:  # nearly always: none has to be cut
        return max(longest, left // (1 + _MORE_RESULTS))
    low, high = 0, longest
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(size, middle) for size in sizes) + _MORE_RESULTS * middle <= left:
            low = middle
        else:
            high = middle - 1
    return low


def bounded(
    settings: ModelSettings,
    form: PromptForm,
    limits: PromptLimits,
    tokens: int,
    *,
    exact: bool,
    refused: bool,
) -> ModelSettings:
    """The settings, with `max_tokens` lowered if there is not so much room for a reply.

    Args:
        settings: The settings of the request.
        form: What the model makes of the request.
        limits: The limits of the request.
        tokens: What its prompt takes.
        exact: Whether `tokens` is a count.
        refused: Whether the server has found a prompt of this run too long.
    """
    asked = settings.max_tokens or form.reply_tokens
    if limits.window is None or not asked:
        return settings
    left = limits.window - tokens
    if not exact:
        # An estimate is more than the count. It must not cut a reply that may have room, unless the
        # server has refused a prompt already.
        left = max(left, limits.window // (16 if refused else 4))
    return settings if asked <= left else replace(settings, max_tokens=max(left, 1))


def page_tokens(context: Context, now: PromptFitted | None, calls: int) -> int:
    """See `ContextWindow.page_tokens`.

    Args:
        context: The user's settings.
        now: The newest request; None before the first.
        calls: Calls of the same reply, which share the room.
    """
    window = compact_at = UNKNOWN_WINDOW
    tokens = stays = 0
    if now is not None:
        window = now.most or UNKNOWN_WINDOW
        compact_at = min(now.compact_at or window, window)
        if now.sent is not None:
            tokens, stays = now.sent.tokens, now.sent.stays
    # The calls themselves are in the reply that follows; an estimate may be half of a count.
    room = (window - stays - calls * _CALL) // (2 * calls)
    if room < _LEAST_PAGE:
        return 0
    wanted = max(compact_at // (4 * calls), (compact_at - tokens) // (calls + 2))
    most = min(wanted, room, _LONGEST_PAGE, context.result_tokens or _LONGEST_PAGE)
    return max(most, _LEAST_PAGE)


def too_big(parts: Counter[PromptPart], tokens: int, limits: PromptLimits, context: Context) -> str:
    """The sentence for a prompt that cannot be made to fit; it names the largest part."""
    listed = ", ".join(f"{part} {count}" for part, count in parts.most_common() if count > 0)
    (largest, _), *_ = parts.most_common(1)
    chosen = context.compaction
    by = "" if chosen == DEFAULT else f" by compaction={list(chosen)}"
    return (
        f"the prompt needs {tokens} tokens, and at most {limits.max_prompt} of the window's "
        f"{limits.window} are for it; nothing more can be left out{by}. By part: {listed}. "
        f"The largest is {largest}: {_REMEDIES[largest]}"
    )


_REMEDIES: Final[Mapping[PromptPart, str]] = {
    "instructions": "shorten them, or serve the model with a larger window",
    "tools": "offer fewer of them, or describe them in fewer words",
    "user": "say less at once, or put the text where a tool can read it in parts",
    "assistant": "the model's last reply itself is too long: lower max_tokens",
    "results": "lower Context(result_tokens=...), or let the tool return less",
    "format": "serve the model with a larger window",
}


def why_compacted(limits: PromptLimits, ceiling: int | None) -> str:
    """Why less of a conversation is sent; the ceiling is the one of `limits_of`."""
    if ceiling is not None:
        return "the server took the prompt for too long"
    return f"the prompt would have passed {limits.compact_at} tokens ({limits.source})"


def _compact_at(
    context: Context, profile_at: int | None, max_prompt: int | None, window: int | None
) -> int | None:
    """See `PromptLimits.compact_at`."""
    wanted = context.compact_at or profile_at
    if isinstance(wanted, float):
        wanted = max(int(wanted * (window or UNKNOWN_WINDOW)), _LEAST_RESULT)
    return _least(wanted, max_prompt)


def _result_tokens(context: Context, compact_at: int | None) -> int:
    """See `PromptLimits.result`."""
    always = min(_ALWAYS, max((compact_at or UNKNOWN_WINDOW) // 8, _LEAST_RESULT))
    return context.result_tokens or always


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
