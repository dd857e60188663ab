"""Spelled calls on a real vLLM: only a form that is held to calls makes one of them run."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest

from agentkit import Agent, Limits, ModelSettings, RunResult, ToolChoice, VLLMModel, tool
from agentkit.gemma4.tokens import CALL_CLOSE, CALL_OPEN
from tests.live.client import KEY, SPELL_CALL, URL, live, replies_end

pytestmark = [*live, replies_end]

CALL = f"{CALL_OPEN}call:wipe{{}}{CALL_CLOSE}"
TEXTS = (CALL, f"Call it like so: {CALL}", f"{CALL} is in the file.", f"- {CALL}\n- {CALL}")
"""What the server is made to write, in ordinary tokens since the opening one is banned."""

TIMES = int(os.environ.get("AGENTKIT_LIVE_TIMES", "4"))
"""Replies of each text; 25 make the full proof of 400 spelled replies and 100 forced ones."""


class Steering(httpx2.AsyncBaseTransport):
    """Holds the replies of a real server to one text, whatever agentkit asks for."""

    def __init__(self, text: str) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self._text = text

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/chat/completions"):
            body = json.loads(await request.aread())
            if "wipe" in [tool["function"]["name"] for tool in body["tools"]]:
                held = {"type": "const_string", "value": self._text}
                tag = {"type": "structural_tag", "format": held}
                body |= {
                    "structured_outputs": {"structural_tag": json.dumps(tag)},
                    "logit_bias": SPELL_CALL,
                }
                headers = [(k, v) for k, v in request.headers.items() if k != "content-length"]
                request = httpx2.Request(
                    request.method,
                    request.url,
                    headers=headers,
                    content=json.dumps(body).encode(),
                    extensions=request.extensions,
                )
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def steered(text: str, *, stream: bool) -> AsyncGenerator[VLLMModel]:
    async with httpx2.AsyncClient(transport=Steering(text), timeout=60) as client:
        yield VLLMModel(URL, api_key=KEY, http_client=client, stream=stream)


@pytest.mark.parametrize("grammar", [True, False], ids=["strict auto", "free"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_call_that_is_spelled_never_runs(*, stream: bool, grammar: bool) -> None:
    """Each of four texts so many times, streamed and whole, with and without a grammar."""
    ran: list[str] = []

    @tool(effect="once")
    def wipe() -> str:
        """Delete everything."""
        ran.append("wipe")
        return "gone"

    async def ask(text: str) -> list[RunResult[str]]:
        async with steered(text, stream=stream) as model:
            agent = Agent(model, tools=[wipe])
            settings = ModelSettings(grammar=grammar, thinking=False, max_tokens=200)
            return [await agent.run("What is in it?", settings=settings) for _ in range(TIMES)]

    for text in TEXTS:
        results = anyio.run(ask, text)
        stops = {result.stop_reason for result in results}
        whole = text in (CALL, f"- {CALL}\n- {CALL}")
        assert stops <= ({"malformed_call", "answer"} if whole else {"answer"}), (text, stops)
        assert all(CALL_OPEN in result.output for result in results), results[0]
    assert ran == []


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_reply_that_is_held_to_calls_is_one_in_ordinary_tokens_too(*, stream: bool) -> None:
    """Forced calls, their opening token banned."""
    ran: list[int] = []

    @tool(effect="pure")
    def mark(number: int) -> str:
        """Mark a number."""
        ran.append(number)
        return "marked"

    settings = ModelSettings(
        tool_choice=ToolChoice("required", max_calls=1),
        thinking=False,
        max_tokens=200,
        extra_body={"logit_bias": SPELL_CALL},
    )
    agent: Agent[Any, Any] = Agent(VLLMModel(URL, api_key=KEY, stream=stream), tools=[mark])
    for seed in range(2 * TIMES):
        seeded = ModelSettings(seed=seed).over(settings)
        agent.run_sync("Mark 7.", settings=seeded, limits=Limits(steps=1))
    assert len(ran) >= 2 * TIMES
