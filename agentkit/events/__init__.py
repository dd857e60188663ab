"""What happens in a run, as data: the loop says it, everything else watches.

The terminal, the run file, tracing and tests are observers of these events; the loop knows none
of them. Events carry the step they belong to, counted from 1; 0 is the run itself.
"""

from agentkit.events.lines import as_json, dump_event, event_of, load_event, validated
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
    CallRepaired,
    ContextUse,
    Event,
    ModelCalled,
    OutputT,
    PartialOutput,
    PromptTokens,
    ReplyInterrupted,
    ReplyReceived,
    RequestSent,
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
from agentkit.events.values import Values

__all__ = [
    "ApprovalDecided",
    "ApprovalNeeded",
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
    "ReplyInterrupted",
    "ReplyReceived",
    "RequestSent",
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
    "Values",
    "as_json",
    "dump_event",
    "event_of",
    "load_event",
    "validated",
]
