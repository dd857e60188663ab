"""The shipped template against agentkit's own rendering and against the official template."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.gemma4.render import Generation, render
from agentkit.messages import Message
from tests.gemma4 import strategies as some
from tests.gemma4.official import compiled, needs_templates, official, rendered

pytestmark = pytest.mark.slow

TEMPLATE = Path(__file__).parents[3] / "training" / "tiny_gemma4" / "chat_template.jinja"
LARGE = some.generations.filter(lambda generation: generation.variant == "large")


@cache
def ours() -> jinja2.Template:
    return compiled(TEMPLATE)


@settings(max_examples=200, deadline=None)
@given(some.conversations, st.lists(some.declarations, max_size=3), LARGE)
def test_the_shipped_template_renders_what_agentkit_renders(
    messages: list[Message], tools: list[dict[str, Any]], generation: Generation
) -> None:
    expected = render(messages, tools, generation)
    assert rendered(ours(), messages, tools, generation) == expected


@needs_templates
@settings(max_examples=200, deadline=None)
@given(some.conversations, st.lists(some.declarations, max_size=3), LARGE)
def test_the_shipped_template_renders_what_the_official_one_renders(
    messages: list[Message], tools: list[dict[str, Any]], generation: Generation
) -> None:
    expected = official("large", messages, tools, generation)
    assert rendered(ours(), messages, tools, generation) == expected
