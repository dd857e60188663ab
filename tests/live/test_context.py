"""Prompts counted before they are sent, and windows that never overflow, on a real vLLM."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from math import gcd
from typing import TYPE_CHECKING

import anyio
import pytest

from agentkit import Agent, Context, Limits, Model, ModelSettings, RunResult, VLLMModel, tool
from agentkit.context import Count, CountTexts, PromptForm, Summarize
from agentkit.events import ContextCompacted, Event, ModelEvent, ModelFinished
from agentkit.messages import (
    AssistantMessage,
    FinishReason,
    JsonObject,
    Message,
    ModelRequest,
    ModelResponse,
    ToolCall,
    Usage,
)
from agentkit.models import CountsPrompts
from tests.live.client import KEY, URL, WINDOW, live
from tests.live.prefix_cache import read_anew
from tests.live.server import checkpoint_folder

pytestmark = [*live, pytest.mark.timeout(900)]

TOKENIZER = checkpoint_folder(os.environ.get("AGENTKIT_LIVE_CHECKPOINT", "tiny"))
WORDS = [
    "def",
    "handle",
    "3.14",
    "ü",
    "日本語",
    "Привет",
    "नमस्ते",
    "مرحبا",
    "한국어",
    "ไทย",
    "∑ᵢ xᵢ²",
    "\n",
    "<turn|>",
    "😀",
    '{"a": 1}',
    "  ",
    "error:",
    "x",
]


_FIRST_RESULT = 3
"""The number of a conversation's first result, behind the question and the call."""


def reading_again(step: int) -> list[tuple[str, JsonObject]]:
    """Calls that read what may have been left out, never twice with the same arguments."""
    return [
        ("recall", {"words": f"error: handle {step}"}),
        ("read_result", {"result": _FIRST_RESULT, "start": step}),
        ("search_result", {"result": _FIRST_RESULT, "words": f"日本語 {step}"}),
    ]


