"""Agents on a Gemma 4 that you serve yourself with vLLM.

The names below are the whole public API; everything else may change between versions.
"""

from agentkit.agent import Agent, Cancellation
from agentkit.context import Context
from agentkit.errors import (
    AgentKitError,
    ContextWindowError,
    JournalError,
    ModelConnectionError,
    ModelError,
    ModelProtocolError,
    ModelStatusError,
    ModelTimeoutError,
    NoAnswerError,
    ServerNotReadyError,
    ToolDefinitionError,
    ToolError,
)
from agentkit.events import (
    ContextCompacted,
    Event,
    PartialOutput,
    ReasoningDelta,
    RunFinished,
    RunResult,
    RunStarted,
    StepFinished,
    StepRestarted,
    StepStarted,
    SubRunEvent,
    TextDelta,
    ToolCallDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.executors import Executor, LocalExecutor, ProcessExecutor, RoutingExecutor
from agentkit.journal import Journal, SQLiteJournal
from agentkit.messages import ModelSettings, ToolChoice, Usage, dump_messages, load_messages
from agentkit.models import Model, Timeouts, VLLMModel
from agentkit.policy import Limits, Policy
from agentkit.toolset import RunContext, Tool, ToolContext, Toolset, tool
from agentkit.trace import RunFiles
from agentkit.version import __version__ as __version__

__all__ = [
    "Agent",
    "AgentKitError",
    "Cancellation",
    "Context",
    "ContextCompacted",
    "ContextWindowError",
    "Event",
    "Executor",
    "Journal",
    "JournalError",
    "Limits",
    "LocalExecutor",
    "Model",
    "ModelConnectionError",
    "ModelError",
    "ModelProtocolError",
    "ModelSettings",
    "ModelStatusError",
    "ModelTimeoutError",
    "NoAnswerError",
    "PartialOutput",
    "Policy",
    "ProcessExecutor",
    "ReasoningDelta",
    "RoutingExecutor",
    "RunContext",
    "RunFiles",
    "RunFinished",
    "RunResult",
    "RunStarted",
    "SQLiteJournal",
    "ServerNotReadyError",
    "StepFinished",
    "StepRestarted",
    "StepStarted",
    "SubRunEvent",
    "TextDelta",
    "Timeouts",
    "Tool",
    "ToolCallDelta",
    "ToolChoice",
    "ToolContext",
    "ToolDefinitionError",
    "ToolError",
    "ToolFinished",
    "ToolProgress",
    "ToolStarted",
    "Toolset",
    "Usage",
    "VLLMModel",
    "dump_messages",
    "load_messages",
    "tool",
]
