"""Files of 2,000 characters in a window of 8,192: what was asked for is in the prompt."""

from __future__ import annotations

import random

import anyio
import pytest

from agentkit import Agent, VLLMModel
from agentkit.messages import AssistantMessage, ToolCall, text_of
from tests.context.test_late_cut import file_of
from tests.live.client import KEY, URL, WINDOW, live
from tests.live.test_context import Actor

pytestmark = [*live, pytest.mark.timeout(900)]

QUESTIONS = 40


async def asked(seed: int) -> bool:
    """Whether the line in the middle of a file stood in the prompt after it was read."""
    rng = random.Random(seed)
    text = file_of(rng, rng.randint(1700, 2300))

    def read_file(path: str) -> str:
        """Read a text file."""
        return text

    call = AssistantMessage(None, (ToolCall("call_0", "read_file", {"path": "a.py"}),))
    actor = Actor(VLLMModel(URL, api_key=KEY), [call, AssistantMessage("Read.")])
    agent = Agent(actor, instructions="Look closely. " * 250, tools=[read_file], observers=())
    result = await agent.run("What is the answer in a.py?")
    await agent.aclose()
    prompts = result.context.prompts
    assert [prompt.foreseen for prompt in prompts] == [prompt.counted for prompt in prompts]
    assert all(prompt.foreseen <= WINDOW for prompt in prompts)
    line = next(line for line in text.splitlines() if "the answer is" in line)
    return line in text_of(actor.sent[-1].messages[-1].content)


def test_the_line_in_the_middle_of_a_file_is_in_every_prompt() -> None:
    there = [anyio.run(asked, seed) for seed in range(QUESTIONS)]
    assert sum(there) == QUESTIONS
