"""100,000 hostile texts in every slot of a prompt: nothing forged, every text back exactly."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import islice

from agentkit.gemma4.escape import Escape
from soak.proof import prove
from tests.gemma4.hostile import SLOTS, forged, hostile_texts

_BATCHES = 100
_TEXTS = 1_000


def batch(number: int) -> dict[str, int]:
    """That many texts, each in every slot."""
    escape = Escape()
    counts: Counter[str] = Counter()
    for text in islice(hostile_texts(number), _TEXTS):
        for open_end in (False, True):
            escaped = escape.escape(text, open_end=open_end)
            assert escape.unescape(escaped, open_end=open_end) == text, repr(text)
        counts["texts"] += 1
        if not text.strip():  # a blank text changes the structure around it
            continue
        for slot in SLOTS:
            assert forged(slot, text, escape) == 0, (slot, text)
            counts["prompts without a forged token"] += 1
    return counts


if __name__ == "__main__":
    sys.exit(prove("escape", _BATCHES, batch))
