"""What a real vLLM said, replayed offline from the run file."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentkit import Limits, ModelSettings, RunFiles, VLLMModel
from agentkit.runtime import assert_replays
from agentkit.testing import ScriptedModel
from agentkit.trace import parts_of, read_events
from examples.project_assistant.main import SAMPLE, agent
from tests.live.client import KEY, URL, live

pytestmark = live


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_live_run_replays_offline(tmp_path: Path, stream: bool, temperature: float) -> None:
    files = RunFiles(tmp_path)
    model = VLLMModel(URL, api_key=KEY, stream=stream)
    watched = agent(model, SAMPLE).override(observers=[files])
    settings = ModelSettings(temperature=temperature, seed=7, max_tokens=200)
    for number, question in enumerate(("Where is Till defined?", "List the files in .")):
        result = watched.run_sync(
            question, settings=settings, limits=Limits(steps=6), run_id=f"live-{number}"
        )
        file = files.path(result.run_id)
        assert_replays(agent(ScriptedModel([]), SAMPLE), file)
        text = file.read_text()
        assert KEY not in text
        (part,) = parts_of(read_events(file))
        calls = [asked.called for step in part.steps for asked in step.asked]
        assert part.usage == result.usage
        assert all(call.response.usage.input_tokens > 0 for call in calls)
        assert all((call.first_token is not None) == stream or not stream for call in calls)
        assert {call.model for call in calls} == {model.name}
