"""A reply that repeats itself, noticed while it is written.

A model in a loop writes the same tokens over and over until its bound, and nothing after the second
or third time is news. What is looked for is an exact period: every symbol equals the one a fixed
distance before it, for many periods and for long. Honest text has none of that length, however
regular it looks: in a table, a list of numbers or base64 something changes from row to row.

One step costs the same however long the reply is. The distance is a guess that is kept while it
holds; when it fails, the next guess leads to where the last few symbols were seen before. A period
that holds blanks or other small repeats is found all the same: the guess that it fails at sets it
right once in each period.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

from agentkit.events import ModelEvent, ReasoningDelta, TextDelta, ToolCallDelta
from agentkit.wire import Reply

_TOKENS: Final = 512
"""Tokens that must repeat before a reply is given up. Of 1,824 files of code, data and prose, in a
real Gemma's tokens, one has a repeat of even 64 tokens (a data file of equal rows):
`python -m benchmarks.repeats`.
"""

_CHARACTERS: Final = 4 * _TOKENS
"""The same where only text is known, at four characters a token."""

_TIMES: Final = 6
"""How often a period must come again."""

_GRAM: Final = 6
"""Symbols that a guess goes by."""


class Repeats:
    """Watches one reply.

    Args:
        least: Symbols that must repeat.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._seen: list[Hashable] = []
        self._looked_at = 0  # symbols; what is shorter than a loop is not looked at
        self._last: dict[tuple[Hashable, ...], int] = {}  # where a gram ended last
        self._distance = 0  # of the guess; 0 for none
        self._held = 0  # symbols for which it has held

    def feed(self, symbols: Sequence[Hashable]) -> bool:
        """Takes the next symbols, such as token ids or characters; whether the end of what was
        written so far is a loop.
        """
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
        return bool(self._distance) and self._held >= max(self._least, _TIMES * self._distance)


class RepeatWatch:
    """Watches a reply as it arrives: its tokens, or its text where a server sends no tokens."""

    def __init__(self) -> None:
        self._tokens = Repeats(_TOKENS)
        self._characters = Repeats(_CHARACTERS)
        self._taken = 0

    def sees_loop(self, reply: Reply, events: Sequence[ModelEvent]) -> bool:
        """Whether the end of the reply, as far as it has come, repeats itself.

        Args:
            reply: As far as it has come.
            events: What the newest part of it shows.
        """
        loops = False
        if reply.token_ids:
            loops = self._tokens.feed(reply.token_ids[self._taken :])
            self._taken = len(reply.token_ids)
            return loops
        for event in events:
            if isinstance(event, ToolCallDelta):
                # Where no arguments came, it is the name that is being written.
                loops = self._characters.feed(event.arguments or event.name)
            elif isinstance(event, TextDelta | ReasoningDelta):
                loops = self._characters.feed(event.text)
        return loops
