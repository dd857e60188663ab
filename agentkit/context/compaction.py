"""How a conversation makes room: what may go, what stands in its place, and which of it goes.

In: the messages, and how many tokens each of them takes. Out: what is sent of each: itself, a
preview (its beginning and its end), a stub (a line that says it is gone), or nothing. The choices
go by sizes alone and are the same for the same input; the history itself is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from agentkit.messages import (
    AssistantMessage,
    Content,
    JsonObject,
    Message,
    TextPart,
    ToolDefinition,
    ToolMessage,
    UserMessage,
    text_of,
)

# --- what may go ---------------------------------------------------------------------------------

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

    Attributes:
        all: One entry for each message.

    Args:
        kept: Names of tools whose newest result stays, call and all.
    """

    def __init__(self, kept: Container[str] = frozenset()) -> None:
        self._kept = kept
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

    def add(self, message: Message, sent: Message) -> None:
        """Takes in a new message, and what is sent of it."""
        shortened = sent is not message
        self.all.append(Entry(message, sent, "shortened" if shortened else "whole"))
        self._messages.append(message)
        self._sent.append(sent)

    @property
    def sent(self) -> list[Message]:
        """What is sent of all of them."""
        return self._sent

    def of(self, state: _State) -> list[Entry]:
        """The entries to which that was done."""
        return [entry for entry in self.all if entry.state == state]

    def rebuild(self) -> None:
        """Takes over what was changed in the entries."""
        dropped = len(self.of("dropped"))
        if dropped and (users := self._users()):
            task = self.all[users[0]]
            assert isinstance(task.message, UserMessage)
            task.sent = with_note(task.message, dropped)
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
        users, result = self._users(), self._kept_result()
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

    def _users(self) -> list[int]:
        """Places of what the user said."""
        return [n for n, entry in enumerate(self.all) if isinstance(entry.message, UserMessage)]


# --- what stands in its place --------------------------------------------------------------------

_LEAST = 40
"""Characters of a result that a preview shows at least, however little room there is."""

_ANY_TOOL: Final = "Ask for a smaller part of it if you need what is missing."


def preview(message: ToolMessage, characters: int, remedy: str = _ANY_TOOL) -> ToolMessage:
    """A result with the middle of its text left out, which it says.

    Args:
        message: The whole result.
        characters: How many of its text are kept, about: two thirds from the beginning, the rest
            from the end, cut between lines where one ends nearby.
        remedy: How to ask for what is left out; see `ask_for_less`.
    """
    content = message.content
    if isinstance(content, str):
        return replace(message, content=_cut(content, characters, remedy))
    whole = max(len(text_of(content)), 1)
    parts = (
        TextPart(_cut(part.text, characters * len(part.text) // whole, remedy))
        if isinstance(part, TextPart)
        else part
        for part in content
    )
    return replace(message, content=tuple(parts))


def _cut(text: str, characters: int, remedy: str) -> str:
    characters = max(characters, _LEAST)
    if len(text) <= characters:
        return text
    head = characters * 2 // 3
    tail = len(text) - (characters - head)
    # Between lines, where one ends within an eighth of the way.
    if (found := text.rfind("\n", head - head // 8, head)) >= 0:
        head = found
    if (found := text.find("\n", tail, tail + (len(text) - tail) // 8)) >= 0:
        tail = found + 1
    if tail <= head:
        return text
    note = (
        f"[… {tail - head} of {len(text)} characters are left out here: the result is too long to "
        f"be read at once. {remedy} …]"
    )
    return f"{text[:head]}\n{note}\n{text[tail:]}"


def ask_for_less(tool: ToolDefinition | None) -> str:
    """How the rest of a long result can be asked for, by the parameters that its tool has.

    Args:
        tool: As the model is told of it; None where it is not offered any more.
    """
    if tool is None:
        return _ANY_TOOL
    properties: JsonObject = tool.parameters.get("properties") or {}
    ranges = [name for name, schema in properties.items() if _is_range(name, schema)]
    if ranges:
        return f"Call {tool.name} again with {' and '.join(ranges)} set to what is missing."
    if properties:
        names = " or ".join(properties)
        return f"If you need what is missing, call {tool.name} for less at once, by its {names}."
    return f"{tool.name} takes no arguments: what is missing cannot be asked for."


_RANGE_WORDS: Final = re.compile(
    r"begin|chunk|count|cursor|end|first|from|head|index|last|length|limit|lines?|max|n|number"
    r"|offset|page|part|position|range|size|skip|start|tail|to|top"
)


def _is_range(name: str, schema: Any) -> bool:
    """Whether a parameter chooses a part of something: a number with such a name."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
    numeric = isinstance(schema, dict) and re.search(r"'(integer|number)'", str(schema)[:1_000])
    return bool(numeric) and any(_RANGE_WORDS.fullmatch(word) for word in words)


def stub(message: ToolMessage, tokens: int, *, repeatable: bool) -> ToolMessage:
    """A line in place of an old result: what it was, and how to have it again.

    Args:
        message: The result.
        tokens: It takes so many.
        repeatable: Whether the call may simply be made again.
    """
    again = (
        f"Call {message.name} again with the same arguments if you need it."
        if repeatable
        else "The call itself was carried out: do not repeat it only to read this again."
    )
    failed = " It was an error." if message.is_error else ""
    text = f"[This old result of {message.name}, {tokens} tokens, is left out.{failed} {again}]"
    return replace(message, content=text)


def with_note(message: UserMessage, dropped: int) -> UserMessage:
    """The task, with the remark that messages after it are left out."""
    note = f"[{dropped} older messages that followed this one are left out to save space.]"
    content: Content = message.content
    if isinstance(content, str):
        return replace(message, content=f"{content}\n\n{note}")
    return replace(message, content=(*content, TextPart(f"\n\n{note}")))


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
