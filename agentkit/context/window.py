"""`ContextWindow`: what is sent of one run's conversation, and how many tokens that is.

```
 history ──► enter ── what is new
               │
               ▼
             count ── the tokens of what is new; a new result that does not fit into the rest of
               │      the window, with room for the reply, becomes a preview with room for more
               ▼
             fits? ──no──► compact: an old result that was sent whole, as there was room, becomes
               │             │      such a preview, or what the strategies name is left out, in one
               │             │      batch and down to well below the limit; perhaps with a summary
               │             └──► still too long: the newest results are cut shorter
               ▼
             request, with max_tokens that fit what is left
```
The limits come first: from the user (`Context`), or else from the model's profile and the request
(`limits_of`).

Between two compactions a request only adds to the one before. The history is never changed, and
nothing here does I/O: `fit` is a generator that asks for counts.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import partial
from math import inf
from typing import Final, Literal

from agentkit.context.entries import (
    READ,
    RECALL,
    RECALL_TOOLS,
    Entries,
    Source,
    marked,
    preview,
    shortened,
    stub,
)
from agentkit.context.limits import (
    UNKNOWN_WINDOW,
    WORTH_IT,
    Context,
    PromptLimits,
    bounded,
    fair_share,
    limits_of,
    page_tokens,
    too_big,
    why_compacted,
)
from agentkit.context.prompt import (
    CountPrompt,
    Prompt,
    PromptForm,
    Steps,
    estimated_tokens,
    rendering_of,
    result_text_of,
    tokens_of,
)
from agentkit.context.strategies import Newer, Past, Plan, Stub, level, plan
from agentkit.context.summaries import summarize, summary_tokens
from agentkit.errors import ContextWindowError
from agentkit.events import (
    Change,
    ContextCompacted,
    ContextUse,
    PromptFitted,
    PromptSent,
    PromptTokens,
    Summary,
)
from agentkit.messages import (
    Message,
    ModelRequest,
    SystemMessage,
    ToolDefinition,
    ToolMessage,
    Usage,
    text_of,
)

_STUB: Final = 48
"""Tokens of the line that stands for an old result, about."""

_LEAST_PREVIEW: Final = 64
"""Tokens that a result keeps, at least, when it has to make room."""

_CREDIBLE: Final = 4
"""A server's count is believed unless it is less than this part of our estimate. Then it counts
something else than the prompt, as behind some proxies."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A request that fits.

    Attributes:
        request: What is sent.
        tokens: How many tokens its prompt takes.
        exact: Whether they were counted.
        within: What decided how much is sent.
        compacted: What was left out for it, if anything was.
    """

    request: ModelRequest
    tokens: int
    exact: bool
    within: PromptFitted
    compacted: ContextCompacted | None = None


class _Trust(Enum):
    """Which of our counts are believed, after the server counted earlier prompts."""

    PIECES = auto()
    """The tokens of the pieces add up to the server's count of the prompt."""
    WHOLE = auto()
    """They did not, so the server is asked for the tokens of the whole prompt."""
    NOTHING = auto()
    """Its answer was wrong too: every number is an estimate."""


