"""Typed Python functions as tools: definition, validation, and sets of them.

In: a function and, later, a model's `ToolCall`. Out: a `ToolDefinition` for the model, and a
`ValidatedCall` for the executor or a `ToolResult` that tells the model what is wrong. Nothing here
runs a tool or does I/O.
"""

from agentkit.toolset.options import (
    LABELS,
    UNLABELLED,
    ApprovalRule,
    Effect,
    Happened,
    Label,
    LockKey,
    Probe,
    RunContext,
    RunHandles,
    TargetOf,
    ToolContext,
    ToolOptions,
    idempotency_key,
    known_labels,
)
from agentkit.toolset.results import (
    ToolOutput,
    audio_part,
    image_part,
    result_content,
    result_text,
    tool_result,
)
from agentkit.toolset.sets import DynamicToolset, Toolset, ToolSource, combined, dynamic
from agentkit.toolset.tool import Arguments, Tool, ValidatedCall, make_tool, tool

__all__ = [
    "LABELS",
    "UNLABELLED",
    "ApprovalRule",
    "Arguments",
    "DynamicToolset",
    "Effect",
    "Happened",
    "Label",
    "LockKey",
    "Probe",
    "RunContext",
    "RunHandles",
    "TargetOf",
    "Tool",
    "ToolContext",
    "ToolOptions",
    "ToolOutput",
    "ToolSource",
    "Toolset",
    "ValidatedCall",
    "audio_part",
    "combined",
    "dynamic",
    "idempotency_key",
    "image_part",
    "known_labels",
    "make_tool",
    "result_content",
    "result_text",
    "tool",
    "tool_result",
]
