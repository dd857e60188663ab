"""What the loop promises, on a real vLLM: typed answers, required calls, parallel calls, ends."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any, Literal

import anyio
import pytest
from agentkit_tools import project_reader
from pydantic import BaseModel, Field

from agentkit import (
    Agent,
    Cancellation,
    ModelSettings,
    RunResult,
    ServerNotReadyError,
    ToolChoice,
    VLLMModel,
    tool,
)
from agentkit.messages import AssistantMessage, ImagePart, ToolMessage
from tests.live.client import KEY, URL, keeps_tokens, live, model, request, text_argument
from tests.live.steered import Steered, answering, calling, calling_each

pytestmark = live

REPO = Path(__file__).parents[2]
READ = calling("read_file", text_argument("path", '("README.md" | "LICENSE" | "pyproject.toml")'))
WARM = ModelSettings(temperature=1.0, seed=3, max_tokens=200)


def vllm(*, stream: bool = True) -> VLLMModel:
    return VLLMModel(URL, api_key=KEY, stream=stream)


def called(result: RunResult[Any]) -> list[list[str]]:
    """The names of each reply's calls."""
    messages = [m for m in result.messages if isinstance(m, AssistantMessage) and m.tool_calls]
    return [[call.name for call in message.tool_calls] for message in messages]


class Verdict(BaseModel):
    """What becomes of an order."""

    decision: Literal["refund", "reject"]
    order: int = Field(ge=1, le=9999)
    reasons: list[Literal["late", "damaged", "other"]] = Field(max_length=2)


@pytest.mark.parametrize("stream", [True, False])
def test_a_typed_answer_comes_with_tools_present_and_after_their_use(*, stream: bool) -> None:
    steered = Steered(vllm(stream=stream), READ, answering())
    agent = Agent(steered, tools=project_reader(REPO), output_type=Verdict)
    for seed in range(3):
        settings = ModelSettings(temperature=1.5, seed=seed, max_tokens=300)
        result = agent.run_sync("Decide on order 17.", settings=settings)
        assert result.stop_reason == "answer", result.explanation
        assert isinstance(result.output, Verdict)
        assert called(result) == [["read_file"], ["final_answer"]]


def test_a_required_call_is_made_and_then_the_run_is_free_to_answer() -> None:
    for stream in (True, False):
        steered = Steered(vllm(stream=stream), ModelSettings(), answering())
        agent = Agent(steered, tools=[weigh])
        for choice in (ToolChoice("required", max_calls=1), ToolChoice("required", "weigh", 1)):
            settings = WARM.over(ModelSettings(tool_choice=choice))
            result = agent.run_sync("Say hello.", settings=settings)
            assert result.stop_reason == "answer", result.explanation
            assert called(result) == [["weigh"]]


@tool(effect="pure")
def weigh(grams: Literal[1, 20, 300]) -> str:
    """Weigh a thing.

    Args:
        grams: What the scales show.
    """
    return f"{grams} g"


@keeps_tokens
@pytest.mark.parametrize("stream", [True, False])
def test_calls_of_one_reply_run_at_the_same_time_and_are_answered_in_order(stream: bool) -> None:
    arrived = {"left": anyio.Event(), "right": anyio.Event()}

    @tool
    async def left() -> str:
        """Meets the right one."""
        arrived["left"].set()
        with anyio.fail_after(60):
            await arrived["right"].wait()
        return "left is here"

    @tool
    async def right() -> str:
        """Meets the left one."""
        arrived["right"].set()
        with anyio.fail_after(60):
            await arrived["left"].wait()
        return "right is here"

    steered = Steered(vllm(stream=stream), calling_each("right", "left"), answering())
    result = Agent(steered, tools=[left, right]).run_sync("Meet.", settings=WARM)
    assert called(result) == [["right", "left"]]
    said = [str(m.content) for m in result.messages if isinstance(m, ToolMessage)]
    assert said == ["right is here", "left is here"]
    assert result.stop_reason == "answer"


def test_runs_cancelled_at_twenty_points_leave_the_server_idle_and_the_pool_usable() -> None:
    assert anyio.run(cancel_runs, 20) == 20


async def cancel_runs(times: int) -> int:
    """How many runs were cancelled; some more begin, for some end before their time comes."""
    random = Random(5)
    server = vllm()
    agent = Agent(Steered(server, READ, READ, READ, answering()), tools=project_reader(REPO))
    started = anyio.current_time()
    await agent.run("hi", settings=WARM)
    lasts = anyio.current_time() - started
    cancelled = 0
    for _ in range(4 * times):
        cancellation = Cancellation()
        after = random.uniform(0, lasts)
        results: list[RunResult] = []
        async with anyio.create_task_group() as group:
            group.start_soon(cancel_after, after, cancellation)
            results.append(await agent.run("hi", settings=WARM, cancellation=cancellation))
            group.cancel_scope.cancel()
        (result,) = results
        cancelled += result.stop_reason == "cancelled"
        calls = [call.id for m in result.messages for call in getattr(m, "tool_calls", ())]
        assert calls == [m.call_id for m in result.messages if isinstance(m, ToolMessage)]
        if cancelled == times:
            break
    with anyio.fail_after(20):
        while running_requests() > 0:  # noqa: ASYNC110 - the server's own counter lags a little
            await anyio.sleep(0.1)
    last = await agent.run("hi", settings=WARM)
    assert last.stop_reason == "answer"
    await agent.aclose()
    return cancelled


async def cancel_after(seconds: float, cancellation: Cancellation) -> None:
    await anyio.sleep(seconds)  # the fault itself, not a way to wait for something
    cancellation.cancel()


def running_requests() -> float:
    """Requests that the server says it is working on or keeps waiting."""
    text = request("GET", "/metrics").text
    found = re.findall(r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} (\S+)$", text, re.M)
    assert len(found) >= 2, "the server's metrics name running and waiting requests"
    return sum(map(float, found))


def test_an_image_is_refused_by_the_server_that_has_no_eyes() -> None:
    """The checkpoint is text only, so live there is only the refusal to show."""
    part = {"type": "image_url", "image_url": {"url": PIXEL}}
    body = {"model": model(), "messages": [{"role": "user", "content": [part]}], "max_tokens": 5}
    raw = request("POST", "/v1/chat/completions", json=body)
    assert raw.status_code == 400
    with pytest.raises(ServerNotReadyError, match="image"):
        Agent(vllm()).run_sync((ImagePart(PIXEL),))


PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGA"
    "hKmMIQAAAABJRU5ErkJggg=="
)
