"""How a conversation makes room: what may go, what stands in its place, and which of it goes.

In: the messages, how many tokens each of them takes, and the strategies that choose
(`agentkit.context.strategies`). Out: what is sent of each: itself, a preview, a stub (a line that
says it is gone), a summary, or nothing; `agentkit.context.previews` words them. The choices are the
same for the same input; the history itself is never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from agentkit.context.previews import GO_ON, with_note
from agentkit.context.strategies import (
    Clear,
    Exchange,
    Move,
    Newer,
    Past,
    Strategy,
    Summarize,
    newer_results,
)
from agentkit.events import Change
from agentkit.messages import (
    AssistantMessage,
    Message,
    ToolCall,
    ToolMessage,
    UserMessage,
    text_of,
)

# --- what may go ---------------------------------------------------------------------------------

State: TypeAlias = Literal["whole", "shortened", "cleared", "dropped", "summarized"]
"""`summarized`: a summary stands there, for this message and for those that are dropped."""


@dataclass(slots=True)
class Entry:
    """One message.

    Attributes:
        message: As it stands in the history.
        sent: As it is sent.
        state: What was done to it.
        size: To what size; see `agentkit.events.Change`.
    """

    message: Message
    sent: Message
    state: State = "whole"
    size: int = 0


class Entries:
    """All messages but the instructions, with what is sent of each.

    Attributes:
        all: One entry for each message.
        summary: What is sent in place of those that a summary stands for.

    Args:
        kept: Names of tools whose newest result stays, call and all.
        recall: Whether the note at the task may name the tool `recall`.
        pinned: Whether a message always stays as it is.
    """

    def __init__(
        self,
        kept: Container[str] = frozenset(),
        *,
        recall: bool = False,
        pinned: Callable[[Message], bool] | None = None,
    ) -> None:
        self._kept = kept
        self._recall = recall
        self._pinned = pinned or (lambda _message: False)
        self.all: list[Entry] = []
        self.summary = ""
        self._messages: list[Message] = []
        self._sent: list[Message] = []

    def new_messages(self, messages: Sequence[Message]) -> Sequence[Message]:
        """What these add to the messages that are known; all, where they go on from others."""
        known = len(self._messages)
        if self._messages != list(messages[:known]):
            self.all.clear()
            self.summary = ""
            self._messages.clear()
            self._sent.clear()
            known = 0
        return messages[known:]

    def add(self, message: Message) -> None:
        """Takes in a new message, which is sent as it is."""
        self.all.append(Entry(message, message))
        self._messages.append(message)
        self._sent.append(message)

    def call_of(self, at: int) -> ToolCall | None:
        """The call that the result at this place answers."""
        result = self.all[at].message
        for before in range(at - 1, -1, -1):
            message = self.all[before].message
            if isinstance(message, AssistantMessage) and isinstance(result, ToolMessage):
                calls = (call for call in message.tool_calls if call.id == result.call_id)
                return next(calls, None)
        return None

    @property
    def sent(self) -> list[Message]:
        """What is sent of all of them."""
        return self._sent

    def of(self, state: State) -> list[Entry]:
        """The entries to which that was done."""
        return [entry for entry in self.all if entry.state == state]

    def rebuild(self) -> None:
        """Takes over what was changed in the entries."""
        dropped = len(self.of("dropped")) + len(self.of("summarized"))
        if dropped and (users := self.users()):
            task = self.all[users[0]]
            assert isinstance(task.message, UserMessage)
            task.sent = with_note(task.message, dropped, recall=self._recall)
        self._sent = [entry.sent for entry in self.all if entry.state != "dropped"]

    def put_summary(self, text: str) -> list[Change]:
        """Puts a summary where the first messages stood that are left out, in place of an older
        one; what that changed.
        """
        gone = [at for at, each in enumerate(self.all) if each.state in ("dropped", "summarized")]
        changes: list[Change] = []
        for at in gone[2:]:
            if self.all[at].state == "summarized":
                self.all[at].state = "dropped"
                changes.append((at, "dropped", 0))
        for size, at in enumerate(gone[:2]):
            self.stand_in(at, text, size)
            changes.append((at, "summarized", size))
        return changes

    def stand_in(self, at: int, text: str, size: int) -> None:
        """Sends a summary in place of the first message that is left out, as words of the model,
        since it wrote them; in place of the second, whose size is 1, what lets it go on: not every
        template takes two messages of the model in a row.
        """
        entry = self.all[at]
        entry.sent = UserMessage(GO_ON) if size else AssistantMessage(text)
        entry.state, entry.size, self.summary = "summarized", size, text

    def facts_of(self, at: int) -> str:
        """The text in which a message that goes is looked through for facts: what was said and
        called, and of a result what is still shown.
        """
        entry = self.all[at]
        if isinstance(entry.message, AssistantMessage):
            calls = (f"{call.name} {call.arguments}" for call in entry.message.tool_calls)
            said = [entry.message.reasoning or "", entry.message.content or ""]
            return "\n".join([*said, *calls])
        return text_of(entry.sent.content) if entry.state != "cleared" else ""

    def places(self) -> dict[int, int]:
        """Where each entry that is sent stands among those: place in `all` → place in `sent`."""
        kept = (n for n, entry in enumerate(self.all) if entry.state != "dropped")
        return {at: place for place, at in enumerate(kept)}

    def newest(self) -> int:
        """Where the newest exchange begins: the last calls, or the last message."""
        at = len(self.all) - 1
        while at > 0 and isinstance(self.all[at].message, ToolMessage):
            at -= 1
        return max(at, 0)

    def past(self, repeatable: Container[str] = frozenset()) -> Past:
        """What may go.

        Args:
            repeatable: Tools whose calls may simply be made again.
        """
        kept = self._kept_places()
        exchanges, after = self._exchanges(kept)
        return Past(
            messages=self._messages,
            results=[at for at in self.clearable() if at not in kept],
            exchanges=exchanges,
            after=after,
            newer=self.newer(repeatable),
        )

    def newer(self, repeatable: Container[str]) -> Mapping[int, Newer]:
        """The results in whose place a later one can be read; see `newer_results`."""
        whole = {at for at, entry in enumerate(self.all) if entry.state == "whole"}
        return newer_results(self._messages, repeatable, whole)

    def clearable(self) -> list[int]:
        """Results of which less may be sent one day, oldest first."""
        return [
            at
            for at, entry in enumerate(self.all[: self.newest()])
            if isinstance(entry.message, ToolMessage) and entry.state in ("whole", "shortened")
        ]

    def _kept_places(self) -> set[int]:
        """Messages that stay as they are: pinned ones, and the newest result of certain tools."""
        kept = {at for at, entry in enumerate(self.all) if self._pinned(entry.message)}
        for at in range(len(self.all) - 1, -1, -1):
            message = self.all[at].message
            if isinstance(message, ToolMessage) and message.name in self._kept:
                return kept | {at}
        return kept

    def _exchanges(
        self, kept: Container[int]
    ) -> tuple[list[Exchange], dict[Exchange, list[Exchange]]]:
        """Exchanges that may be left out, oldest first, and those that go only after others.

        The first and the last thing that the user said stay, and so do the newest exchange and
        those that hold what is kept.
        """
        rounds: list[tuple[int | None, list[list[int]]]] = [(None, [])]
        for at, entry in enumerate(self.all[: self.newest()]):
            if isinstance(entry.message, UserMessage):
                rounds.append((at, []))
            elif isinstance(entry.message, AssistantMessage):
                rounds[-1][1].append([at])
            elif rounds[-1][1]:
                rounds[-1][1][-1].append(at)
        users, gone = self.users(), ("dropped", "summarized")
        found: list[Exchange] = []
        after: dict[Exchange, list[Exchange]] = {}
        for question, groups in rounds:
            there = [tuple(group) for group in groups if self.all[group[0]].state not in gone]
            free = [group for group in there if not any(at in kept for at in group)]
            whole = len(free) == len(there)
            ends = not users or question != users[-1]  # somebody speaks after it
            asked = (
                question is not None
                and question not in (users[0], users[-1])
                and question not in kept
                and self.all[question].state not in gone
            )
            if ends and not whole and there[-1] in free:
                free.remove(there[-1])  # what stays of a round needs the answer at its end
            if whole and asked and question is not None:
                free[-1:] = [(question, *(free[-1] if free else ()))]
            if ends and whole and free:
                after[free[-1]] = free[:-1]
            found += free
        return found, after

    def users(self) -> list[int]:
        """Places of what the user said."""
        return [n for n, entry in enumerate(self.all) if isinstance(entry.message, UserMessage)]


# --- which of it goes ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stub:
    """What an old result may become, and how many tokens that takes."""

    message: ToolMessage
    tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to leave out.

    Attributes:
        clear: Results that become stubs, by their place in the conversation.
        drop: Places of the messages that are dropped.
        tokens: What the prompt takes then, about: what closes a turn may change by a token or two.
        summary: How a summary of what is dropped is written; None where none is.
        summarized: Those of the dropped messages that it is to stand for.
    """

    clear: Mapping[int, ToolMessage]
    drop: Sequence[int]
    tokens: int
    summary: Summarize | None = None
    summarized: Sequence[int] = ()

    @property
    def cleared(self) -> tuple[str, ...]:
        """Ids of the calls whose results become stubs."""
        return tuple(stub.call_id for stub in self.clear.values())


