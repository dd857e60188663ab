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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2
from tokenizers import Tokenizer

from agentkit.gemma4.grammar import compile_grammar, compile_tool
from agentkit.gemma4.tokens import CALL_OPEN, CHANNEL_CLOSE, IDS, QUOTE
from agentkit.messages import ToolChoice, ToolDefinition
from agentkit.schema.lower import lower
from soak.proof import FOLDER, prove
from tests.live.constrained import (
    Case,
    GivenUpError,
    ask,
    auto_cases,
    check,
    closing_tokens,
    forced_cases,
    tokenizer_of,
)
from tests.live.server import (
    MODEL,
    REAL_SIZE_WINDOW,
    checkpoint_folder,
    live_server,
    requests_in,
)

_CHECKPOINT: Final = "real-size"
_BATCHES: Final = 20
"""Each with 16 forced calls, 4 in strict auto, and a conversation."""

_AT_ONCE: Final = 4
_GIVE_UP: Final = 5
_END_OF_REASONING: Final = str(IDS[CHANNEL_CLOSE])
"""What vLLM 0.32 forces into a reply whose reasoning has used up its budget, also into one without
a budget that takes the place of one with it; where that does not fit the grammar it answers 500.
"""
_ROUNDS: Final = 24
_TOKENS: Final = 60


def batch(number: int) -> dict[str, int]:
    """Half of the forced modes, every one of strict auto, and one conversation."""
    cases = [*forced_cases(number // 2)[number % 2 :: 2], *auto_cases(number)]
    closing = closing_tokens(_tokenizer())
    made = [replace(case, closing=closing) for case in cases]
    counts: Counter[str] = Counter()
    log = Path(os.environ["AGENTKIT_LIVE_LOG"])
    start = log.stat().st_size
    with _client() as client, ThreadPoolExecutor(_AT_ONCE) as threads:
        checked = threads.map(partial(_checked, client), made)
        for case, one in zip(made, checked, strict=True):
            group = "auto" if case.mode == "auto" else "forced"
            counts.update({f"{group} {what}": count for what, count in one.items()})
    rejected = re.findall(r"grammar rejected tokens \[(.*?)\]", _after(log, start))
    assert set(rejected) <= {_END_OF_REASONING}, f"batch {number}: vLLM rejected {rejected}"
    return counts + conversation(number)


def _after(log: Path, start: int) -> str:
    return log.read_bytes()[start:].decode("utf-8", "replace")


def _checked(client: httpx2.Client, case: Case) -> Counter[str]:
    given_up: Counter[str] = Counter()
    while True:
        try:
            return given_up + check(case, ask(client, case.body(MODEL)), _tokenizer())
        except GivenUpError as error:
            given_up["replies that vLLM gave up with status 500, asked again"] += 1
            if given_up.total() > _GIVE_UP:
                raise AssertionError(f"{case}: {error}") from None
        except AssertionError as error:
            raise AssertionError(f"{case}: {error}") from None


@cache
def _tokenizer() -> Tokenizer:
    return tokenizer_of(checkpoint_folder(_CHECKPOINT))


def _client() -> httpx2.Client:
    headers = {"authorization": f"Bearer {os.environ['AGENTKIT_LIVE_KEY']}"}
    url = os.environ["AGENTKIT_LIVE_URL"]
    return httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=300.0)


# --- speed -------------------------------------------------------------------------------------


def speeds(at_once: int) -> dict[str, Any]:
    """Tokens a second with bounded texts, as a share of those with any text; 95 % interval.

    Both are asked for in turn, the first of each round by chance, so whatever slows the machine
    slows both. The interval is of the mean of the rounds' logarithms.
    """
    bounded, free = (_forced(schema) for schema in ({"maxLength": 2_000}, {}))
    rng = random.Random(at_once)
    ratios: list[float] = []
    with _client() as client, ThreadPoolExecutor(at_once) as threads:

        def seconds(fields: dict[str, Any]) -> float:
            started = time.perf_counter()
            list(threads.map(lambda _: _reply(client, fields), range(at_once)))
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


def _reply(client: httpx2.Client, fields: dict[str, Any]) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Write."}],
        "max_tokens": _TOKENS,
        "logit_bias": {str(IDS[QUOTE]): -100.0, str(IDS[CALL_OPEN]): 20.0},
        "temperature": 0.0,
        **fields,
    }
    answer = client.post("/v1/chat/completions", json=body)
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the proof.

    With AGENTKIT_LIVE_URL, AGENTKIT_LIVE_KEY and AGENTKIT_LIVE_LOG (its log file) set, against that
    server, else against one that is started for it.
    """
    os.environ["AGENTKIT_LIVE_CHECKPOINT"] = _CHECKPOINT
    if os.environ.get("AGENTKIT_LIVE_URL"):
        return _proved(argv)
    with live_server(checkpoint_folder(_CHECKPOINT), window=REAL_SIZE_WINDOW) as server:
        os.environ |= {"AGENTKIT_LIVE_URL": server.url, "AGENTKIT_LIVE_KEY": server.api_key}
        os.environ["AGENTKIT_LIVE_LOG"] = str(server.process.log)
        return _proved(argv)


def _proved(argv: Sequence[str] | None) -> int:
    given = sys.argv[1:] if argv is None else argv
    # One process: a conversation's requests are told from others' by their place in the log.
    code = prove("real_size", _BATCHES, batch, [*given, "--jobs", "1"])
    record = FOLDER / "real_size.json"
    if code == 0:
        shown = json.loads(record.read_text(encoding="utf-8"))
        shown["speed, bounded texts against any text"] = {
            f"{at_once} at once": speeds(at_once) for at_once in (1, 8)
        }
        text = json.dumps(shown, indent=2, ensure_ascii=False)
        record.write_text(text + "\n", encoding="utf-8")
        print(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
