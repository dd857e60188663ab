"""The floor: what an agent costs that is written by hand for one tool, on httpx2 and `json`.

It keeps no types, checks nothing, retries nothing, and is told of nothing. Nothing built on the
same HTTP library can cost less.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2


async def run(
    client: httpx2.AsyncClient,
    root: str,
    body: dict[str, Any],
    tool: Callable[..., Awaitable[str]],
) -> str:
    """Asks and calls until the model answers with text; `body` grows."""
    while True:
        ask = _streamed if body.get("stream") else _whole
        message = await ask(client, f"{root}/v1/chat/completions", body)
        if not message.get("tool_calls"):
            return str(message["content"])
        body["messages"].append(message)
        for call in message["tool_calls"]:
            content = await tool(**json.loads(call["function"]["arguments"]))
            result = {"role": "tool", "tool_call_id": call["id"], "content": content}
            body["messages"].append(result)


async def _whole(client: httpx2.AsyncClient, url: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(url, json=body)
    message: dict[str, Any] = response.json()["choices"][0]["message"]
    return message


async def _streamed(client: httpx2.AsyncClient, url: str, body: dict[str, Any]) -> dict[str, Any]:
    text, calls = "", dict[int, dict[str, Any]]()
    async with client.stream("POST", url, json=body) as response:
        async for line in response.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            for choice in json.loads(line[6:])["choices"]:
                text += choice["delta"].get("content") or ""
                for piece in choice["delta"].get("tool_calls") or ():
                    call = calls.setdefault(piece["index"], {"function": {"arguments": ""}})
                    arguments = piece["function"].pop("arguments", "")
                    call["function"] |= piece.pop("function")
                    call |= piece
                    call["function"]["arguments"] += arguments
    return {"role": "assistant", "content": text or None, "tool_calls": list(calls.values())}