class Actor:
    """The real server is asked at each step, and what it counted stands; the reply is a script's.

    Random or tiny weights cannot hold a conversation of forty steps. What is under test is what
    is sent and what the server makes of it, so each reply is cut after a token and replaced.

    Args:
        model: The real one.
        replies: Of each step; a call's result is what its tool really returns.

    Attributes:
        sent: The request of each step.
        asked: What was asked to be counted.
        summaries: What the server counted where a summary was asked for, and before that for the
            prompt of the step before.
    """

    def __init__(self, model: VLLMModel, replies: Sequence[AssistantMessage]) -> None:
        self._model = model
        self._replies = list(replies)
        self.sent: list[ModelRequest] = []
        self.asked: list[Count] = []
        self.summaries: list[tuple[Usage, int]] = []
        self._counted = 0

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def constrains(self) -> bool:
        return False

    async def prompt_form(self, request: ModelRequest) -> PromptForm | None:
        return await self._model.prompt_form(request)

    async def count(self, wanted: Count) -> Sequence[int] | None:
        self.asked.append(wanted)
        return await self._model.count(wanted)

    async def generate(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        is_summary = request.tool_choice.mode == "none"
        if not is_summary:
            self.sent.append(request)
        short = replace(request, settings=replace(request.settings, max_tokens=1))
        async with aclosing(self._model.generate(short)) as events:
            async for event in events:
                if isinstance(event, ModelFinished):
                    usage = event.response.usage
                    if is_summary:
                        self.summaries.append((usage, self._counted))
                        reply = AssistantMessage(
                            "I read src/ü and found an error: 日本. Next: write."
                        )
                    else:
                        self._counted = usage.input_tokens
                        reply = self._replies.pop(0)
                    reason: FinishReason = "tool_calls" if reply.tool_calls else "stop"
                    yield ModelFinished(ModelResponse(reply, reason, usage))

    async def aclose(self) -> None:
        await self._model.aclose()


@tool(effect="pure")
def read(path: str, size: int) -> str:
    """Read a file.

    Args:
        path: Which.
        size: How many words of it.
    """
    rng = random.Random(path)
    return " ".join(rng.choices(WORDS, k=size))


@tool
def write(path: str) -> str:
    """Write a file.

    Args:
        path: Which.
    """
    return f"wrote {path}"


def summarises(seed: int) -> bool:
    """Whether what is left out of a conversation is summarised, and read again by the tools."""
    return seed % 5 == 3


def replies(seed: int) -> list[AssistantMessage]:
    """Of one run: 20 to 40 steps with calls, some at once, some after a thought; then an answer."""
    rng = random.Random(seed)
    made: list[AssistantMessage] = []
    for step in range(rng.randint(20, 39)):
        calls = []
        for n in range(rng.choice([1, 1, 1, 2, 3])):
            path = f"src/ü{seed}-{step}-{n}.py"
            size = rng.choice([5, 60, 300, 300, 1000, 8000])
            writes = rng.random() < 0.15
            arguments = {"path": path} if writes else {"path": path, "size": size}
            calls.append(ToolCall(f"call_{step}_{n}", "write" if writes else "read", arguments))
        if summarises(seed) and step % 3 == 2:
            name, asked = rng.choice(reading_again(step))
            calls.append(ToolCall(f"call_{step}_again", name, asked))
        thought = rng.choice([None, f"Step {step}: look at {' '.join(rng.choices(WORDS, k=20))}"])
        made.append(AssistantMessage(None, tuple(calls), thought))
    return [*made, AssistantMessage(f"Done after {len(made)} steps. 日本")]


async def converse(seed: int, *, tokenizer: bool, runs: int) -> tuple[list[RunResult], Actor]:
    """A conversation of so many runs."""
    script = [reply for n in range(runs) for reply in replies(seed + 1000 * n)]
    model = VLLMModel(URL, api_key=KEY, tokenizer=TOKENIZER if tokenizer else None)
    actor = Actor(model, script)
    agent = Agent(
        actor,
        instructions=f"You are assistant {seed}: take care, 日本.",
        tools=[read, write],
        settings=ModelSettings(thinking=bool(seed % 2)),
        context=_context(seed),
        limits=Limits(steps=60),
        observers=[watch],
    )
    results: list[RunResult] = []
    history: Sequence[Message] = ()
    for n in range(runs):
        question = f"Question {n}: what is wrong in the project? <|turn>"
        results.append(await agent.run(question, history=history))
        history = results[-1].messages
    await agent.aclose()
    return results, actor


def _context(seed: int) -> Context | None:
    if summarises(seed):
        return Context(compact_at=6_000, compaction=[Summarize()], recall=True)
    return Context(compact_at=4_000) if seed % 5 == 4 else None


def watch(_run_id: str, event: Event) -> None:
    if isinstance(event, ContextCompacted):
        show(
            f"  step {event.step}: compacted {event.before} -> {event.after},"
            f" {len(event.cleared)} results cleared, {event.dropped} messages dropped"
        )


def show(line: str) -> None:
    sys.stdout.write(line + "\n")


@pytest.mark.parametrize("seed", [2, 3, 5, 6, 9])  # more of them: soak.context_live
def test_a_long_conversation_is_counted_to_the_token_and_never_refused(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        show(f"\nconversation {seed}")
        tokenizer, runs = seed % 3 == 2, 1 + seed % 2
        results, actor = anyio.run(lambda: converse(seed, tokenizer=tokenizer, runs=runs))
        prompts = [prompt for result in results for prompt in result.context.prompts]
        each = (f"{p.foreseen}={p.counted} ({p.cached})" for p in prompts)
        show(f"  foreseen=counted (cached): {', '.join(each)}")
    assert [result.stop_reason for result in results] == ["answer"] * len(results)
    assert len(prompts) == len(actor.sent) >= 21
    assert all(prompt.exact for prompt in prompts)
    assert {type(count) for count in actor.asked} == {CountTexts}, "only what is new is counted"
    assert [prompt.foreseen for prompt in prompts] == [prompt.counted for prompt in prompts]
    for prompt, request in zip(prompts, actor.sent, strict=True):
        assert prompt.foreseen + (request.settings.max_tokens or 0) <= WINDOW
    assert sum(result.context.compactions for result in results) >= 1
    assert bool(actor.summaries) == summarises(seed)
    block = gcd(*(prompt.cached for prompt in prompts))
    anew = [read_anew(*asked, block) for asked in actor.summaries]
    with capsys.disabled():
        show(f"  read anew for summaries, beside the question: {anew}")
    steps = [len([m for m in r.messages if m.role == "assistant"]) for r in results]
    assert steps[-1] == sum(len(replies(seed + 1000 * n)) for n in range(len(results)))


if TYPE_CHECKING:
    _: type[Model] = Actor
    _counts: type[CountsPrompts] = Actor
