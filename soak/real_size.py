"""What a step costs and whether it is sound on a real vLLM with a real Gemma's vocabulary.

A checkpoint of random weights with 262,144 tokens, Gemma's own tokenizer and a window of 32K:

- calls that a grammar forces, and calls in strict auto, each valid by the schema. Random weights do
  not find the few tokens that close a text or a number, so those are made likelier;
- the speed of forced calls with bounded texts against a grammar that lets any text through, one
  after the other in the same minute, with 1 and with 8 requests at once;
- conversations in many scripts: each step one request, by the server's own log, and every prompt
  foreseen to the token.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import statistics
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2

from agentkit.gemma4.grammar import compile_grammar, compile_tool
from agentkit.gemma4.tokens import CALL_OPEN, CHANNEL_CLOSE, IDS, QUOTE
from agentkit.messages import ToolChoice, ToolDefinition
from agentkit.schema.lower import lower
from soak.live import asked_server, checked, client, tokenizer
from soak.proof import FOLDER, prove, write_record
from tests.live.constrained import auto_cases, closing_tokens, forced_cases
from tests.live.server import MODEL, REAL_SIZE_WINDOW, requests_in

_CHECKPOINT: Final = "real-size"
_BATCHES: Final = 20
"""Each with 16 forced calls, 4 in strict auto, and a conversation."""

_AT_ONCE: Final = 4
_END_OF_REASONING: Final = str(IDS[CHANNEL_CLOSE])
"""What vLLM 0.32 forces into a reply whose reasoning has used up its budget, also into one without
a budget that takes the place of one with it; where that does not fit the grammar it answers 500.
"""
_ROUNDS: Final = 24
_TOKENS: Final = 60


def batch(number: int) -> dict[str, int]:
    """Half of the forced modes, every one of strict auto, and one conversation."""
    cases = [*forced_cases(number // 2)[number % 2 :: 2], *auto_cases(number)]
    closing = closing_tokens(tokenizer())
    made = [replace(case, closing=closing) for case in cases]
    counts: Counter[str] = Counter()
    log = Path(os.environ["AGENTKIT_LIVE_LOG"])
    start = log.stat().st_size
    with client() as asking, ThreadPoolExecutor(_AT_ONCE) as threads:
        seen = threads.map(partial(checked, asking), made)
        for case, one in zip(made, seen, strict=True):
            group = "auto" if case.mode == "auto" else "forced"
            counts.update({f"{group} {what}": count for what, count in one.items()})
    rejected = re.findall(
        r"grammar rejected tokens \[(.*?)\]", log.read_bytes()[start:].decode("utf-8", "replace")
    )
    assert set(rejected) <= {_END_OF_REASONING}, f"batch {number}: vLLM rejected {rejected}"
    return counts + conversation(number)


# --- speed -------------------------------------------------------------------------------------


def speeds(at_once: int) -> dict[str, Any]:
    """Tokens a second with bounded texts, as a share of those with any text; 95 % interval.

    Both are asked for in turn, the first of each round by chance, so whatever slows the machine
    slows both. The interval is of the mean of the rounds' logarithms.
    """
    bounded, free = (_forced(schema) for schema in ({"maxLength": 2_000}, {}))
    rng = random.Random(at_once)
    ratios: list[float] = []
    with client() as asking, ThreadPoolExecutor(at_once) as threads:

        def seconds(fields: dict[str, Any]) -> float:
            started = time.perf_counter()
            list(threads.map(lambda _: _reply(asking, fields), range(at_once)))
            return time.perf_counter() - started

        for warm in (bounded, free):
            seconds(warm)
        for _ in range(_ROUNDS):
            order = [0, 1] if rng.random() < 0.5 else [1, 0]
            took = {which: seconds((bounded, free)[which]) for which in order}
            ratios.append(math.log(took[1] / took[0]))
    mean, spread = statistics.mean(ratios), statistics.stdev(ratios) / math.sqrt(len(ratios))
    low, high = mean - 2.069 * spread, mean + 2.069 * spread  # Student's t, 23 degrees of freedom
    return {
        "rounds": len(ratios),
        "estimate": round(math.exp(mean), 3),
        "95 % interval": [round(math.exp(low), 3), round(math.exp(high), 3)],
    }


def _forced(text: dict[str, Any]) -> dict[str, Any]:
    """A forced call whose one argument is a text, which the reply never gets to the end of."""
    schema = {
        "type": "object",
        "properties": {"text": {"type": "string", **text}},
        "required": ["text"],
    }
    tool = compile_tool(lower(ToolDefinition("write", "Writes a text.", schema)))
    choice = ToolChoice("required", max_calls=1)
    return {"structured_outputs": compile_grammar([tool], choice).structured_outputs}


def _reply(asking: httpx2.Client, fields: dict[str, Any]) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Write."}],
        "max_tokens": _TOKENS,
        "logit_bias": {str(IDS[QUOTE]): -100.0, str(IDS[CALL_OPEN]): 20.0},
        "temperature": 0.0,
        **fields,
    }
    answer = asking.post("/v1/chat/completions", json=body)
    assert answer.is_success, answer.text[:500]
    assert answer.json()["usage"]["completion_tokens"] == _TOKENS, answer.text[:500]


# --- conversations -----------------------------------------------------------------------------


def conversation(number: int) -> Counter[str]:
    """One of 20 to 40 steps in many scripts, and what the server's log says was asked for it."""
    from tests.live.test_context import converse  # noqa: PLC0415 - it reads the server's address

    log = Path(os.environ["AGENTKIT_LIVE_LOG"])
    start = log.stat().st_size
    results, _ = anyio.run(partial(converse, number, tokenizer=False, runs=1))
    prompts = [prompt for result in results for prompt in result.context.prompts]
    assert all(prompt.exact for prompt in prompts)
    wrong = [prompt for prompt in prompts if prompt.foreseen != prompt.counted]
    assert not wrong, f"conversation {number}: {wrong}"
    asked = {f"requests of {path}": count for path, count in requests_in(log, start).items()}
    compactions = sum(result.context.compactions for result in results)
    steps = {"conversations": 1, "steps foreseen to the token": len(prompts)}
    return Counter(steps | {"compactions": compactions} | asked)


def main() -> int:
    """Runs the proof, and measures the speed of bounded texts."""
    with asked_server(_CHECKPOINT, window=REAL_SIZE_WINDOW):
        # One process: a conversation's requests are told from others' by their place in the log.
        code = prove("real_size", _BATCHES, batch, jobs=1)
        if code == 0:
            shown = json.loads((FOLDER / "real_size.json").read_text(encoding="utf-8"))
            shown["speed, bounded texts against any text"] = {
                f"{at_once} at once": speeds(at_once) for at_once in (1, 8)
            }
            print(write_record("real_size", shown))
        return code


if __name__ == "__main__":
    sys.exit(main())
