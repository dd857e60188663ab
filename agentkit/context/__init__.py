"""What is sent of a conversation, counted to the token: the window, its ledger, compaction.

Pure: counts are asked for, never made here, and the history itself is never changed.
"""

from agentkit.context.limits import Context
from agentkit.context.prompt import (
    Count,
    Counting,
    CountPrompt,
    CountTexts,
    PromptForm,
    Steps,
    TokenCounts,
    estimated_tokens,
)
from agentkit.context.window import ContextWindow, Fitted

__all__ = [
    "Context",
    "ContextWindow",
    "Count",
    "CountPrompt",
    "CountTexts",
    "Counting",
    "Fitted",
    "PromptForm",
    "Steps",
    "TokenCounts",
    "estimated_tokens",
]
