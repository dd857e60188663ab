"""What is sent of a conversation, counted to the token: the window, its ledger, compaction.

Pure: counts are asked for, never made here, and the history itself is never changed.
"""

from agentkit.context.limits import Context
from agentkit.context.prompt import (
    Answer,
    AskModel,
    Count,
    Counting,
    CountPrompt,
    CountTexts,
    PromptForm,
    Steps,
    TokenCounts,
    estimated_tokens,
)
from agentkit.context.strategies import (
    Clear,
    ClearOldResults,
    Drop,
    DropCoveredReads,
    DropDuplicateReads,
    DropOldExchanges,
    Exchange,
    Move,
    Past,
    Strategy,
    Summarize,
)
from agentkit.context.window import ContextWindow, Fitted

__all__ = [
    "Answer",
    "AskModel",
    "Clear",
    "ClearOldResults",
    "Context",
    "ContextWindow",
    "Count",
    "CountPrompt",
    "CountTexts",
    "Counting",
    "Drop",
    "DropCoveredReads",
    "DropDuplicateReads",
    "DropOldExchanges",
    "Exchange",
    "Fitted",
    "Move",
    "Past",
    "PromptForm",
    "Steps",
    "Strategy",
    "Summarize",
    "TokenCounts",
    "estimated_tokens",
]
