"""The benchmark of long prompts measures what it says; its figures are for quiet machines."""

from __future__ import annotations

import anyio
import pytest

from agentkit.messages import ToolMessage, text_of
from agentkit.models.embedded import Decoder
from benchmarks.long_prompt import long_history, measure

pytestmark = pytest.mark.slow


def test_the_history_is_as_long_as_it_is_said_to_be() -> None:
    texts = [text_of(m.content) for m in long_history(20_000) if isinstance(m, ToolMessage)]
    assert sum(len(Decoder().encode(text)) for text in texts) > 20_000


def test_both_ways_make_their_steps() -> None:
    pairs = anyio.run(measure, 1, 10_000)
    assert all(bare > 0 and own > 0 for bare, own in pairs)
