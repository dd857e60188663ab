"""A chat-completions server that costs nearly nothing, in a process of its own.

    python -m benchmarks.model_server

It prints its port and serves until its standard input closes. A request for the model `steps-N`
is answered with the next call of `get_weather` until the body holds N - 1 tool results, and then
with text. The shapes are vLLM 0.32's, whole or streamed (a call in eight fragments); it returns no
token ids, so that a client has no cause for a second request.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

MODELS = ("steps-10", "steps-50")
_MODEL = re.compile(rb'"model": ?"steps-(\d+)"')
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_RESULT = re.compile(rb'"role": ?"tool"')
_STREAM = re.compile(rb'"stream": ?true')
_FRAGMENTS = 8


def _answer(body: bytes) -> dict[str, Any]:
    """The message that a request gets."""
    found = _MODEL.search(body)
    results = len(_RESULT.findall(body))
    if found is None or results >= int(found[1]) - 1:
        return {"role": "assistant", "content": "It will be sunny everywhere."}
    arguments = json.dumps({"city": f"City number {results}", "days": 1 + results % 7})
    function = {"name": "get_weather", "arguments": arguments}
    call = {"id": f"chatcmpl-tool-{results}", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _usage(body: bytes) -> dict[str, Any]:
    tokens, cached = len(body) // 4, {"cached_tokens": len(body) // 5}
    return {
        "prompt_tokens": tokens,
        "completion_tokens": 20,
        "total_tokens": tokens + 20,
        "prompt_tokens_details": cached,
    }


def _whole(body: bytes) -> bytes:
    message = _answer(body)
    finish = "tool_calls" if "tool_calls" in message else "stop"
    choice = {"index": 0, "message": message, "finish_reason": finish}
    reply = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice]}
    return json.dumps({**reply, "usage": _usage(body)}).encode()


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    first: dict[str, Any] = {"role": "assistant", "content": ""}
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return [first, *({"content": f"{word} "} for word in str(message["content"]).split())]
    function = calls[0]["function"]
    opening = {**calls[0], "index": 0, "function": {"name": function["name"]}}
    text = function["arguments"]
    size = -(-len(text) // _FRAGMENTS)
    pieces = (text[start : start + size] for start in range(0, len(text), size))
    rest = ({"tool_calls": [{"index": 0, "function": {"arguments": p}}]} for p in pieces)
    return [first, {"tool_calls": [opening]}, *rest]


def _chunks(body: bytes) -> list[bytes]:
    message = _answer(body)
    finish = "tool_calls" if "tool_calls" in message else "stop"
    choices: list[dict[str, Any]] = [
        {"index": 0, "delta": delta, "finish_reason": None} for delta in _deltas(message)
    ]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk"}
    payloads: list[dict[str, Any]] = [{**head, "choices": [choice]} for choice in choices]
    payloads.append({**head, "choices": [], "usage": _usage(body)})
    events = [b"data: " + json.dumps(each).encode() + b"\n\n" for each in payloads]
    return [*events, b"data: [DONE]\n\n"]


def _models() -> bytes:
    names = {**dict.fromkeys(MODELS, 131_072), **dict.fromkeys(sys.argv[1:], 1_048_576)}
    cards = [{"id": name, "object": "model", "max_model_len": n} for name, n in names.items()]
    return json.dumps({"object": "list", "data": cards}).encode()


class _Connection(asyncio.Protocol):
    """HTTP/1.1 as far as a client on the same machine needs it."""

    def __init__(self) -> None:
        self._pending = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps where to write."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers each request that is whole."""
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            head = self._pending[:end]
            length = _LENGTH.search(head)
            total = end + 4 + (int(length[1]) if length else 0)
            if len(self._pending) < total:
                return
            body, self._pending = self._pending[end + 4 : total], self._pending[total:]
            self._reply(head, body)

    def _reply(self, head: bytes, body: bytes) -> None:
        assert self._transport is not None
        if b"/v1/chat/completions" in head:
            if _STREAM.search(body):
                self._stream(_chunks(body))
                return
            status, content = b"200 OK", _whole(body)
        elif b"/v1/models" in head:
            status, content = b"200 OK", _models()
        else:
            status, content = b"404 Not Found", b'{"detail":"Not Found"}'
        lines = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(lines % (status, len(content)) + content)

    def _stream(self, events: list[bytes]) -> None:
        """One write for each event, as a server writes that has one token at a time."""
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for event in events:
            self._transport.write(b"%x\r\n%s\r\n" % (len(event), event))
        self._transport.write(b"0\r\n\r\n")


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    closed = asyncio.Event()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            closed.set()

    loop.add_reader(sys.stdin.fileno(), read)
    await closed.wait()


@asynccontextmanager
async def model_server(*names: str) -> AsyncGenerator[str, None]:
    """The server's root address, while a process of its own serves it.

    Args:
        names: Further models, with a window of a million tokens.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.model_server", *names),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.stdin.close()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
