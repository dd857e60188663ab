"""2,000 calls that random weights were forced to write, on a real vLLM, each valid.

Fifty tools, one for every construct; required, named, one-call and up-to-three-call modes; with
and without a thought; after a tool's result and not; streamed and not. Beside them strict auto,
calls whose beginning is spelled in ordinary tokens, and strings that nothing bounds. The record
also holds what the constraint costs.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import httpx2

from agentkit.gemma4.grammar import compile_grammar, compile_tool
from agentkit.messages import ToolChoice
from agentkit.schema.lower import lower
from soak.live import asked_server, checked, client, tokenizer
from soak.proof import FOLDER, prove, write_record
from tests.live.constrained import (
    auto_cases,
    closing_tokens,
    forced_cases,
    offered,
    spelled_cases,
    unbounded_cases,
)
from tests.live.server import MODEL
from tests.schema.corpus import systematic

_BATCHES = 50
_AT_ONCE = 12
_AUTO_SEEDS = 2
_TOKENS = 100
_REPEATS = 12
_CHECKPOINT = "random:20260731"


def batch(number: int) -> dict[str, int]:
    """Every combination of modes once, by its own seed."""
    groups = {
        "forced": forced_cases(number),
        "auto": [case for k in range(_AUTO_SEEDS) for case in auto_cases(1_000 * k + number)],
        "spelled": spelled_cases(number),
        "unbounded": unbounded_cases(number),
    }
    counts: Counter[str] = Counter()
    closing = closing_tokens(tokenizer())
    with client() as asking, ThreadPoolExecutor(_AT_ONCE) as threads:
        for group, cases in groups.items():
            ending = [replace(case, closing=closing) for case in cases]
            for one in threads.map(partial(checked, asking), ending):
                counts.update({f"{group} {what}": count for what, count in one.items()})
    return counts


# --- cost --------------------------------------------------------------------------------------


def costs() -> dict[str, float]:
    """Milliseconds a token with and without the constraint; seconds to compile 100 tools."""
    with client() as asking:
        free = [_per_token(asking, {}, seed) for seed in range(_REPEATS)]
        grammars = [tool.grammar for tool in offered()]
        tag = compile_grammar(grammars, ToolChoice()).structured_outputs
        _per_token(asking, {"structured_outputs": tag}, 0)  # compiles
        tagged = [_per_token(asking, {"structured_outputs": tag}, s) for s in range(_REPEATS)]
        started = time.perf_counter()
        hundred = [compile_tool(lower(definition)) for definition in systematic()[:100]]
        many = compile_grammar(hundred, ToolChoice()).structured_outputs
        ours = time.perf_counter() - started
        first = _seconds(asking, {"structured_outputs": many}, 1)
        again = _seconds(asking, {"structured_outputs": many}, 1)
    return {
        "milliseconds a token, free": round(statistics.median(free), 2),
        "milliseconds a token, strict auto over 50 tools": round(statistics.median(tagged), 2),
        "seconds to lower and write the grammar of 100 tools": round(ours, 3),
        "seconds more for vLLM's first request with 100 tools": round(first - again, 3),
    }


def _per_token(asking: httpx2.Client, fields: dict[str, Any], seed: int) -> float:
    return 1_000 * _seconds(asking, fields, _TOKENS, seed) / _TOKENS


def _seconds(asking: httpx2.Client, fields: dict[str, Any], tokens: int, seed: int = 0) -> float:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Say something."}],
        "max_tokens": tokens,
        "min_tokens": tokens,
        "seed": seed,
        **fields,
    }
    started = time.perf_counter()
    response = asking.post("/v1/chat/completions", json=body)
    assert response.is_success, response.text[:500]
    return time.perf_counter() - started


def main() -> int:
    """Runs the proof against a server of random weights, and measures what the constraint costs."""
    with asked_server(_CHECKPOINT):
        code = prove("grammar", _BATCHES, batch)
        if code == 0:
            shown = json.loads((FOLDER / "grammar.json").read_text(encoding="utf-8"))
            weights = {"weights": os.environ["AGENTKIT_LIVE_CHECKPOINT"], "costs": costs()}
            write_record("grammar", shown | weights)
        return code


if __name__ == "__main__":
    sys.exit(main())