def plan(
    past: Past,
    strategies: Sequence[Strategy],
    sizes: Mapping[int, int],
    stubs: Mapping[int, Stub],
    *,
    tokens: int,
    target: int,
    summary_tokens: int = 0,
) -> Plan:
    """Leaves out what the strategies name, in their order, until the target is met.

    Args:
        past: What may go.
        strategies: What names it.
        sizes: Tokens of each message as it is sent, by its place.
        stubs: What each result that may go would become.
        tokens: What the prompt takes now.
        target: What it shall take then.
        summary_tokens: What a summary takes at most.

    Raises:
        ValueError: A strategy names what may not go.
    """
    known = frozenset(past.exchanges)
    chosen = _Choice(past, known, stubs, dict(sizes), tokens, summary_tokens)
    for strategy in strategies:
        for move in strategy.moves(past):
            if chosen.tokens <= target:
                break
            chosen.make(move, strategy)
    summary, summarized = chosen.summary, chosen.summarized
    if summary is not None and sum(sizes[at] for at in summarized) <= summary_tokens:
        chosen.tokens -= summary_tokens  # it would be as long as what it stands for
        summary, summarized = None, []
    gone = set(chosen.drop)
    clear = {at: sent for at, sent in chosen.clear.items() if at not in gone}
    return Plan(clear, chosen.drop, chosen.tokens, summary, summarized)


