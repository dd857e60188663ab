"""A whole run through a real vLLM: calls under the grammar, tools, results sent back, an answer."""

from __future__ import annotations

import asyncio
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import pytest
from agentkit_tools import project_reader

from agentkit import (
    Agent,
    ContextWindowError,
    Event,
    Model,
    ModelSettings,
    ModelStatusError,
    RunFinished,
    RunResult,
    ServerNotReadyError,
    StepFinished,
    TextDelta,
    ToolFinished,
    VLLMModel,
    tool,
)
from agentkit.messages import (
    AssistantMessage,
    ModelRequest,
    ToolChoice,
    ToolMessage,
    UserMessage,
)
from examples.project_assistant.main import agent as project_assistant
from tests.live.client import KEY, URL, WINDOW, guarded, live, model, request, text_argument
from tests.live.steered import Steered, answering, calling

pytestmark = live

REPO = Path(__file__).parents[2]
LOOK = calling("list_files", text_argument("folder", '("." | "agentkit" | "examples")'))
SEARCH = calling("search_text", text_argument("text", '("Agent" | "vLLM" | "Gemma")'))
READ = calling("read_file", text_argument("path", '("README.md" | "LICENSE" | "pyproject.toml")'))
OUTSIDE = calling("read_file", text_argument("path", '("../../etc/passwd" | "/etc/passwd")'))


def vllm(*, stream: bool = True, name: str | None = None) -> VLLMModel:
    return VLLMModel(URL, name, api_key=KEY, stream=stream)


def assistant(*steps: ModelSettings, stream: bool = True) -> Agent:
    return project_assistant(Steered(vllm(stream=stream), *steps), REPO)


def run(agent: Agent, *, seed: int = 1) -> RunResult:
    settings = ModelSettings(temperature=1.0, seed=seed, max_tokens=200)
    return agent.run_sync("What is in this project?", settings=settings)


def tool_messages(result: RunResult) -> list[ToolMessage]:
    return [message for message in result.messages if isinstance(message, ToolMessage)]


@pytest.mark.parametrize("seed", range(3))
def test_three_calls_are_made_and_run_and_answered(seed: int) -> None:
    result = run(assistant(LOOK, SEARCH, READ, answering()), seed=seed)
    assert result.stop_reason == "answer"
    assert re.fullmatch(r"[A-Z][a-z]+( [a-z]+)+", result.output)
    assert [m.name for m in tool_messages(result)] == ["list_files", "search_text", "read_file"]
    assert result.steps == 4
    tools = {tool.name: tool for tool in project_reader(REPO)}
    for message in result.messages:
        for call in message.tool_calls if isinstance(message, AssistantMessage) else ():
            (answer,) = [m for m in tool_messages(result) if m.call_id == call.id]
            assert answer.content == tools[call.name].function(**call.arguments)


def test_the_results_reach_the_model() -> None:
    prompts: list[int] = []

    def note(_: str, event: Event) -> None:
        if isinstance(event, StepFinished):
            prompts.append(event.usage.input_tokens)

    model = Steered(vllm(), READ, answering())
    result = run(Agent(model, tools=project_reader(REPO), observers=[note]))
    (message,) = tool_messages(result)
    body = {"prompt": message.content, "add_special_tokens": False}
    tokens = request("POST", "/tokenize", json=body).json()["count"]
    # Nearly: the template may trim it, and escaping may add to it.
    assert prompts[1] - prompts[0] > 0.95 * tokens


@pytest.mark.parametrize("seed", range(3))
def test_streaming_and_not_give_the_same_messages_for_the_same_seed(seed: int) -> None:
    steps = (LOOK, SEARCH, READ, answering())
    streamed = run(assistant(*steps), seed=seed)
    whole = run(assistant(*steps, stream=False), seed=seed)
    assert streamed.messages == whole.messages
    assert streamed.output == whole.output
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert streamed.usage.input_tokens == whole.usage.input_tokens


def test_streamed_pieces_add_up_to_the_answer() -> None:
    async def events() -> list[Event]:
        agent = assistant(READ, answering())
        seen = [event async for event in agent.stream("What is in this project?")]
        await agent.aclose()
        return seen

    seen = asyncio.run(events())
    last = seen[-1]
    assert isinstance(last, RunFinished)
    assert "".join(e.text for e in seen if isinstance(e, TextDelta)) == last.result.output
    assert [e.result.is_error for e in seen if isinstance(e, ToolFinished)] == [False]


def test_usage_is_the_servers_own() -> None:
    before = counters()
    result = run(assistant(LOOK, READ, answering()))
    after = counters()
    assert result.usage.input_tokens == after["prompt"] - before["prompt"]
    assert result.usage.output_tokens == after["generation"] - before["generation"]
    assert 0 < result.usage.cached_input_tokens < result.usage.input_tokens


def counters() -> dict[str, int]:
    """What the server itself counted since its start."""
    text = request("GET", "/metrics").text
    found = re.findall(r"^vllm:(prompt|generation)_tokens_total\{[^}]*\} (\S+)$", text, re.M)
    return {name: int(float(value)) for name, value in found}


