"""How a conversation makes room: what may go, what stands in its place, and which of it goes.

In: the messages, and how many tokens each of them takes. Out: what is sent of each: itself, a
preview, a stub (a line that says it is gone), or nothing; `agentkit.context.previews` words them.
The choices go by sizes alone and are the same for the same input; the history itself is never
changed.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from agentkit.context.previews import with_note
from agentkit.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage

# --- what may go ---------------------------------------------------------------------------------

State: TypeAlias = Literal["whole", "shortened", "cleared", "dropped"]


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

    Args:
        kept: Names of tools whose newest result stays, call and all.
        recall: Whether the note at the task may name the tool `recall`.
    """

    def __init__(self, kept: Container[str] = frozenset(), *, recall: bool = False) -> None:
        self._kept = kept
        self._recall = recall
        self.all: list[Entry] = []
        self._messages: list[Message] = []
        self._sent: list[Message] = []

    def new_messages(self, messages: Sequence[Message]) -> Sequence[Message]:
        """What these add to the messages that are known; all, where they go on from others."""
        known = len(self._messages)
        if self._messages != list(messages[:known]):
            self.all.clear()
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
        dropped = len(self.of("dropped"))
        if dropped and (users := self.users()):
            task = self.all[users[0]]
            assert isinstance(task.message, UserMessage)
            task.sent = with_note(task.message, dropped, recall=self._recall)
        self._sent = [entry.sent for entry in self.all if entry.state != "dropped"]

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

    def clearable(self) -> list[int]:
        """Results that may become stubs, oldest first."""
        kept = self._kept_result()
        return [
            at
            for at, entry in enumerate(self.all[: self.newest()])
            if isinstance(entry.message, ToolMessage)
            and entry.state in ("whole", "shortened")
            and at != kept
        ]

    def _kept_result(self) -> int | None:
        for at in range(len(self.all) - 1, -1, -1):
            message = self.all[at].message
            if isinstance(message, ToolMessage) and message.name in self._kept:
                return at
        return None

    def droppable(self) -> list[list[int]]:
        """Exchanges that may be left out, oldest first; each is a group that stays together.

        The first and the last thing that the user said stay, and so do the newest exchange and the
        one whose result is kept.
        """
        rounds: list[tuple[int | None, list[list[int]]]] = [(None, [])]
        for at, entry in enumerate(self.all[: self.newest()]):
            if isinstance(entry.message, UserMessage):
                rounds.append((at, []))
            elif isinstance(entry.message, AssistantMessage):
                rounds[-1][1].append([at])
            elif rounds[-1][1]:
                rounds[-1][1][-1].append(at)
        users, result = self.users(), self._kept_result()
        found: list[list[int]] = []
        for question, groups in rounds:
            there = [group for group in groups if self.all[group[0]].state != "dropped"]
            free = [group for group in there if result not in group]
            if (
                question is not None
                and question not in (users[0], users[-1])
                and self.all[question].state != "dropped"
                and len(free) == len(there)
            ):  # a question goes together with the last of its answers, never before
                free[-1:] = [[question, *(free[-1] if free else [])]]
            found += free
        return found

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
    """

    clear: Mapping[int, ToolMessage]
    drop: Sequence[int]
    tokens: int


def plan(
    entries: Entries,
    sizes: Mapping[int, int],
    stubs: Mapping[int, Stub],
    *,
    tokens: int,
    target: int,
) -> Plan:
    """Clears old results, then drops old exchanges, oldest first, until the target is met.

    Args:
        entries: The conversation.
        sizes: Tokens of each message as it is sent, by its place.
        stubs: What each result that may go would become, oldest first.
        tokens: What the prompt takes now.
        target: What it shall take then.
    """
    left = dict(sizes)
    clear: dict[int, ToolMessage] = {}
    for at, stub in stubs.items():
        if tokens > target and stub.tokens < left[at]:
            tokens -= left[at] - stub.tokens
            left[at], clear[at] = stub.tokens, stub.message
    drop: list[int] = []
    for group in entries.droppable():
        if tokens > target:
            tokens -= sum(left.get(at, 0) for at in group)
            drop += group
    gone = set(drop)
    return Plan({at: sent for at, sent in clear.items() if at not in gone}, drop, tokens)


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
