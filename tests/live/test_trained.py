"""What only a trained checkpoint can do: choose the tool itself, and answer from its result."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from agentkit_tools import project_reader

from agentkit import ModelSettings, VLLMModel
from agentkit.messages import AssistantMessage, ToolCall
from examples.project_assistant.main import agent as project_assistant
from tests.live.client import KEY, URL, live

pytestmark = [
    *live,
    pytest.mark.skipif(
        os.environ.get("AGENTKIT_LIVE_CHECKPOINT") != "tiny",
        reason="needs the trained checkpoint: make live ARGS='--checkpoint tiny'",
    ),
]

REPO = Path(__file__).parents[2]
NAMES = ("LocalExecutor", "VLLMModel", "EventDecoder", "MessageEncoder", "RunFiles", "Transport")


@pytest.mark.parametrize("stream", [True, False])
def test_it_finds_definitions_in_this_repository_and_says_where(stream: bool) -> None:
    """Most, not all: two million parameters are allowed a slip."""
    agent = project_assistant(VLLMModel(URL, api_key=KEY, stream=stream), REPO)
    find = {tool.name: tool for tool in project_reader(REPO)}["find_definition"]
    right = 0
    for name in NAMES:
        settings = ModelSettings(temperature=0.0, thinking=False)
        result = agent.run_sync(f"Where is {name} defined?", settings=settings)
        made = [m.tool_calls for m in result.messages if isinstance(m, AssistantMessage)]
        where = str(find.function(name=name)).splitlines()[1].split(":")[0]
        called = made[0] == (ToolCall("call_0", "find_definition", {"name": name}),)
        right += called and result.stop_reason == "answer" and where in str(result.output)
    assert right >= len(NAMES) - 1
