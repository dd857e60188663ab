"""30 conversations of 20 to 78 steps on a real vLLM, in a window of 8,192 tokens and in 32,768.

The bundled checkpoint's server counts each prompt and says how much of it came out of its prefix
cache; what the model says is a script's (`tests/live/test_context.py`): calls at once, thoughts,
many scripts of the world, results longer than the window.

- every prompt is foreseen to the token, and none is refused;
- a summary costs the reading of its question and at most a block of what stands before it;
- where a request only adds to the one before, at least 95 % of the whole blocks that both share
  come out of the cache;
- the share of all queried tokens that did, by the server's `/metrics`. Of each fifth conversation
  it stands beside that of the same conversation sent naively, which is read from the start in most
  steps and so takes most of the time: whole until it does not fit, then each time without its
  oldest part.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise
from math import gcd
from typing import Final

import anyio

from agentkit import ContextWindowError, Model, VLLMModel
from agentkit.events import PromptTokens
from agentkit.messages import Message, ModelRequest
from soak.live import asked_server, client
from soak.proof import prove
from tests.live.prefix_cache import is_kept, read_anew

_BATCHES: Final = 30
_WINDOWS: Final = (8_192, 32_768)
_KEPT: Final = 0.95
_NAIVE_EACH: Final = 5


def warm(
    prompts: Sequence[PromptTokens], sent: Sequence[ModelRequest], block: int
) -> Iterator[tuple[int, int]]:
    """Of each request that only adds to the one before: how many tokens came out of the cache, and
    how many whole blocks allow.

    What makes the model go on is not repeated by the history: it may cost the last block. Where the
    server does not keep that block (`is_kept`), the request is left out.
    """
    for (before, now), (was, request) in zip(pairwise(prompts), pairwise(sent), strict=True):
        only_adds = list(request.messages[: len(was.messages)]) == list(was.messages)
        if only_adds and is_kept(before.counted, block):
            yield now.cached, max(before.counted // block - 1, 0) * block


def whole(sent: Sequence[ModelRequest]) -> Iterator[tuple[Message, ...]]:
    """The messages up to each request as if nothing had ever been left out: what came behind the
    last reply is new.
    """
    said = list(sent[0].messages)
    yield tuple(said)
    for request in sent[1:]:
        replies = [n for n, each in enumerate(request.messages) if each.role == "assistant"]
        said += request.messages[replies[-1] :]
        yield tuple(said)


async def send_naively(model: Model, sent: Sequence[ModelRequest]) -> None:
    """The same conversation as a client sends it that leaves out what is oldest when it must."""
    left_out = 0
    for request, messages in zip(sent, whole(sent), strict=True):
        system, rest = under_another_name(messages[0]), messages[1:]
        short = replace(request, settings=replace(request.settings, max_tokens=1))
        while True:
            while left_out and rest[left_out].role == "tool":  # its call is gone
                left_out += 1
            try:
                async for _ in model.generate(replace(short, messages=(system, *rest[left_out:]))):
                    pass
                break
            except ContextWindowError:
                left_out += 1


def under_another_name(system: Message) -> Message:
    """Other instructions of the same length, so that nothing is in the cache already."""
    return replace(system, content=str(system.content).replace("assistant", "navigator"))


def batch(number: int) -> dict[str, int]:
    """One conversation."""
    from tests.live.client import KEY, URL  # noqa: PLC0415 - the server's address is known by now
    from tests.live.test_context import converse  # noqa: PLC0415 - it reads it too

    runs = 1 + number % 2
    before = cache_counters()
    results, actor = anyio.run(partial(converse, number, tokenizer=number % 3 == 2, runs=runs))
    between = cache_counters()
    counts: Counter[str] = Counter(conversations=1)
    sent = iter(actor.sent)
    for result in results:
        assert result.stop_reason == "answer", result.explanation
        prompts = result.context.prompts
        wrong = [each for each in prompts if not each.exact or each.foreseen != each.counted]
        assert not wrong, f"conversation {number}: {wrong}"
        block = gcd(*(each.cached for each in prompts)) or 1
        kept = list(warm(prompts, list(islice(sent, len(prompts))), block))
        cold = [pair for pair in kept if pair[0] < _KEPT * pair[1]]
        assert not cold, f"conversation {number}: cached and allowed {cold}, blocks of {block}"
        counts["steps foreseen to the token"] += len(prompts)
        counts["compactions"] += result.context.compactions
        counts["steps that only add"] += len(kept)
        counts["tokens that blocks allow on these"] += sum(allowed for _, allowed in kept)
        counts["tokens out of the cache on these"] += sum(cached for cached, _ in kept)

    blocks = gcd(*(each.cached for result in results for each in result.context.prompts)) or 1
    counts["summaries"] = len(actor.summaries)
    counts["tokens read anew for summaries, beside the question"] = sum(
        read_anew(*asked, blocks) for asked in actor.summaries
    )
    for name, value in between.items():
        counts[f"tokens {name}, by /metrics"] = value - before[name]
    if number % _NAIVE_EACH:
        return dict(counts)

    async def naively() -> None:
        async with VLLMModel(URL, api_key=KEY) as model:
            await send_naively(model, actor.sent)

    anyio.run(naively)
    after = cache_counters()
    counts["conversations sent both ways"] = 1
    for name, value in between.items():
        counts[f"of these: tokens {name}"] = value - before[name]
        counts[f"of these: tokens {name} where it is sent naively"] = after[name] - value
    return dict(counts)


def cache_counters() -> dict[str, int]:
    """Tokens that the server looked up in its cache so far, and those of them that were there."""
    with client() as asking:
        told = asking.get("/metrics").text
    return {  # of all models and engines
        said: sum(
            round(float(value))
            for value in re.findall(rf"^vllm:prefix_cache_{name}_total.* (\S+)$", told, re.M)
        )
        for said, name in (("queried", "queries"), ("cached", "hits"))
    }


def main() -> int:
    """Runs the proof once for each window, on a server of its own unless the variables name one."""
    named = os.environ.get("AGENTKIT_LIVE_URL")
    for window in _WINDOWS[: 1 if named else None]:
        with asked_server("tiny", window=window):
            part = "context_live" if named else f"context_live_{window}"
            code = prove(part, _BATCHES, batch, jobs=1)
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
