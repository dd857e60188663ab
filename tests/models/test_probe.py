"""A server is asked once whether it obeys a grammar, and believed only if it does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from agentkit import VLLMModel, tool
from agentkit.agent import Agent
from agentkit.models.probe import PROBE

pytestmark = pytest.mark.anyio


@tool(effect="pure")
async def look(name: str) -> str:
    """Looks."""
    return name


def completion(content: str | None, *calls: tuple[str, str]) -> dict[str, Any]:
    made = [
        {"id": "x", "type": "function", "function": {"name": name, "arguments": arguments}}
        for name, arguments in calls
    ]
    message = {"role": "assistant", "content": content, "tool_calls": made}
    finish = "tool_calls" if calls else "stop"
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def server_of(
    answer: Callable[[dict[str, Any]], dict[str, Any]], version: int = 200
) -> tuple[list[dict[str, Any]], httpx2.AsyncClient]:
    asked: list[dict[str, Any]] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/models":
            return httpx2.Response(200, json={"data": [{"id": "m", "max_model_len": 4096}]})
        if request.url.path == "/version":
            return httpx2.Response(version, json={"version": "0.32.0"})
        if request.url.path != "/v1/chat/completions":
            return httpx2.Response(404, json={"detail": "Not Found"})
        asked.append(json.loads(request.content))
        return httpx2.Response(200, json=answer(asked[-1]))

    return asked, httpx2.AsyncClient(transport=httpx2.MockTransport(handle))


def names(body: dict[str, Any]) -> list[str]:
    return [given["function"]["name"] for given in body.get("tools", ())]


def obeys(body: dict[str, Any]) -> dict[str, Any]:
    if names(body) == [PROBE.name]:
        return completion(None, (PROBE.name, "{}"))
    return completion("done")


async def test_a_server_that_obeys_gets_the_grammar_of_the_tools_with_each_request() -> None:
    asked, client = server_of(obeys)
    model = VLLMModel("http://server/v1", http_client=client, stream=False)
    agent = Agent(model, tools=[look], observers=())
    await agent.run("a")
    await agent.run("b")
    assert [names(body) for body in asked] == [[PROBE.name], ["look"], ["look"]]
    assert model.constrains
    assert "look{" in asked[1]["structured_outputs"]["structural_tag"]


async def test_a_server_that_ignores_the_grammar_is_asked_once_and_left_alone() -> None:
    asked, client = server_of(lambda _body: completion("text"))
    model = VLLMModel("http://server/v1", http_client=client, stream=False)
    agent = Agent(model, tools=[look], observers=())
    await agent.run("a")
    await agent.run("b")
    assert [names(body) for body in asked] == [[PROBE.name], ["look"], ["look"]]
    assert not model.constrains
    assert "structured_outputs" not in asked[1]


async def test_what_is_no_vllm_is_not_asked() -> None:
    asked, client = server_of(lambda _body: completion("text"), version=404)
    model = VLLMModel("http://server/v1", http_client=client, stream=False)
    await Agent(model, tools=[look], observers=()).run("a")
    assert [names(body) for body in asked] == [["look"]]


async def test_without_tools_nothing_is_constrained() -> None:
    asked, client = server_of(obeys)
    model = VLLMModel("http://server/v1", http_client=client, stream=False)
    await Agent(model, observers=()).run("a")
    assert "structured_outputs" not in asked[0]
    assert len(asked) == 1
