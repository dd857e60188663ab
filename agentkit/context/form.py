"""How a model's prompts are made and counted, and what the window asks to have counted.

Counting needs a tokenizer, often one behind a network, so nothing here counts: what must be known
is asked for (`CountTexts`, `CountPrompt`) and answered by who drives the window.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, Literal, TypeAlias, TypeVar

from agentkit.gemma4.profiles import Profile
from agentkit.gemma4.render import Declaration, Generation
from agentkit.messages import Message, ModelRequest

T = TypeVar("T")

Counting: TypeAlias = Literal["pieces", "whole", "estimate"]
"""`pieces`: the server's prompt is the one that we render, so the tokens of its pieces add up.
`whole`: its template is another; the tokens of each whole prompt have to be asked for.
`estimate`: nobody can be asked."""


@dataclass(frozen=True, slots=True)
class CountTexts:
    """Asks for the tokens of each text, control tokens spelled out."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CountPrompt:
    """Asks for the tokens of the whole prompt that a request would make."""

    request: ModelRequest


Count: TypeAlias = CountTexts | CountPrompt

Steps: TypeAlias = Generator[Count, Sequence[int] | None, T]
"""Work that asks for counts on its way; None answers that nobody can count."""


class TokenCounts:
    """Remembers the tokens of texts that were counted, by their digest.

    Args:
        limit: Most texts remembered.
    """

    def __init__(self, limit: int = 16_384) -> None:
        self._limit = limit
        self._known: OrderedDict[bytes, int] = OrderedDict()

    def get(self, text: str) -> int | None:
        """The tokens of a text, if they were counted."""
        return self._known.get(_digest(text))

    def put(self, text: str, tokens: int) -> None:
        """Remembers them."""
        self._known[_digest(text)] = tokens
        if len(self._known) > self._limit:
            self._known.popitem(last=False)


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptForm:
    """What a model makes of a request.

    Attributes:
        declarations: The tools as the model is told of them.
        outgoing: A message as the model is given it.
        generation: How the template is asked to render.
        profile: The model, within the window that it is served with; None where nobody knows.
        reply_tokens: Most tokens of a reply where the request does not say.
        counting: How its prompts can be counted.
        asks: Whether each count is a request to a server, which is spared while there is room.
        known: Texts that were counted already, in this run or another.
    """

    declarations: Sequence[Declaration] = ()
    outgoing: Callable[[Message], Message] = lambda message: message
    generation: Generation = field(default_factory=Generation)
    profile: Profile | None = None
    reply_tokens: int = 0
    counting: Counting = "estimate"
    asks: bool = False
    known: TokenCounts = field(default_factory=TokenCounts)


_LETTERS: Final = str.maketrans(
    dict.fromkeys("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
)


def estimated_tokens(text: str) -> int:
    """Tokens of a text by its letters, more rather than less.

    Two letters or spaces count as one token (English text has about four in one), everything else
    as one for each byte: Gemma's tokenizer writes digit by digit, and falls back to bytes.
    """
    rest = text.translate(_LETTERS)
    other = len(rest.encode("utf-8", "replace"))
    return (len(text) - len(rest) + 1) // 2 + other