def test_a_path_outside_the_project_is_refused_and_the_run_goes_on() -> None:
    result = run(assistant(OUTSIDE, READ, answering()))
    refused, read = tool_messages(result)
    assert refused.is_error
    assert "outside the project" in str(refused.content)
    assert not read.is_error
    assert result.stop_reason == "answer"


def test_many_runs_share_one_agent() -> None:
    agent = assistant(READ, answering())

    async def together() -> list[RunResult]:
        try:
            return await agent.run_many(
                [f"Question {n}" for n in range(8)], settings=ModelSettings(max_tokens=200)
            )
        finally:
            await agent.aclose()

    results = asyncio.run(together())
    assert [result.stop_reason for result in results] == ["answer"] * 8
    assert all(len(tool_messages(result)) == 1 for result in results)


# --- calls under the grammar that agentkit makes of the tools themselves ------------------------


@tool(effect="pure")
def weigh(thing: Literal["feather", "brick"], grams: int, fragile: bool = False) -> str:
    """Weigh a thing.

    Args:
        thing: What lies on the scales.
        grams: Its weight.
        fragile: Whether it may break.
    """
    return f"{thing} {grams} {fragile}"


@pytest.mark.parametrize("stream", [True, False])
def test_every_forced_call_is_valid_at_any_temperature(*, stream: bool) -> None:
    one = ToolChoice("required", name="weigh", max_calls=1)
    agent = Agent(Steered(vllm(stream=stream), one, one, one, answering()), tools=[weigh])
    for seed in range(4):
        settings = ModelSettings(temperature=2.0, seed=seed, max_tokens=400)
        result = agent.run_sync("Weigh them.", settings=settings)
        assert result.stop_reason == "answer"
        messages = tool_messages(result)
        assert [message.name for message in messages] == ["weigh"] * 3
        for message in messages:
            assert not message.is_error, message.content
            # A repeated call gets its result again, with a note below it.
            answered = str(message.content).splitlines()[0]
            assert re.fullmatch(r"(feather|brick) -?\d+ (True|False)", answered)


def test_a_forced_reply_has_no_more_calls_than_allowed() -> None:
    counts = set()
    for seed in range(4):
        two = ToolChoice("required", max_calls=2)
        agent = Agent(Steered(vllm(), two, answering()), tools=[weigh])
        settings = ModelSettings(temperature=2.0, seed=seed, max_tokens=600)
        result = agent.run_sync("Weigh them.", settings=settings)
        assert result.stop_reason == "answer"
        counts.add(len(tool_messages(result)))
    assert counts <= {1, 2}


# --- what goes wrong ---------------------------------------------------------------------------


def ask(model: Model, text: str = "hi", **settings: Any) -> RunResult:
    return Agent(model).run_sync(text, settings=ModelSettings(**settings))


def test_a_wrong_model_name_is_answered_with_the_right_ones() -> None:
    served = request("GET", "/v1/models").json()["data"][0]["id"]
    with pytest.raises(ServerNotReadyError, match=f"serves no model 'gemma9'.*{served}"):
        ask(vllm(name="gemma9"))


@guarded
def test_a_wrong_key_is_named_as_such() -> None:
    with pytest.raises(ModelStatusError, match="refused the API key") as caught:
        ask(VLLMModel(URL, api_key="wrong"))
    assert "wrong" not in str(caught.value)


def test_a_prompt_that_does_not_fit_is_a_context_window_error() -> None:
    with pytest.raises(ContextWindowError, match=str(WINDOW)):
        ask(vllm(), "word " * 2 * WINDOW)


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_a_prompt_fits_up_to_one_token_below_the_window(beyond: int) -> None:
    def message(words: int) -> UserMessage:
        return UserMessage("a" + " a" * words)

    def tokens(words: int) -> int:
        said = {"role": "user", "content": message(words).content}
        told = request("POST", "/tokenize", json={"model": model(), "messages": [said]})
        return int(told.json()["count"])

    async def send(words: int) -> None:
        asked = ModelRequest((message(words),), settings=ModelSettings(max_tokens=1))
        async with vllm() as server:
            async for _ in server.generate(asked):
                pass

    words = WINDOW + beyond - tokens(0)
    assert tokens(words) == WINDOW + beyond
    with nullcontext() if beyond < 0 else pytest.raises(ContextWindowError):
        asyncio.run(send(words))


def test_a_reply_that_is_cut_is_not_an_answer() -> None:
    endless = ModelSettings(max_tokens=10, extra_body={"ignore_eos": True, "stop_token_ids": []})
    result = Agent(Steered(vllm(), endless)).run_sync("hi")
    assert result.stop_reason == "truncated"


def test_a_call_that_is_cut_is_not_run() -> None:
    cut = calling("read_file", text_argument("path", "[a-z]{300,400}"))
    for stream in (True, False):
        model = Steered(vllm(stream=stream), cut.over(ModelSettings(max_tokens=40)), answering())
        result = project_assistant(model, REPO).run_sync("hi")
        assert result.stop_reason == "truncated"
        assert tool_messages(result) == []
