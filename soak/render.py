"""10,000 random conversations: our renderer against both canonical templates, byte for byte."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from agentkit.gemma4.render import Generation, TemplateVariant, render
from agentkit.messages import Message
from soak.proof import prove
from soak.templates import require_templates
from tests.gemma4 import strategies as some
from tests.gemma4.official import official

_BATCHES = 50
_CONVERSATIONS = 200
_VARIANTS: tuple[TemplateVariant, ...] = ("large", "small")


def batch(number: int) -> dict[str, int]:
    """Compare that many conversations under both templates."""
    counts: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=_CONVERSATIONS,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.large_base_example),
    )
    @given(some.conversations, st.lists(some.declarations, max_size=3), some.generations)
    def check(messages: list[Message], tools: list[dict[str, Any]], generation: Generation) -> None:
        for variant in _VARIANTS:
            asked = replace(generation, variant=variant)
            rendered = render(messages, tools, asked)
            expected = official(variant, messages, tools, asked)
            assert rendered == expected, (messages, tools, asked)
            counts["equal prompts"] += 1
        counts["conversations"] += 1

    check()
    return counts


if __name__ == "__main__":
    require_templates()
    sys.exit(prove("render", _BATCHES, batch))
