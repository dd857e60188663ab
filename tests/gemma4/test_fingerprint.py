from __future__ import annotations

import pytest

from agentkit.gemma4.profiles import PROBE, fingerprint
from tests.gemma4.official import needs_templates, official


@needs_templates
@pytest.mark.parametrize(
    ("name", "generation"),
    [("large", "canonical"), ("small", "canonical-small"), ("april", "april")],
)
def test_each_official_template_is_recognised(name: str, generation: str) -> None:
    tools = [tool.declaration for tool in PROBE.tools]
    assert fingerprint(official(name, PROBE.messages, tools)) == generation


def test_any_other_prompt_is_unknown() -> None:
    assert fingerprint("<bos><start_of_turn>user\nping<end_of_turn>") == "unknown"
