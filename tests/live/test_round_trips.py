"""How many requests a run costs, by the log of the server that it was made to."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import anyio
import pytest

from agentkit import Agent, ModelSettings, RunResult, VLLMModel
from tests.live.client import KEY, URL, live
from tests.live.server import requests_in
from tests.live.test_context import converse, read

LOG = os.environ.get("AGENTKIT_LIVE_LOG", "")

pytestmark = [
    *live,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not LOG, reason="needs the log of the server that `make live` starts"),
]

FACTS = {"/v1/models": 1, "/tokenize": 2}
"""Asked once: the model, whether the tokenizer is its own, its template."""


def asked(start: int) -> Counter[str]:
    counts = requests_in(Path(LOG), start)
    del counts["/health"]  # between the tests
    return counts


def test_a_step_is_one_request_where_the_servers_folder_is_on_this_machine() -> None:
    start = Path(LOG).stat().st_size
    results, actor = anyio.run(lambda: converse(3, tokenizer=False, runs=2))
    steps = sum(len(result.context.prompts) for result in results)
    assert steps > 40
    expected = steps + len(actor.summaries) + 1  # one probes the grammar
    assert asked(start) == {**FACTS, "/v1/chat/completions": expected}


def test_eight_first_runs_at_once_share_what_they_ask() -> None:
    async def eight() -> list[RunResult[str]]:
        results: list[RunResult[str]] = []
        settings = ModelSettings(max_tokens=1)
        async with VLLMModel(URL, api_key=KEY) as model:
            agent = Agent(model, tools=[read], settings=settings, observers=())

            async def one(number: int) -> None:
                results.append(await agent.run(f"Question {number}"))

            async with anyio.create_task_group() as group:
                for number in range(8):
                    group.start_soon(one, number)
        return results

    start = Path(LOG).stat().st_size
    results = anyio.run(eight)
    steps = sum(len(result.context.prompts) for result in results)
    assert asked(start) == {**FACTS, "/v1/chat/completions": steps + 1}
