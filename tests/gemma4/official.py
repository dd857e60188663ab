"""The official templates, run with jinja2 and fed what vLLM 0.32 feeds them.

They are no part of the project: the folder is named by `AGENTKIT_TEMPLATES`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.sandbox
import pytest

from agentkit.gemma4.render import Declaration, Generation
from agentkit.messages import (
    AssistantMessage,
    AudioPart,
    Content,
    ImagePart,
    Message,
    Part,
    TextPart,
    ToolMessage,
)

ROOT = Path(__file__).parents[2]
TEMPLATES = Path(os.environ.get("AGENTKIT_TEMPLATES", ROOT.parent / "shared" / "templates"))
FILES = {
    "large": "gemma4-canonical-2026-07-09-31b.jinja",
    "small": "gemma4-canonical-2026-07-09-e2b.jinja",
    "april": "gemma4-2026-04-31b.jinja",
}

_DEFAULTS = Generation()

needs_templates = pytest.mark.skipif(
    not (TEMPLATES / FILES["large"]).is_file(),
    reason="the official templates are absent; AGENTKIT_TEMPLATES names their folder",
)


@cache
def template(name: str) -> jinja2.Template:
    """An official template."""
    return compiled(TEMPLATES / FILES[name])


def compiled(file: Path) -> jinja2.Template:
    """A template compiled as transformers compiles it."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    return environment.from_string(file.read_text(encoding="utf-8"))


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def official(
    name: str,
    messages: Sequence[Message],
    tools: Sequence[Declaration] = (),
    generation: Generation = _DEFAULTS,
) -> str:
    """The prompt text that a server with this official template renders."""
    return rendered(template(name), messages, tools, generation)


def rendered(
    template: jinja2.Template,
    messages: Sequence[Message],
    tools: Sequence[Declaration],
    generation: Generation,
) -> str:
    """The prompt text that a server with this template renders."""
    return template.render(
        messages=[_fed(message) for message in messages],
        tools=[_tool(tool) for tool in tools] or None,
        bos_token="<bos>",
        raise_exception=_refuse,
        enable_thinking=generation.thinking,
        preserve_thinking=generation.preserve_thinking,
        add_generation_prompt=generation.prompt,
    )


def _tool(tool: Declaration) -> dict[str, Any]:
    # vLLM's FunctionDefinition fills an absent description in as None.
    function = {"description": None, "parameters": None, **copy.deepcopy(dict(tool))}
    return {"type": "function", "function": function}


def _fed(message: Message) -> dict[str, Any]:
    """vLLM's `parse_chat_messages` with content format "openai" (renderers/chat_utils.py)."""
    fed: dict[str, Any] = {"role": message.role, "content": _parts(message.content)}
    if isinstance(message, AssistantMessage):
        if message.tool_calls:
            fed["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": copy.deepcopy(call.arguments)},
                }
                for call in message.tool_calls
            ]
        if message.reasoning is not None:
            fed["reasoning"] = fed["reasoning_content"] = message.reasoning
    if isinstance(message, ToolMessage):
        fed |= {"tool_call_id": message.call_id, "name": message.name}
        if all(part["type"] == "text" for part in fed["content"]):
            fed["content"] = "\n".join(part["text"] for part in fed["content"])
    return fed


def _parts(content: Content | None) -> list[dict[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [_part(part) for part in content]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImagePart):
        return {"type": "image"}
    return {"type": "audio"} if isinstance(part, AudioPart) else {"type": "video"}
