"""The conversation as the window sees it: what is kept for good, and what may go, oldest first."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from agentkit.context.shortened import with_note
from agentkit.messages import AssistantMessage, Message, ToolMessage, UserMessage

_State: TypeAlias = Literal["whole", "shortened", "cleared", "dropped"]


@dataclass(slots=True)
class Entry:
    """One message.

    Attributes:
        message: As it stands in the history.
        sent: As it is sent.
        state: What was done to it.
    """

    message: Message
    sent: Message
    state: _State = "whole"


class Entries:
    """All messages but the instructions, with what is sent of each.

    Args:
        kept: Names of tools whose newest result stays, call and all.
    """

    def __init__(self, kept: Container[str] = frozenset()) -> None:
        self._kept = kept
        self.all: list[Entry] = []
        self._messages: list[Message] = []
        self._sent: list[Message] = []

    def news(self, messages: Sequence[Message]) -> Sequence[Message]:
        """What these messages add; when they go on from others, everything is new."""
        known = len(self._messages)
        if self._messages != list(messages[:known]):
            self.all.clear()
            self._messages.clear()
            self._sent.clear()
            known = 0
        return messages[known:]

    def add(self, message: Message, sent: Message) -> None:
        """A new message."""
        shortened = sent is not message
        self.all.append(Entry(message, sent, "shortened" if shortened else "whole"))
        self._messages.append(message)
        self._sent.append(sent)

    @property
    def sent(self) -> list[Message]:
        """What is sent."""
        return self._sent

    def of(self, state: _State) -> list[Entry]:
        """The entries of a state."""
        return [entry for entry in self.all if entry.state == state]

    def rebuild(self) -> None:
        """Takes over what was changed in the entries."""
        dropped = len(self.of("dropped"))
        first = self._first_user()
        if dropped and first is not None:
            message = self.all[first].message
            assert isinstance(message, UserMessage)
            self.all[first].sent = with_note(message, dropped)
        self._sent = [entry.sent for entry in self.all if entry.state != "dropped"]

    def places(self) -> dict[int, int]:
        """Where each entry that is sent stands among those: place in `all` → place in `sent`."""
        kept = (n for n, entry in enumerate(self.all) if entry.state != "dropped")
        return {at: place for place, at in enumerate(kept)}

    # --- what may go ---------------------------------------------------------------------------

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
        return [group for question, groups in rounds for group in self._of_round(question, groups)]

    def _of_round(self, question: int | None, groups: list[list[int]]) -> list[list[int]]:
        """A round's groups that are still there; its question goes with the last of them."""
        result = self._kept_result()
        there = [group for group in groups if self.all[group[0]].state != "dropped"]
        live = [group for group in there if result not in group]
        kept = (None, self._first_user(), self._last_user())
        if question in kept or len(live) < len(there) or self.all[question or 0].state == "dropped":
            return live
        return [*live[:-1], [question or 0, *(live[-1] if live else [])]]

    def _first_user(self) -> int | None:
        users = (n for n, e in enumerate(self.all) if isinstance(e.message, UserMessage))
        return next(users, None)

    def _last_user(self) -> int | None:
        backwards = range(len(self.all) - 1, -1, -1)
        return next((n for n in backwards if isinstance(self.all[n].message, UserMessage)), None)
