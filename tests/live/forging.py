"""Hostile texts in every slot of a prompt, counted by the served tokenizer itself.

Shared by the live test and `make soak PART=forging`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

import httpx2

from agentkit.gemma4.escape import Escape
from agentkit.gemma4.tokens import CONTROL_LITERALS, IDS
from agentkit.wire import read_special_tokens
from tests.gemma4.hostile import SLOTS, escaped, hostile_texts, prompt_of
from tests.live.server import MODEL

_AT_ONCE = 40
"""Prompts in one request: about 8,000 tokens, a window full."""


class Tokenizer:
    """The tokenizer of a running server.

    Args:
        client: Knows the server's address and key.
    """

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client
        info: dict[str, Any] = client.get("/tokenizer_info").raise_for_status().json()
        self.special = frozenset(IDS.values())
        self.escape = Escape({*CONTROL_LITERALS, *read_special_tokens(info)})
        self.implied = cache(self._implied)

    def controls(self, text: str) -> int:
        """Control tokens that the server finds in a text."""
        body = {"model": MODEL, "prompt": text, "add_special_tokens": False}
        answer = self._client.post("/tokenize", json=body).raise_for_status().json()
        return sum(number in self.special for number in answer["tokens"])

    def _implied(self, slot: str) -> int:
        """Those of the structure alone: of a harmless text in the slot."""
        return self.controls(prompt_of(SLOTS[slot]("xx")))


def check_slots(tokenizer: Tokenizer, seed: int, texts: int) -> Counter[str]:
    """So many texts in every slot.

    Raises:
        AssertionError: A text became a control token; the message holds slot and text.
    """
    counts: Counter[str] = Counter()
    for some in _shares(_placed(seed, texts)):
        prompts = [prompt_of(escaped(SLOTS[slot](text), tokenizer.escape)) for slot, text in some]
        expected = sum(tokenizer.implied(slot) for slot, _ in some)
        if tokenizer.controls("".join(prompts)) != expected:
            for (slot, text), prompt in zip(some, prompts, strict=True):
                assert tokenizer.controls(prompt) == tokenizer.implied(slot), (slot, text)
            raise AssertionError(f"prompts forge a token between them: {prompts!r}")
        counts["prompts without a forged token"] += len(some)
    counts["texts"] += texts
    return counts


def _placed(seed: int, texts: int) -> Iterator[tuple[str, str]]:
    for text in islice(hostile_texts(seed), texts):
        if text.strip():  # a blank text changes the structure around it
            yield from ((slot, text) for slot in SLOTS)


def _shares(placed: Iterator[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    while some := list(islice(placed, _AT_ONCE)):
        yield some
