"""100,000 hostile texts in every slot of a prompt, through the tokenizer of a real vLLM: no text
becomes a control token.
"""

from __future__ import annotations

import sys
from functools import cache

from soak.live import asked_server, client
from soak.proof import prove
from tests.live.forging import Tokenizer, check_slots

_BATCHES = 200
_TEXTS = 500


def batch(number: int) -> dict[str, int]:
    """So many texts, each in every slot."""
    return check_slots(_tokenizer(), number, _TEXTS)


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer(client())


if __name__ == "__main__":
    with asked_server("tiny"):
        sys.exit(prove("forging", _BATCHES, batch))
