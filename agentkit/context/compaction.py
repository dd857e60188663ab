"""Which messages make room: choices over sizes in tokens, the same for the same input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agentkit.context.entries import Entries
from agentkit.messages import ToolMessage


@dataclass(frozen=True, slots=True)
class Stub:
    """What an old result may become, and its tokens."""

    message: ToolMessage
    tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to leave out.

    Attributes:
        clear: Results that become stubs, by their place in the conversation.
        drop: Places of the messages that are dropped.
        tokens: Of the prompt then, about: what closes a turn may change by a token or two.
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
        tokens: Of the prompt now.
        target: Of the prompt then.
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
