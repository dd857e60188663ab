"""What a server answered, as a tool's result: every part shown, or a sentence in its place."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import mcp_types

from agentkit.errors import ToolError
from agentkit.messages import AudioPart, Part, TextPart
from agentkit.schema.foreign import misfit
from agentkit.toolset import ToolOutput, image_part

_MOST_MEDIA = 32_000_000
"""Characters of base64 of one image or sound that are decoded: more than any model takes."""


def output_of(
    result: mcp_types.CallToolResult, structured: Any, promised: object, name: str
) -> ToolOutput:
    """A result as the model, people and programs get it.

    Args:
        result: The parts that the server sent.
        structured: Its structured content, as it came.
        promised: The tool's output schema; None where it has none.
        name: Of the tool.

    Raises:
        ToolError: The server says that the call failed; with its words.
    """
    parts = [_part(block) for block in result.content]
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if result.is_error:
        raise ToolError("\n".join(texts) or f"{name} failed and said nothing")
    if structured is not None and not _told(structured, texts):
        parts.append(TextPart(json.dumps(structured, ensure_ascii=False)))
    if promised is not None and (note := _broken_promise(structured, promised)):
        parts.append(TextPart(note))
    shown: Any = parts
    if all(isinstance(part, TextPart) for part in parts):
        shown = "\n".join(part.text for part in parts if isinstance(part, TextPart)) or None
    return ToolOutput(shown, data=structured)


def _told(structured: Any, texts: list[str]) -> bool:
    """Whether the texts say what the structured content says, as servers are asked to."""
    wanted = [structured]
    if isinstance(structured, dict) and structured.keys() == {"result"}:
        wanted.append(structured["result"])  # the frame that servers put around what is no object
    read = [_json_or_text(text) for text in texts]
    return any(want == each for want in wanted for each in read) or read in wanted


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _broken_promise(structured: Any, promised: object) -> str:
    if structured is None:
        return "(The tool promises structured content, and the server sent none.)"
    why = misfit(promised, structured)
    return f"(The structured content is not what the tool promises: {why}.)" if why else ""


def _part(block: mcp_types.ContentBlock) -> Part:
    match block:
        case mcp_types.TextContent():
            return TextPart(block.text)
        case mcp_types.ImageContent():
            return _image(block.data, block.mime_type)
        case mcp_types.AudioContent():
            return _sound(block.data, block.mime_type)
        case mcp_types.ResourceLink():
            about = f" ({block.description})" if block.description else ""
            return TextPart(f"[{block.name}: {block.uri}{about}]")
        case mcp_types.EmbeddedResource(resource=mcp_types.TextResourceContents() as resource):
            return TextPart(f"[{resource.uri}]\n{resource.text}")
        case mcp_types.EmbeddedResource(resource=mcp_types.BlobResourceContents() as resource):
            if (resource.mime_type or "").startswith("image/"):
                return _image(resource.blob, resource.mime_type or "")
            return TextPart(f"[{resource.uri}: {len(resource.blob)} characters of base64]")
        case _:
            return TextPart(f"[a {block.type} that cannot be shown]")


def _image(data: str, kind: str) -> Part:
    """The picture, if it is one that models take, whatever the server calls it."""
    decoded = _decoded(data)
    try:
        return image_part(decoded or b"")
    except ValueError as error:
        return TextPart(f"[an image that cannot be shown: {kind[:60]}, {len(data):,} characters of "
                        f"base64: {error}]")  # fmt: skip


def _sound(data: str, kind: str) -> Part:
    if not _decoded(data):
        return TextPart(f"[a sound that cannot be played: {kind[:60]}, no base64 or too large]")
    return AudioPart(data, kind.rpartition("/")[2].removeprefix("x-"))


def _decoded(data: str) -> bytes | None:
    if len(data) > _MOST_MEDIA:
        return None
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
