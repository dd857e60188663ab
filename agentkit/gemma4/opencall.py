"""The call that is being written: its pieces so far, and where it may end."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from agentkit.gemma4.calls import header_of
from agentkit.gemma4.lexer import Control
from agentkit.gemma4.tokens import CALL_OPEN

__all__ = ["OpenCall", "Outer"]

Outer: TypeAlias = Literal["text", "thought"]

_BRACES = re.compile(r"[{}()]")
_LONGEST_HEADER: Final = 256
"""Characters; a text that goes on for longer without a brace is no call."""


@dataclass(slots=True)
class OpenCall:
    """The call that is being written.

    Attributes:
        start: Where it begins in the reply, in characters.
        outer: What it stands in, to go back to if it is no call.
        index: Which call of the reply it is, from 0.
        pieces: Everything behind `<|tool_call>`.
        ends: Positions in `pieces` of each `<tool_call|>` inside a string.
        in_string: The quote token was seen an odd number of times.
        depth: Braces that are open, for a call without control tokens.
        head: Pieces before the name is known.
        name: The tool's name, once its brace has come.
    """

    start: int = 0
    outer: Outer = "text"
    index: int = 0
    pieces: list[str] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    in_string: bool = False
    depth: int = 0
    head: list[str] = field(default_factory=list)
    name: str | None = None

    def show(self, piece: str) -> tuple[str, str] | None:
        """Name and further argument text, once the name is known."""
        if self.name is not None:
            return self.name, piece
        self.head.append(piece)
        if "{" not in piece and "(" not in piece:
            return None
        head = "".join(self.head)
        found = header_of(head)
        if found is None:
            return None
        self.name = found[0]
        return self.name, head[found[1] :]

    def may_be_call(self) -> bool:
        """Whether the beginning looks like `call:NAME{` or a JSON call, however it was cut."""
        head = "".join(self.head).lstrip()
        brace = _BRACES.search(head)
        length = brace.start() if brace else len(head)
        return length < _LONGEST_HEADER and ("call:".startswith(head[:5]) or head[0] in ":{")

    def early_end(self) -> int | None:
        """The first `<tool_call|>` in a string behind which a reply could go on or end."""
        for end in self.ends:
            following = end + 1
            while following < len(self.pieces) and self.pieces[following].isspace():
                following += 1
            if following == len(self.pieces) or _is(self.pieces[following], CALL_OPEN):
                return end
        return None

    def closing_brace(self, piece: str) -> int | None:
        """Where the brace that closes the arguments ends in this piece, counting along."""
        if self.in_string:
            return None
        for brace in _BRACES.finditer(piece):
            self.depth += 1 if brace[0] in "{(" else -1
            if self.depth == 0:
                return brace.end()
        return None


def _is(piece: str, literal: str) -> bool:
    return isinstance(piece, Control) and piece == literal
