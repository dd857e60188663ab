"""A request read back from its body: the messages and tools as the server was given them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentkit.messages import (
    AssistantMessage,
    AudioPart,
    Content,
    ImagePart,
    JsonObject,
    Message,
    Part,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
    VideoPart,
)


def read_messages(sent: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages of a body, all their texts as they were sent.

    Raises:
        KeyError: A message lacks what `encode_request` writes.
        ValueError: A message is of an unknown role, or its arguments are no JSON.
    """
    return [_message(each) for each in sent]


def read_declarations(fields: Mapping[str, Any]) -> list[JsonObject]:
    """The tools of a body, as a chat template is given them."""
    functions = [dict(tool["function"]) for tool in fields.get("tools", ())]
    return [{k: v for k, v in each.items() if k != "strict"} for each in functions]


def _message(sent: Mapping[str, Any]) -> Message:
    content = sent.get("content")
    match sent["role"]:
        case "system":
            return SystemMessage(content or "")
        case "user":
            return UserMessage(_content(content))
        case "tool":
            return ToolMessage(sent["tool_call_id"], "", _content(content))
        case "assistant":
            calls = tuple(_call(each) for each in sent.get("tool_calls", ()))
            return AssistantMessage(content, calls, sent.get("reasoning"))
        case role:
            raise ValueError(f"a message of the role {role!r}")


def _call(sent: Mapping[str, Any]) -> ToolCall:
    function = sent["function"]
    return ToolCall(sent["id"], function["name"], json.loads(function["arguments"]))


def _content(sent: str | Sequence[Mapping[str, Any]] | None) -> Content:
    if sent is None or isinstance(sent, str):
        return sent or ""
    return tuple(_part(part) for part in sent)


def _part(sent: Mapping[str, Any]) -> Part:
    match sent["type"]:
        case "text":
            return TextPart(sent["text"])
        case "image_url":
            return ImagePart(sent["image_url"]["url"])
        case "input_audio":
            return AudioPart(sent["input_audio"]["data"], sent["input_audio"]["format"])
        case "video_url":
            return VideoPart(sent["video_url"]["url"])
        case kind:
            raise ValueError(f"a part of the type {kind!r}")
