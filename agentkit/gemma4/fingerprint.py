"""Tell which chat template a server uses, from the prompt it renders for a fixed conversation.

Quantised re-uploads of Gemma 4 often carry an older template (vllm-project/vllm#39885), and the
differences are silent: parameters vanish, None is printed for null.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from agentkit.gemma4.render import Generation, TemplateVariant, render
from agentkit.messages import (
    AssistantMessage,
    ModelRequest,
    ModelSettings,
    SystemMessage,
    ToolCall,
    ToolDefinition,
    ToolMessage,
    UserMessage,
)

TemplateGeneration: TypeAlias = Literal["canonical", "canonical-small", "april", "unknown"]
"""The template of 2026-07-09 for large or small models, the releases before it, or another."""

PROBE: Final = ModelRequest(
    messages=(
        # Followed by a space where the server passes content as lists of parts, as vLLM does.
        SystemMessage("Probe."),
        UserMessage("ping"),
        AssistantMessage(tool_calls=(ToolCall("probe-1", "probe", {"flag": None}),)),
        ToolMessage("probe-1", "probe", "pong"),
        AssistantMessage("done"),
        UserMessage("again"),
    ),
    tools=(
        ToolDefinition(
            "probe",
            "Checks a template.",
            {
                "type": "object",
                "properties": {
                    # Templates before the canonical one drop a parameter of this name.
                    "type": {"type": "string", "description": "A name of JSON Schema itself."},
                    "flag": {"type": "boolean", "description": "A null.", "nullable": True},
                },
                "required": ["type"],
            },
        ),
    ),
    settings=ModelSettings(thinking=False),
)
"""Send it as it is, not lowered and without sampling, and read the prompt back.

With vLLM: `return_prompt_text` of a chat request, or `/tokenize` and then `/detokenize`.
"""


def fingerprint(prompt: str) -> TemplateGeneration:
    """Which template generation turned `PROBE` into this prompt text."""
    if prompt == _expected("large"):
        return "canonical"
    if prompt == _expected("small"):
        return "canonical-small"
    drops_reserved_names = "A name of JSON Schema itself." not in prompt
    if drops_reserved_names and "call:probe{flag:None}" in prompt:
        return "april"
    return "unknown"


def _expected(variant: TemplateVariant) -> str:
    declarations = [tool.declaration for tool in PROBE.tools]
    return render(PROBE.messages, declarations, Generation(variant=variant))
