"""`ContextWindow`: what is sent of one run's conversation, and how many tokens that is.

```
 history ──► enter ── what is new
               │
               ▼
             count ── the tokens of what is new; a new result that does not fit what is left of the
               │      window, with room for the reply, becomes a preview that leaves room for more
               ▼
             fits? ──no──► compact: an old result that stood whole because there was room becomes
               │             │      such a preview, or what the strategies name goes, in one batch,
               │             │      well below the limit; perhaps with a summary
               │             └──► still too much: the newest results are cut shorter
               ▼
             request, with max_tokens that fit what is left
```
How much "fits" is said first: by the user (`Context`), and by the model's profile and the request
where the user says nothing (`limits_of`).

Between two compactions a request only adds to the one before. The history is never touched, and
nothing here does I/O: `fit` asks for counts on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final, Literal

from agentkit.context.entries import (
    READ,
    RECALL,
    RECALL_TOOLS,
    Entries,
    Source,
    ask_for_less,
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
from agentkit.context.strategies import Newer, Plan, Stub, level, plan
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
"""Tokens: what is left of a result that has to make room, at least."""

_CREDIBLE: Final = 4
"""A server's count is believed down to so small a part of our estimate: below it `usage` is not of
the prompt, as behind some proxies."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A request that fits.

    Attributes:
        request: What is sent.
        tokens: How many its prompt takes.
        exact: Whether they were counted.
        within: What decided that it is sent so.
        compacted: What was left out for it, if anything was.
    """

    request: ModelRequest
    tokens: int
    exact: bool
    within: PromptFitted
    compacted: ContextCompacted | None = None


class _Trust(Enum):
    """What is believed of the counts, after what the server counted of earlier prompts."""

    PIECES = auto()
    """The tokens of the pieces add up to those of the prompt."""
    WHOLE = auto()
    """They did not add up, so the whole prompt is asked for."""
    NOTHING = auto()
    """That was wrong too: every number is an estimate."""


class ContextWindow:
    """One run's window.

    Args:
        context: What the user says of it.
        repeatable: Tools whose calls may simply be made again.
        kept: Tools whose newest result stays in view.
        recall: Which of the agent's own tools that read what is left out are offered.
        whole: All of a result's text, by its number, where the history holds less of it.
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
        self._now: PromptFitted | None = None
        self._changes: list[Change] = []  # since the newest reply
        self._asked: Summary | None = None  # since then; what all of them cost
        self._written: list[ContextCompacted] = []
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
            return self._fitted(roomy, form)
        tokens, exact = yield from self._count(request, form)
        fair, cut = yield from self._cut_new(new, tokens, form)
        if cut:
            tokens, exact = yield from self._count(request, form)
        longest = max(self._prompt.newest_results(new).values(), default=0)
        shortened = any(entry.state == "shortened" for entry in self._entries.all[-new:] if new)
        within = self._within(tokens, longest, fair, shortened=shortened)
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
        return self._fitted(Fitted(sent, tokens, exact, within, compacted), form)

    def _fitted(self, fitted: Fitted, form: PromptForm) -> Fitted:
        """Remembers what is sent now, and tells it to whoever records the run."""
        parts = self._prompt.parts
        stays = sum(parts[part] for part in ("instructions", "tools", "format", "user"))
        stays += estimated_tokens(self._entries.summary)
        sent = PromptSent(
            fitted.tokens,
            fitted.exact,
            self._prompt.tokens,
            stays,
            self._ceiling,
            tuple(self._changes),
            self._asked,
            {part: tokens for part, tokens in parts.items() if tokens},
            rendering_of(form),
        )
        self._now = replace(fitted.within, sent=sent)
        return replace(fitted, within=self._now)

    def restore(self, request: ModelRequest, fitted: PromptFitted, usage: Usage) -> None:
        """Goes on from a recorded request as from one of its own.

        Args:
            request: It holds the whole history.
            fitted: What was recorded of how much of it was sent.
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
            if state == "cleared" and newer is None:  # as it was before anything was cleared
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
        """Takes over the summaries for the next request that a run has had before it died."""
        self._written = list(compacted)

    def _roomy(self, request: ModelRequest, new: int, form: PromptForm) -> Steps[Fitted | None]:
        """The request as it is, where there is room for it however its text is tokenized, so that
        no server has to be asked first; None where a count decides.

        A token is a byte or more, and an estimate at least half a token for each byte.
        """
        limits = self._limits
        yield from self._prompt.update(self._view(), replace(form, counting="estimate"))
        tokens = self._estimate(self._prompt.tokens)
        sizes = list(self._prompt.newest_results(new).values())
        left = (limits.max_prompt or UNKNOWN_WINDOW) - tokens + sum(sizes)
        fair, longest = fair_share(sizes, left), max(sizes, default=0)
        within = self._within(tokens, longest, fair, shortened=False)
        asked = request.settings.max_tokens or form.reply_tokens
        most = 2 * tokens - (self._anchor[1] if self._anchor else 0)
        if 2 * longest > within.result_tokens or (
            limits.compact_at is not None and most > limits.compact_at
        ):
            return None
        if limits.window is not None and most + asked > limits.window:
            return None
        return Fitted(replace(request, messages=tuple(self._view())), tokens, False, within)

    def _within(self, tokens: int, longest: int, fair: int, *, shortened: bool) -> PromptFitted:
        """What decided how much of a conversation is sent."""
        limits = self._limits
        return PromptFitted(
            tokens,
            longest,
            shortened,
            compact_at=limits.compact_at,
            result_tokens=self._context.result_tokens or max(limits.result, fair),
            profile_at=limits.profile_compact_at,
            most=limits.max_prompt,
            fair=fair,
            window=limits.window,
            source=limits.source,
        )

    def _view(self) -> list[Message]:
        return [*self._system, *self._entries.sent]

    def _enter(self, messages: Sequence[Message], form: PromptForm) -> Steps[int]:
        """Takes in what is new: how many messages."""
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
        """Makes previews of those new results that do not fit and are longer than their fair share.

        Args:
            new: So many messages are.
            tokens: What the prompt takes with all of them.
            form: What the model makes of it.

        Returns:
            That share, and whether any result was longer.
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
        """Sends these results as previews of so many tokens, where they are longer; whether any
        was.
        """
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
        """A result with what can be said of how to read it again."""
        recalled = message.name in self._recall
        return Source(
            message,
            self._whole(at + 1) or text_of(message.content),
            at + 1,
            readable=READ in self._recall and not recalled,
            recalled=recalled,
            remedy=ask_for_less(self._tools.get(message.name)),
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
        """What the server counted last, and our own sum of what came since, on the safe side."""
        if self._anchor is None:
            return total
        ours, counted = self._anchor
        # A count against a count: the larger is the safe side.
        least = 0 if self._trust is _Trust.PIECES else total
        return max(counted + max(total - ours, 0), least)

    # --- when it does not fit --------------------------------------------------------------------

    def _compact(
        self, tokens: int, request: ModelRequest, form: PromptForm
    ) -> Steps[ContextCompacted | None]:
        """Leaves out what is old; None if that would gain too little."""
        limits, entries = self._limits, self._entries
        sizes, past = self._sizes(), entries.past(self._repeatable)
        # What each old result may become.
        made: dict[int, ToolMessage] = {}
        for at in past.results:
            message = entries.all[at].message
            assert isinstance(message, ToolMessage)
            made[at] = self._stub(at, message, sizes[at], past.newer)
        texts = [result_text_of(each, form) for each in made.values()]
        counts, _ = yield from tokens_of(texts, form)
        pairs = zip(made.items(), counts, strict=True)
        stubs = {at: Stub(message, tokens) for (at, message), tokens in pairs}
        chosen = plan(
            past,
            self._context.compaction,
            sizes,
            stubs,
            tokens=tokens,
            target=limits.after_compaction,
            summary_tokens=summary_tokens(limits),
        )
        must = limits.max_prompt is not None and tokens > limits.max_prompt
        if not must and (tokens - chosen.tokens) * WORTH_IT < (limits.compact_at or 0):
            return None
        asked: Summary | None = None
        if chosen.summary is not None:
            asked = yield from self._summarize(chosen, tokens, sizes, request, form)
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
            tokens, tokens, chosen.cleared, len(chosen.drop), self._why(), summary=asked
        )

    def _why(self) -> str:
        if self._ceiling is not None:
            return "the server took the prompt for too long"
        return (
            f"the prompt would have passed {self._limits.compact_at} tokens ({self._limits.source})"
        )

    def _cut_old(self, tokens: int, form: PromptForm) -> Steps[ContextCompacted | None]:
        """Makes previews of old results that stood whole because there was room, as long as they
        would have been without it; None if that is not enough.
        """
        limits, entries, sizes = self._limits, self._entries, self._sizes()
        most = fair_share([], limits.max_prompt or UNKNOWN_WINDOW)
        free = entries.past(self._repeatable).results
        long = [at for at in free if sizes[at] > most and entries.all[at].state == "whole"]
        excess = tokens - (limits.compact_at or 0)
        if sum(sizes[at] - most for at in long) < excess:
            return None
        shorter = yield from self._shorten(long, most, form)
        return ContextCompacted(tokens, tokens, (), 0, self._why()) if shorter else None

    def _stub(
        self, at: int, message: ToolMessage, tokens: int, newer: Mapping[int, Newer]
    ) -> ToolMessage:
        """The line in place of this result, which took so many tokens."""
        again, source = message.name in self._repeatable, self._source(at, message)
        return stub(source, tokens, repeatable=again, newer=newer.get(at))

    def _summarize(
        self,
        chosen: Plan,
        tokens: int,
        sizes: Mapping[int, int],
        request: ModelRequest,
        form: PromptForm,
    ) -> Steps[Summary]:
        """What the model writes down of the messages that the plan leaves out."""
        entries = self._entries
        assert chosen.summary is not None, "nobody asked for a summary"
        if self._written:
            known, same = self._written.pop(0), (chosen.cleared, len(chosen.drop))
            if known.summary is not None and (known.cleared, known.dropped) == same:
                return known.summary
        newest = entries.newest()
        view = [entry.sent for entry in entries.all[:newest] if entry.state != "dropped"]
        return (
            yield from summarize(
                chosen.summary,
                [*self._system, *view],
                [entries.summary, *(entries.facts_of(at) for at in sorted(chosen.summarized))],
                request,
                needed=tokens - sum(sizes.get(at, 0) for at in range(newest, len(entries.all))),
                limits=self._limits,
                form=form,
            )
        )

    def _sizes(self) -> dict[int, int]:
        """Tokens of each entry as it is sent, by its place in the conversation."""
        by_place = self._prompt.by_message()
        head = len(self._system)
        return {at: by_place[head + place] for at, place in self._entries.places().items()}

    def _squeeze(self, excess: int, sizes: Mapping[int, int], form: PromptForm) -> Steps[bool]:
        """Cuts the newest results shorter, the longest ones first; whether any was."""
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
        """Tokens that a page of another result may have, by an estimate on the safe side, so that
        it is sent whole whatever else has to go; 0 where there is no room for so many.

        Args:
            calls: Calls of the same reply, which share the room.
        """
        return page_tokens(self._context, self._now, calls)

    # --- after a reply ---------------------------------------------------------------------------

    def observe(self, usage: Usage) -> None:
        """What the server counted for the newest request."""
        if self._now is None or self._now.sent is None:
            return
        self._changes.clear()
        self._asked = None
        sent, counted = self._now.sent, usage.input_tokens
        self._prompts.append(
            PromptTokens(
                len(self._prompts) + 1,
                sent.tokens,
                sent.exact,
                counted,
                usage.cached_input_tokens,
            )
        )
        if not counted:
            return
        if counted >= sent.own // _CREDIBLE:
            self._anchor = (sent.own, counted)
        if sent.exact and counted != sent.tokens and not self._prompt.doubt_media():
            self._trust = _Trust.WHOLE if self._trust is _Trust.PIECES else _Trust.NOTHING

    def refused(self) -> None:
        """The server took the newest request for too long: from now on less has to do."""
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
