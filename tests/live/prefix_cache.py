"""What the prefix cache of vLLM can hold of a prompt that only adds to the one before.

Of the layers with a sliding window vLLM 0.32 keeps the blocks before the last whole block of each
prompt, and no others (`--prefix-cache-retention-interval` is 0; started with 128 it keeps all).
Where that block ends within the tokens that close a prompt, which the next one does not repeat,
the server finds only what some earlier prompt ended with, and nothing can be expected.
"""

from __future__ import annotations

from typing import Final

from agentkit.messages import Usage

_CLOSING: Final = 12
"""Tokens, at most, that close a prompt behind its last message and make the model go on."""


def is_kept(prompt: int, block: int) -> bool:
    """Whether the last whole block of a prompt is one that the next prompt repeats.

    Args:
        prompt: Tokens of the prompt.
        block: Tokens of a block of the cache.
    """
    return prompt % block > _CLOSING


def read_anew(asked: Usage, before: int, block: int) -> int:
    """Tokens that a server had to read again for a summary, beside the question itself: at most a
    block, and what had closed the prompt before.

    Args:
        asked: What the server counted for the question.
        before: Tokens of the prompt before, which the question goes on from.
        block: Tokens of a block of its cache.

    Raises:
        AssertionError: It was more.
    """
    anew = max(before - asked.cached_input_tokens, 0)
    if is_kept(before, block):
        assert anew <= block + _CLOSING, f"{anew} tokens before the question were read again"
    return anew