@dataclass(slots=True)
class _Choice:
    """A plan in the making.

    Attributes:
        left: Tokens of the messages that are not dropped.
    """

    past: Past
    exchanges: frozenset[Exchange]
    stubs: Mapping[int, Stub]
    left: dict[int, int]
    tokens: int
    summary_tokens: int
    clear: dict[int, ToolMessage] = field(default_factory=dict)
    drop: list[int] = field(default_factory=list)
    summary: Summarize | None = None
    summarized: list[int] = field(default_factory=list)

    def make(self, move: Move, strategy: Strategy) -> None:
        """Takes over what a strategy names, as far as it may and helps."""
        if isinstance(move, Clear):
            if (stub := self.stubs.get(move.at)) is None:
                raise ValueError(f"{strategy} clears {move.at}, which is none of Past.results")
            if stub.tokens < self.left.get(move.at, 0):
                self.tokens -= self.left[move.at] - stub.tokens
                self.left[move.at], self.clear[move.at] = stub.tokens, stub.message
            return
        if move.exchange not in self.exchanges:
            raise ValueError(f"{strategy} drops {move.exchange}, which is none of Past.exchanges")
        there = [at for at in move.exchange if at in self.left]
        if not there or any(
            each[0] in self.left for each in self.past.after.get(move.exchange, ())
        ):
            return
        if move.summary is not None:
            self.tokens += 0 if self.summary is not None else self.summary_tokens
            self.summary = self.summary or move.summary
            self.summarized += there
        self.drop += there
        self.tokens -= sum(self.left.pop(at) for at in there)


def level(sizes: Iterable[int], excess: int) -> int:
    """The size down to which the longest must be cut so that all together lose that much."""
    known = list(sizes)
    low, high = 0, max(known, default=0)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(max(size - middle, 0) for size in known) >= excess:
            low = middle
        else:
            high = middle - 1
    return low
