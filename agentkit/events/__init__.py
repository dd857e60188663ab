"""What happens in a run, as data: the loop says it, everything else watches.

The terminal, the run file, tracing and tests are observers of these events; the loop knows none
of them. Events carry the step they belong to, counted from 1; 0 is the run itself.
"""

from agentkit.events.lines import as_json, dump_event, load_event, validated
from agentkit.events.model import (
    ContextCompacted,
    ModelEvent,
    ModelFinished,
    PromptFitted,
    ReasoningDelta,
    StepRestarted,
    TextDelta,
    ToolCallDelta,
)
from agentkit.events.run import (
    ApprovalDecided,
    ApprovalNeeded,
    AskedAgain,
    CallRepaired,
    ContextUse,
    Event,
    ModelCalled,
    OutputT,
    PartialOutput,
    PromptTokens,
    RunFinished,
    RunResult,
    RunStarted,
    Spent,
    StepFinished,
    StepStarted,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)

__all__ = [
    "ApprovalDecided",
    "ApprovalNeeded",
    "AskedAgain",
    "CallRepaired",
    "ContextCompacted",
    "ContextUse",
    "Event",
    "ModelCalled",
    "ModelEvent",
    "ModelFinished",
    "OutputT",
    "PartialOutput",
    "PromptFitted",
    "PromptTokens",
    "ReasoningDelta",
    "RunFinished",
    "RunResult",
    "RunStarted",
    "Spent",
    "StepFinished",
    "StepRestarted",
    "StepStarted",
    "TextDelta",
    "ToolCallDelta",
    "ToolFinished",
    "ToolProgress",
    "ToolStarted",
    "as_json",
    "dump_event",
    "load_event",
    "validated",
]
