"""Agents on a Gemma 4 that you serve yourself with vLLM.

The names below are the whole public API; everything else may change between versions.
"""

from agentkit.agent import Agent
from agentkit.errors import (
    AgentKitError,
    ContextWindowError,
    JournalError,
    ModelConnectionError,
    ModelError,
    ModelProtocolError,
    ModelStatusError,
    ModelTimeoutError,
    ServerNotReadyError,
    ToolDefinitionError,
    ToolError,
)
from agentkit.events import (
    Event,
    ReasoningDelta,
    RunFinished,
    RunResult,
    RunStarted,
    StepFinished,
    StepRestarted,
    StepStarted,
    TextDelta,
    ToolCallDelta,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from agentkit.executors import Executor, LocalExecutor
from agentkit.messages import ModelSettings, Usage, dump_messages, load_messages
from agentkit.models import Model, Timeouts, VLLMModel
from agentkit.policy import Limits
from agentkit.toolset import RunContext, Tool, ToolContext, Toolset, tool
from agentkit.trace import RunFiles

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "AgentKitError",
    "ContextWindowError",
    "Event",
    "Executor",
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
    "ReasoningDelta",
    "RunContext",
    "RunFiles",
    "RunFinished",
    "RunResult",
    "RunStarted",
    "ServerNotReadyError",
    "StepFinished",
    "StepRestarted",
    "StepStarted",
    "TextDelta",
    "Timeouts",
    "Tool",
    "ToolCallDelta",
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
