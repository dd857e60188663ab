"""Forced calls as JSON: for servers whose only hold on a reply is `response_format`.

Out: the conversation with the tools in words at its end, and the schema of a call. Back: the JSON
as the call that it is. The tools are not sent as such: a server refuses both at once, or lets the
schema win silently (vllm#16313).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from agentkit.messages import (
    JsonObject,
    ModelRequest,
    ModelResponse,
    ToolCall,
    ToolDefinition,
)
from agentkit.policy import noted
from agentkit.wire import read_call

_FORM: Final = (
    '(Answer with one JSON object and nothing else: {"name": NAME, "arguments": {…}}, a call of '
    "one of these tools, as JSON Schema describes it:\n"
)


def json_request(request: ModelRequest) -> tuple[ModelRequest, JsonObject]:
    """A request that has to be answered by a call, as one that has to be answered in JSON.

    Returns:
        The request to send, and the fields that hold its reply.
    """
    offered = _offered(request)
    told = json.dumps([tool.declaration for tool in offered], ensure_ascii=False)
    asked = replace(request, messages=noted(request.messages, f"{_FORM}{told})"), tools=())
    forms = [
        {
            "type": "object",
            "properties": {
                "name": {"type": "string", "enum": [tool.name]},
                "arguments": tool.parameters,
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in offered
    ]
    schema = forms[0] if len(forms) == 1 else {"anyOf": forms}
    held = {"name": "tool_call", "schema": schema, "strict": True}
    return asked, {"response_format": {"type": "json_schema", "json_schema": held}}


def json_response(response: ModelResponse, request: ModelRequest, first_call: int) -> ModelResponse:
    """The reply with its JSON as a call; as it is where it holds no call of an offered tool."""
    message = response.message
    if message.tool_calls or response.finish_reason != "stop":
        return response
    read = read_call("", "", message.content or "")
    name, arguments = read.arguments.get("name"), read.arguments.get("arguments")
    known = {tool.name for tool in _offered(request)}
    if read.malformed is not None or name not in known or not isinstance(arguments, dict):
        return response
    call = ToolCall(f"call_{first_call}", name, arguments)
    return replace(
        response,
        message=replace(message, content=None, tool_calls=(call,)),
        finish_reason="tool_calls",
    )


def asked_in_words(request: ModelRequest) -> ModelRequest:
    """A request for a call, for a server that nothing can be forced on."""
    names = " or ".join(tool.name for tool in _offered(request))
    note = f"(Call the tool {names} now, in your own tool call format, and write nothing else.)"
    return replace(request, messages=noted(request.messages, note))


def _offered(request: ModelRequest) -> Sequence[ToolDefinition]:
    named = request.tool_choice.name
    return [tool for tool in request.tools if named in (None, tool.name)]
