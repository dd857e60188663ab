"""100,000 hostile texts in every slot of a prompt, through the tokenizer of a real vLLM: no text
becomes a control token.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache

import httpx2

from soak.proof import prove
from tests.live.forging import Tokenizer, check_slots
from tests.live.server import checkpoint_folder, live_server

_BATCHES = 200
_TEXTS = 500


def batch(number: int) -> dict[str, int]:
    """So many texts, each in every slot."""
    return check_slots(_tokenizer(), number, _TEXTS)


@cache
def _tokenizer() -> Tokenizer:
    headers = {"authorization": f"Bearer {os.environ['AGENTKIT_LIVE_KEY']}"}
    url = os.environ["AGENTKIT_LIVE_URL"]
    client = httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=300.0)
    return Tokenizer(client)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the proof against a server that it starts, or the one that AGENTKIT_LIVE_URL names."""
    if os.environ.get("AGENTKIT_LIVE_URL"):
        return prove("forging", _BATCHES, batch, argv)
    with live_server(checkpoint_folder("tiny")) as server:
        os.environ["AGENTKIT_LIVE_URL"] = server.url
        os.environ["AGENTKIT_LIVE_KEY"] = server.api_key
        return prove("forging", _BATCHES, batch, argv)


if __name__ == "__main__":
    sys.exit(main())
