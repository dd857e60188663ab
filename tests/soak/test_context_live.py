from __future__ import annotations

from agentkit.events import PromptTokens
from soak.context_live import warm


def test_what_blocks_allow_is_asked_of_requests_that_only_add_to_the_one_before() -> None:
    counted = [(1_000, 0), (1_500, 896), (2_000, 1_280), (900, 128), (1_100, 640)]
    prompts = [
        PromptTokens(step, tokens, exact=True, counted=tokens, cached=cached)
        for step, (tokens, cached) in enumerate(counted, 1)
    ]
    assert list(warm(prompts, 128)) == [(896, 768), (1_280, 1_280), (640, 768)]
