"""What must hold of every history and every request, however bad the day was.

Written against the rules of the chat template and of vLLM, not against the loop: each function
returns sentences about what is wrong, and an empty list when nothing is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from agentkit.gemma4.tokens import CONTROL_LITERALS
from agentkit.messages import JsonObject, Message


def history_problems(messages: Sequence[Message]) -> list[str]:
    """Each call answered once, in order, by its own id; ids unique; no text beside calls."""
    return list(_history(messages))


def _history(messages: Sequence[Message]) -> Iterator[str]:
    open_ids: list[str] = []
    seen: set[str] = set()
    for position, message in enumerate(messages):
        if message.role == "tool":
            if not open_ids or open_ids.pop(0) != message.call_id:
                yield f"message {position}: the result of {message.call_id!r} is out of place"
            continue
        if open_ids:
            yield f"message {position}: the calls {open_ids} have no results"
            open_ids = []
        if message.role == "assistant" and message.tool_calls:
            open_ids = [call.id for call in message.tool_calls]
            if message.content is not None:
                yield f"message {position}: text beside calls"
            if repeated := seen.intersection(open_ids) or len(set(open_ids)) < len(open_ids):
                yield f"message {position}: ids used twice: {repeated}"
            seen.update(open_ids)
    if open_ids:
        yield f"the calls {open_ids} have no results"


def request_problems(body: JsonObject) -> list[str]:
    """What the template or the server would choke on."""
    return list(_request(body))


def _request(body: JsonObject) -> Iterator[str]:
    if body.get("tools") and body.get("response_format"):
        yield "tools beside response_format: the model could not call a tool"
    if sum(m["role"] == "user" for m in body["messages"]) != 1:
        yield "a user message in the middle of the loop: it voids the prefix cache and thoughts"
    waiting: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            if not waiting or waiting.pop(0) != message["tool_call_id"]:
                yield f"the result of {message['tool_call_id']!r} is out of place"
        elif waiting:
            yield f"no result for {waiting}"
        for call in message.get("tool_calls") or ():
            waiting.append(call["id"])
            yield from _call(message, call)
        if message["role"] != "system" and _shows_syntax(str(message.get("content"))):
            yield f"control tokens in the content of a {message['role']} message"
    if waiting:
        yield f"no result for {waiting}"


def _call(message: JsonObject, call: JsonObject) -> Iterator[str]:
    if message["content"] is not None:
        yield "text beside calls"
    try:
        arguments = json.loads(call["function"]["arguments"], parse_constant=_refuse)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        yield f"the arguments of {call['id']!r} are no JSON object"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _shows_syntax(text: str) -> bool:
    """Whether control tokens stand in a text."""
    return any(literal in text for literal in CONTROL_LITERALS)