class ContextWindow:
    """One run's window.

    Args:
        context: The user's settings.
        repeatable: Tools whose calls may simply be made again.
        kept: Tools whose newest result stays in view.
        recall: Names of the agent's own tools; those that read what is left out are used.
        whole: All of a result's text by its number, or None if the history holds all of it.
    """

    def __init__(
        self,
        context: Context | None = None,
        *,
        repeatable: Container[str] = frozenset(),
        kept: Container[str] = frozenset(),
        recall: frozenset[str] = frozenset(),
        whole: Callable[[int], str | None] = lambda _number: None,
    ) -> None:
        self._context = context or Context()
        self._repeatable = repeatable
        self._recall = recall & RECALL_TOOLS
        self._whole = whole
        self._entries = Entries(kept, recall=RECALL in recall, pinned=self._context.pinned)
        self._prompt = Prompt()
        self._system: list[Message] = []
        self._tools: Mapping[str, ToolDefinition] = {}
        self._limits = PromptLimits()
        self._ceiling: int | None = None
        self._trust = _Trust.PIECES
        self._anchor: tuple[int, int] | None = None  # (our sum, the server's) of the last prompt
        self._now: PromptFitted | None = None  # of the newest request
        self._changes: list[Change] = []  # since the newest reply
        self._asked: Summary | None = None  # since the newest reply, with the cost of all requests
        self._recorded: list[ContextCompacted] = []  # of the next request, before the run died
        self._compactions = 0
        self._prompts: list[PromptTokens] = []

    # --- before a request ------------------------------------------------------------------------

    def fit(self, request: ModelRequest, form: PromptForm) -> Steps[Fitted]:
        """The request that is sent for this one.

        Args:
            request: It holds the whole history.
            form: What the model makes of it.

        Raises:
            ContextWindowError: What must be kept does not fit; it names the largest parts.
        """
        limits = self._limits = limits_of(self._context, form, request.settings, self._ceiling)
        self._tools = {tool.name: tool for tool in request.tools}
        new = yield from self._enter(request.messages, form)
        if form.asks and (roomy := (yield from self._roomy(request, new, form))) is not None:
            return roomy
        tokens, exact = yield from self._count(request, form)
        fair, cut = yield from self._cut_new(new, tokens, form)
        if cut:
            tokens, exact = yield from self._count(request, form)
        within = self._within(tokens, new, fair)
        compacted: ContextCompacted | None = None
        if limits.compact_at is not None and tokens > limits.compact_at:
            changed = yield from self._cut_old(tokens, form)
            if changed is None:
                changed = yield from self._compact(tokens, request, form)
            if changed:
                self._compactions += 1
                self._anchor = None
                tokens, exact = yield from self._count(request, form)
                compacted = replace(changed, after=tokens)
        if exact and limits.max_prompt is not None and tokens > limits.max_prompt:
            raise ContextWindowError(too_big(self._prompt.parts, tokens, limits, self._context))
        settings = bounded(
            request.settings, form, limits, tokens, exact=exact, refused=self._ceiling is not None
        )
        sent = replace(request, messages=tuple(self._view()), settings=settings)
        self._now = within(sent=self._sent(tokens, form, exact=exact))
        return Fitted(sent, tokens, exact, self._now, compacted)

    def _sent(self, tokens: int, form: PromptForm, *, exact: bool) -> PromptSent:
        """What is sent now, for the run's record."""
        parts = self._prompt.parts
        stays = sum(parts[part] for part in ("instructions", "tools", "format", "user"))
        stays += estimated_tokens(self._entries.summary)
        return PromptSent(
            tokens,
            exact,
            self._prompt.tokens,
            stays,
            self._ceiling,
            tuple(self._changes),
            self._asked,
            {part: tokens for part, tokens in parts.items() if tokens},
            rendering_of(form),
        )

    def restore(self, request: ModelRequest, fitted: PromptFitted, usage: Usage) -> None:
        """Continues from a recorded request as from one of its own.

        Args:
            request: It holds the whole history.
            fitted: The record of how much of it was sent.
            usage: What the server counted for it.
        """
        if fitted.sent is None:
            return
        messages, self._tools = request.messages, {tool.name: tool for tool in request.tools}
        head = isinstance(messages[0], SystemMessage)
        self._system = list(messages[:head])
        for message in self._entries.new_messages(messages[head:]):
            self._entries.add(message)
        newest = self._entries.newest()
        changes, self._ceiling = fitted.sent.changes, fitted.sent.ceiling
        self._asked = fitted.sent.summary
        newer: Mapping[int, Newer] | None = None
        for at, state, size in changes:
            entry = self._entries.all[at]
            if state == "summarized" and self._asked is not None:
                self._entries.stand_in(at, self._asked.text, size)
                continue
            if state == "cleared" and newer is None:  # the state before anything was cleared
                newer = self._entries.newer(self._repeatable)
            entry.state, entry.size = state, size
            if isinstance(entry.message, ToolMessage) and state != "dropped":
                if state == "cleared":
                    entry.sent = self._stub(at, entry.message, size, newer or {})
                else:
                    source, call = self._source(at, entry.message), self._entries.call_of(at)
                    entry.sent = preview(marked(source, call), size)
        if changes:
            self._entries.rebuild()
        if any(state != "shortened" or at < newest for at, state, _ in changes):
            self._compactions += 1
            self._anchor = None
        self._now = fitted
        self.observe(usage)

    def expect(self, compacted: Sequence[ContextCompacted]) -> None:
        """Uses these recorded summaries for the next request, which a run made before it died."""
        self._recorded = list(compacted)

    def _roomy(self, request: ModelRequest, new: int, form: PromptForm) -> Steps[Fitted | None]:
        """The request as it is, if there is room for it however its text is tokenized, so that no
        server has to be asked first; None if a count decides.
        """
        limits = self._limits
        yield from self._prompt.update(self._view(), replace(form, counting="estimate"))
        tokens = self._estimate(self._prompt.tokens)
        sizes = list(self._prompt.newest_results(new).values())
        left = (limits.max_prompt or UNKNOWN_WINDOW) - tokens + sum(sizes)
        fair, longest = fair_share(sizes, left), max(sizes, default=0)
        counted, times = self._anchor[1] if self._anchor else 0, self._prompt.most_times
        most = counted + times * (tokens - counted)
        whole = most + (request.settings.max_tokens or form.reply_tokens)
        if most > (limits.compact_at or inf) or whole > (limits.window or inf):
            return None
        if times * longest > self._result_tokens(fair):
            return None
        sent = replace(request, messages=tuple(self._view()))
        within = self._within(tokens, new, fair)
        self._now = within(sent=self._sent(tokens, form, exact=False))
        return Fitted(sent, tokens, False, self._now)

    def _result_tokens(self, fair: int) -> int:
        """Most tokens of a new result, where so many are its fair share."""
        return self._context.result_tokens or max(self._limits.result, fair)

    def _within(self, tokens: int, new: int, fair: int) -> partial[PromptFitted]:
        """What decided how much of a conversation with so many new messages is sent; it lacks only
        what is sent.
        """
        limits, entries = self._limits, self._entries.all
        return partial(
            PromptFitted,
            tokens,
            longest=max(self._prompt.newest_results(new).values(), default=0),
            shortened=any(entry.state == "shortened" for entry in entries[len(entries) - new :]),
            compact_at=limits.compact_at,
            result_tokens=self._result_tokens(fair),
            profile_at=limits.profile_compact_at,
            most=limits.max_prompt,
            fair=fair,
            window=limits.window,
            source=limits.source,
        )

    def _view(self) -> list[Message]:
        return [*self._system, *self._entries.sent]

    def _enter(self, messages: Sequence[Message], form: PromptForm) -> Steps[int]:
        """Adds the new messages, and returns how many they are."""
        head = 1 if messages and isinstance(messages[0], SystemMessage) else 0
        self._system = list(messages[:head])
        new = self._entries.new_messages(messages[head:])
        most = self._context.result_tokens or self._limits.max_prompt or UNKNOWN_WINDOW
        for message in new:
            self._entries.add(message)
            if isinstance(message, ToolMessage):
                yield from self._shorten([len(self._entries.all) - 1], most, form)
        return len(new)

    def _cut_new(self, new: int, tokens: int, form: PromptForm) -> Steps[tuple[int, bool]]:
        """Makes previews of new results that do not fit and are longer than their fair share.

        Args:
            new: How many messages are new.
            tokens: What the prompt takes with all of them.
            form: What the model makes of it.

        Returns:
            That share, and whether any result was cut.
        """
        count = len(self._entries.all)
        within = min(new, count - self._entries.newest())
        sizes = {count - n: size for n, size in self._prompt.newest_results(within).items()}
        left = (self._limits.max_prompt or UNKNOWN_WINDOW) - tokens + sum(sizes.values())
        fair = fair_share(list(sizes.values()), left)
        whole = all(self._entries.all[at].state == "whole" for at in sizes)
        if whole and sum(sizes.values()) <= left:
            fair = max([fair, *sizes.values()])  # nothing is cut as long as all fit
        if self._context.result_tokens is not None or not sizes:
            return fair, False
        if max(sizes.values()) > fair:  # older results can make room
            all_sizes = self._sizes()
            left += sum(max(all_sizes[at] - _STUB, 0) for at in self._entries.clearable())
            fair = fair_share(list(sizes.values()), left)
        most = max(fair, self._limits.result)
        longer = [at for at, size in sizes.items() if size > most and not self._shows_another(at)]
        return fair, (yield from self._shorten(longer, most, form))

    def _shows_another(self, at: int) -> bool:
        """Whether this is a page of another result, which is as long as there is room for."""
        message = self._entries.all[at].message
        return isinstance(message, ToolMessage) and message.name in self._recall

    def _shorten(self, places: Sequence[int], most: int, form: PromptForm) -> Steps[bool]:
        """Sends previews of so many tokens in place of longer results; whether any was longer."""
        shorter = False
        for at in places:
            entry = self._entries.all[at]
            assert isinstance(entry.message, ToolMessage)
            source, call = self._source(at, entry.message), self._entries.call_of(at)
            sent = yield from shortened(source, call, most, form)
            if sent is not None:
                entry.sent, entry.size = sent
                entry.state, shorter = "shortened", True
                self._changes.append((at, "shortened", entry.size))
        if shorter:
            self._entries.rebuild()
        return shorter

    def _source(self, at: int, message: ToolMessage) -> Source:
        """A result, and how it can be read again."""
        recalled = message.name in self._recall
        return Source(
            message,
            self._whole(at + 1) or text_of(message.content),
            at + 1,
            readable=READ in self._recall and not recalled,
            recalled=recalled,
            tool=self._tools.get(message.name),
        )

    def _count(self, request: ModelRequest, form: PromptForm) -> Steps[tuple[int, bool]]:
        """Tokens of the prompt as it is now, and whether that is certain."""
        yield from self._prompt.update(self._view(), form)
        total = self._prompt.tokens
        exact = self._prompt.exact and self._trust is _Trust.PIECES
        if form.counting == "whole" or (form.counting == "pieces" and self._trust is _Trust.WHOLE):
            answer = yield CountPrompt(replace(request, messages=tuple(self._view())))
            if isinstance(answer, Sequence) and answer:
                return answer[0], self._trust is not _Trust.NOTHING
            exact = False
        return (total, True) if exact else (self._estimate(total), False)

    def _estimate(self, total: int) -> int:
        """The server's last count and our own sum of what is new since then, on the safe side."""
        if self._anchor is None:
            return total
        ours, counted = self._anchor
        # If our counts were wrong once, the larger of the two is the safe side.
        least = 0 if self._trust is _Trust.PIECES else total
        return max(counted + max(total - ours, 0), least)

    # --- when it does not fit --------------------------------------------------------------------

    def _compact(
        self, tokens: int, request: ModelRequest, form: PromptForm
    ) -> Steps[ContextCompacted | None]:
        """Leaves out what the strategies name; None if that would gain too little."""
        limits, entries = self._limits, self._entries
        sizes, past = self._sizes(), entries.past(self._repeatable)
        chosen = plan(
            past,
            self._context.compaction,
            sizes,
            (yield from self._stubs(past, sizes, form)),
            tokens=tokens,
            target=limits.after_compaction,
            summary_tokens=summary_tokens(limits),
        )
        must = limits.max_prompt is not None and tokens > limits.max_prompt
        if not must and (tokens - chosen.tokens) * WORTH_IT < (limits.compact_at or 0):
            return None
        asked: Summary | None = None
        if chosen.summary is not None:
            asked = yield from self._summarize(chosen, request, form)
            before = self._asked or Summary()  # a server may refuse a prompt, and another is made
            self._asked = replace(
                asked, text=asked.text or before.text, cost=before.cost + asked.cost
            )
        for at, stubbed in chosen.clear.items():
            entry = entries.all[at]
            entry.sent, entry.state, entry.size = stubbed, "cleared", sizes[at]
            self._changes.append((at, "cleared", entry.size))
        for at in chosen.drop:
            entries.all[at].state = "dropped"
            self._changes.append((at, "dropped", 0))
        if asked is not None and asked.text:
            self._changes += entries.put_summary(asked.text)
        shorter = False
        if limits.max_prompt is not None and chosen.tokens > limits.max_prompt:
            shorter = yield from self._squeeze(chosen.tokens - limits.max_prompt, sizes, form)
        entries.rebuild()
        if not (chosen.clear or chosen.drop or shorter):
            return None
        return ContextCompacted(
            tokens,
            tokens,
            chosen.cleared,
            len(chosen.drop),
            why_compacted(limits, self._ceiling),
            summary=asked,
        )

    def _stubs(
        self, past: Past, sizes: Mapping[int, int], form: PromptForm
    ) -> Steps[dict[int, Stub]]:
        """What each old result may become, by its place."""
        lines: dict[int, ToolMessage] = {}
        for at in past.results:
            message = self._entries.all[at].message
            assert isinstance(message, ToolMessage)
            lines[at] = self._stub(at, message, sizes[at], past.newer)
        texts = [result_text_of(line, form) for line in lines.values()]
        counts, _ = yield from tokens_of(texts, form)
        pairs = zip(lines.items(), counts, strict=True)
        return {at: Stub(line, tokens) for (at, line), tokens in pairs}

    def _cut_old(self, tokens: int, form: PromptForm) -> Steps[ContextCompacted | None]:
        """Makes previews of old results that are long because there was room, of the length that
        they would have had without it; None if that is not enough.
        """
        limits, sizes = self._limits, self._sizes()
        most = fair_share([], limits.max_prompt or UNKNOWN_WINDOW)
        old = self._entries.past(self._repeatable).results
        long = [at for at in old if sizes[at] > most]
        excess = tokens - (limits.compact_at or 0)
        if sum(sizes[at] - most for at in long) < excess:
            return None
        shorter = yield from self._shorten(long, most, form)
        return (
            ContextCompacted(tokens, tokens, (), 0, why_compacted(limits, self._ceiling))
            if shorter
            else None
        )

    def _stub(
        self, at: int, message: ToolMessage, tokens: int, newer: Mapping[int, Newer]
    ) -> ToolMessage:
        """The line in place of this result, which takes so many tokens."""
        again, source = message.name in self._repeatable, self._source(at, message)
        return stub(source, tokens, repeatable=again, newer=newer.get(at))

    def _summarize(self, chosen: Plan, request: ModelRequest, form: PromptForm) -> Steps[Summary]:
        """The model's summary of the messages that the plan leaves out."""
        entries = self._entries
        assert chosen.summary is not None, "nobody asked for a summary"
        if self._recorded:
            known, same = self._recorded.pop(0), (chosen.cleared, len(chosen.drop))
            if known.summary is not None and (known.cleared, known.dropped) == same:
                return known.summary
        old = entries.all[: entries.newest()]
        view = [entry.sent for entry in old if entry.state != "dropped"]
        return (
            yield from summarize(
                chosen.summary,
                [*self._system, *view],
                [entries.summary, *(entries.facts_of(at) for at in sorted(chosen.summarized))],
                request,
                count=lambda messages: self._tokens_of(messages, form),
                limits=self._limits,
                form=form,
            )
        )

    def _tokens_of(self, messages: Sequence[Message], form: PromptForm) -> Steps[int]:
        """Tokens of another prompt that goes on from the last one."""
        prompt = Prompt()
        yield from prompt.update(messages, form)
        return self._estimate(prompt.tokens)

    def _sizes(self) -> dict[int, int]:
        """Tokens of each entry as it is sent, by its place in the conversation."""
        by_place = self._prompt.by_message()
        head = len(self._system)
        return {at: by_place[head + place] for at, place in self._entries.places().items()}

    def _squeeze(self, excess: int, sizes: Mapping[int, int], form: PromptForm) -> Steps[bool]:
        """Cuts the newest results shorter, the longest ones first. Returns whether any was cut."""
        entries = self._entries.all
        newest = range(self._entries.newest(), len(entries))
        results = [at for at in newest if isinstance(entries[at].message, ToolMessage)]
        others = [at for at in results if not self._shows_another(at)]
        if sum(max(sizes[at] - _LEAST_PREVIEW, 0) for at in others) >= excess:
            results = others
        most = max(level((sizes[at] for at in results), excess), _LEAST_PREVIEW)
        return (yield from self._shorten([at for at in results if sizes[at] > most], most, form))

    # --- pages of what is left out ---------------------------------------------------------------

    def page_tokens(self, calls: int) -> int:
        """Tokens that a page of another result may take, by an estimate on the safe side, so that
        it is sent whole whatever else is left out; 0 if there is no room for so many pages.

        Args:
            calls: Calls of the same reply, which share the room.
        """
        return page_tokens(self._context, self._now, calls)

    # --- after a reply ---------------------------------------------------------------------------

    def observe(self, usage: Usage) -> None:
        """Takes note of what the server counted for the newest request."""
        if self._now is None or self._now.sent is None:
            return
        self._changes.clear()
        self._asked = None
        sent, counted = self._now.sent, usage.input_tokens
        number, cached = len(self._prompts) + 1, usage.cached_input_tokens
        self._prompts.append(PromptTokens(number, sent.tokens, sent.exact, counted, cached))
        if not counted:
            return
        if counted >= sent.own // _CREDIBLE:
            self._anchor = (sent.own, counted)
        if sent.exact and counted != sent.tokens and not self._prompt.doubt_media():
            self._trust = _Trust.WHOLE if self._trust is _Trust.PIECES else _Trust.NOTHING

    def refused(self) -> None:
        """The server found the newest request too long: from now on less is sent."""
        if self._now is not None and self._now.sent is not None:
            self._ceiling = self._now.sent.tokens * 3 // 4

    def _ids(self, state: Literal["shortened", "cleared"]) -> tuple[str, ...]:
        messages = (entry.message for entry in self._entries.of(state))
        return tuple(message.call_id for message in messages if isinstance(message, ToolMessage))

    def use(self) -> ContextUse:
        """What fills the window now."""
        return ContextUse(
            window=self._limits.window,
            compact_at=self._limits.compact_at,
            source=self._limits.source,
            parts={part: tokens for part, tokens in self._prompt.parts.items() if tokens},
            shortened=self._ids("shortened"),
            cleared=self._ids("cleared"),
            dropped=len(self._entries.of("dropped")) + len(self._entries.of("summarized")),
            compactions=self._compactions,
            prompts=tuple(self._prompts),
            summary=self._entries.summary,
        )
