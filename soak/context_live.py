"""30 conversations of 20 to 78 steps on a real vLLM, in a window of 8,192 tokens and in 32,768.

The bundled checkpoint's server counts each prompt and says how much of it came out of its prefix
cache; what the model says is a script's (`tests/live/test_context.py`): calls at once, thoughts,
many scripts of the world, results longer than the window.

- every prompt is foreseen to the token, and none is refused;
- where a request only adds to the one before, at least 95 % of the whole blocks that both share
  come out of the cache;
- the share of all queried tokens that did, by the server's `/metrics`.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from math import gcd
from typing import Final

import anyio

from agentkit.events import PromptTokens
from soak.live import asked_server, client
from soak.proof import prove

_BATCHES: Final = 30
_WINDOWS: Final = (8_192, 32_768)
_KEPT: Final = 0.95


def warm(prompts: Sequence[PromptTokens], block: int) -> Iterator[tuple[int, int]]:
    """Of each request that only adds to the one before: how many tokens came out of the cache, and
    how many whole blocks allow.

    What makes the model go on is not repeated by the history: it may cost the last block.
    """
    for before, now in pairwise(prompts):
        if now.counted > before.counted:
            yield now.cached, max(before.counted // block - 1, 0) * block


def batch(number: int) -> dict[str, int]:
    """One conversation."""
    from tests.live.test_context import converse  # noqa: PLC0415 - it reads the server's address

    runs = 1 + number % 2
    results, _ = anyio.run(partial(converse, number, tokenizer=number % 3 == 2, runs=runs))
    counts: Counter[str] = Counter(conversations=1)
    for result in results:
        assert result.stop_reason == "answer", result.explanation
        prompts = result.context.prompts
        wrong = [each for each in prompts if not each.exact or each.foreseen != each.counted]
        assert not wrong, f"conversation {number}: {wrong}"
        block = gcd(*(each.cached for each in prompts)) or 1
        kept = list(warm(prompts, block))
        cold = [pair for pair in kept if pair[0] < _KEPT * pair[1]]
        assert not cold, f"conversation {number}: cached and allowed {cold}, blocks of {block}"
        counts["steps foreseen to the token"] += len(prompts)
        counts["compactions"] += result.context.compactions
        counts["steps that only add"] += len(kept)
        counts["tokens that blocks allow on these"] += sum(allowed for _, allowed in kept)
        counts["tokens out of the cache on these"] += sum(cached for cached, _ in kept)
    return dict(counts)


def hit_ratio() -> float:
    """The share of the queried tokens that came out of the cache, by the server's own count."""
    with client() as asking:
        told = asking.get("/metrics").text
    hits, queries = (  # counters of all models and engines
        sum(
            float(value)
            for value in re.findall(rf"^vllm:prefix_cache_{name}_total.* (\S+)$", told, re.M)
        )
        for name in ("hits", "queries")
    )
    return hits / queries if queries else 0.0


def main() -> int:
    """Runs the proof once for each window, on a server of its own unless the variables name one."""
    named = os.environ.get("AGENTKIT_LIVE_URL")
    for window in _WINDOWS[: 1 if named else None]:
        with asked_server("tiny", window=window):
            part = "context_live" if named else f"context_live_{window}"
            code = prove(part, _BATCHES, batch, jobs=1)
            print(f"{part}: {hit_ratio():.1%} of the queried tokens were cached")
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
