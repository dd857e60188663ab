"""A server that answers as vLLM 0.32 does, without sockets: what the model wrote is what it sends.

It gives token ids or none, streams or answers whole, reads calls as vLLM reads them or not at all,
and obeys grammars or not, as a test wants it.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import httpx2

from agentkit.models.calls import is_probe
from tests.reading.as_vllm import Read, read_as_vllm
from tests.reading.schemas import JsonObject
from tests.reading.tokens import (
    CALLS_END,
    decode,
    encode,
    encode_prompt,
    spelled,
)

MODEL: Final = "google/gemma-4-26B-A4B-it"
URL: Final = "http://gemma.invalid/v1"
_PROBE: Final = "agentkit_probe"


@dataclass(frozen=True)
class Wrote:
    """One reply of the model, and what its server makes of it.

    Attributes:
        text: With private characters for control tokens, its stop token included.
        parses: The server reads calls and thoughts as vLLM does; otherwise all is `content`.
        by_ids: It takes real control tokens only, as vLLM does in a stream; not their spelling.
        finish: `finish_reason`; by default what vLLM would say.
    """

    text: str
    parses: bool = True
    by_ids: bool = False
    finish: str | None = None


_STREAM: Final = "text/event-stream"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: its body, the type of that, and its status."""

    content: bytes
    kind: str = "application/json"
    status: int = 200


def _json(value: object, status: int = 200) -> Answer:
    return Answer(json.dumps(value).encode(), status=status)


def _as_vllm(wrote: Wrote, body: JsonObject) -> Read:
    schemas = {
        tool["function"]["name"]: tool["function"].get("parameters", {})
        for tool in body.get("tools") or ()
    }
    return read_as_vllm(wrote.text, schemas, by_ids=wrote.by_ids)


@dataclass
class Server:
    """Answers chat requests from a script.

    Args:
        model: What the model writes, given the request; the whole of its behaviour.
        source: Of the cuts and pieces.
        ids: Whether token ids are given.
        grammar: Whether a grammar is obeyed; the script must then keep to it.
        read: What the server makes of a reply, given the request.

    Attributes:
        requests: The chat requests so far.
    """

    model: Callable[[JsonObject], Wrote]
    source: random.Random = field(default_factory=lambda: random.Random(0))
    ids: bool = True
    grammar: bool = False
    read: Callable[[Wrote, JsonObject], Read] = _as_vllm
    requests: list[JsonObject] = field(default_factory=list)

    def client(self) -> httpx2.AsyncClient:
        """A client whose every request ends here."""
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer))

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        """The answer to one request, a stream in pieces that are cut at any byte."""
        said = self.respond(request.method, request.url.path, request.content)
        headers = {"content-type": said.kind}
        if said.kind != _STREAM:
            return httpx2.Response(said.status, content=said.content, headers=headers)
        pieces = _Pieces(said.content, self.source)
        return httpx2.Response(said.status, stream=pieces, headers=headers)

    def respond(self, method: str, path: str, content: bytes) -> Answer:
        """The answer to one request, whatever carries it."""
        if path.endswith("/models"):
            card = {"id": MODEL, "object": "model", "max_model_len": 131_072}
            return _json({"object": "list", "data": [card]})
        if path == "/version":
            return _json({"version": "0.32.0"})
        if method != "POST":
            return _json({"detail": "Not Found"}, 404)
        body: JsonObject = json.loads(content)
        if path == "/detokenize":
            return self._detokenized(body)
        if path == "/tokenize":
            return _json(_tokenized(body))
        if not path.endswith("/chat/completions"):
            return _json({"detail": "Not Found"}, 404)
        if is_probe(body):
            return self._probed()
        self.requests.append(body)
        return self._reply(body, self.model(body))

    def _detokenized(self, body: JsonObject) -> Answer:
        if not self.ids:
            return _json({"detail": "Not Found"}, 404)
        return _json({"prompt": decode(body["tokens"])})

    def _probed(self) -> Answer:
        if not self.grammar:
            return _json({"error": {"message": "no grammar", "code": 400}}, 400)
        function = {"name": _PROBE, "arguments": "{}"}
        call = {"id": "chatcmpl-tool-0", "type": "function", "function": function}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        return _json({"choices": [choice], "usage": _usage(9, 3)})

    def _reply(self, body: JsonObject, wrote: Wrote) -> Answer:
        ids = encode(wrote.text, self.source)
        shown = _shown_without_stop(spelled(wrote.text))
        read = self.read(wrote, body) if wrote.parses else Read(shown)
        finish = wrote.finish or ("tool_calls" if read.calls else "stop")
        number = len(self.requests)
        sent = ids if self.ids and body.get("return_token_ids") else []
        if not body.get("stream"):
            return _json(_whole(read, finish, sent, number) | {"usage": _usage(200, len(ids))})
        events = [*_chunks(read, finish, sent, number, self.source)]
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append({"choices": [], "usage": _usage(200, len(ids))})
        data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
        return Answer(data + b"data: [DONE]\n\n", _STREAM)


class _Pieces(httpx2.AsyncByteStream):
    """A body in pieces that are cut at any byte."""

    def __init__(self, data: bytes, source: random.Random) -> None:
        cuts = sorted(source.randrange(len(data)) for _ in range(source.choice((0, 1, 3, 9))))
        edges = [0, *cuts, len(data)]
        self._pieces = [data[a:b] for a, b in pairwise(edges) if b > a]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def _shown_without_stop(text: str) -> str:
    for literal in CALLS_END:
        text = text.removesuffix(literal)
    return text


def _tokenized(body: JsonObject) -> JsonObject:
    if "prompt" in body:
        ids = encode_prompt(body["prompt"])
        return {"count": len(ids), "max_model_len": 131_072, "tokens": ids}
    text = json.dumps(body.get("messages")) + json.dumps(body.get("tools"))
    return {"count": len(text) // 4, "max_model_len": 131_072, "tokens": []}


def _usage(prompt: int, produced: int) -> JsonObject:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": produced,
        "total_tokens": prompt + produced,
    }


def _whole(read: Read, finish: str, ids: Sequence[int], number: int) -> JsonObject:
    calls = [
        {
            "id": f"chatcmpl-tool-{number}-{n}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for n, (name, arguments) in enumerate(read.calls)
    ]
    message = {
        "role": "assistant",
        "content": read.text or None,
        "reasoning": read.reasoning or None,
        "tool_calls": calls,
    }
    choice: JsonObject = {"index": 0, "message": message, "finish_reason": finish}
    choice["stop_reason"] = ids[-1] if ids else None
    choice["token_ids"] = list(ids) or None
    return _head(number, "chat.completion") | {"choices": [choice]}


def _chunks(
    read: Read, finish: str, ids: Sequence[int], number: int, source: random.Random
) -> Iterator[JsonObject]:
    """The deltas, and the ids spread over them as they come."""
    deltas = [*_deltas(read, number, source), {}]
    edges = sorted(source.choices(range(len(ids) + 1), k=len(deltas) - 1))
    yield _chunk({"role": "assistant", "content": ""}, None, number)
    for n, delta in enumerate(deltas):
        last = n == len(deltas) - 1
        chunk = _chunk(delta, finish if last else None, number)
        if ids:
            start = edges[n - 1] if n else 0
            stop = len(ids) if last else edges[n]
            chunk["choices"][0]["token_ids"] = list(ids[start:stop])
        yield chunk


def _chunk(delta: JsonObject, finish: str | None, number: int) -> JsonObject:
    choice: JsonObject = {"index": 0, "delta": delta, "finish_reason": finish}
    return _head(number, "chat.completion.chunk") | {"choices": [choice]}


def _head(number: int, kind: str) -> JsonObject:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": 1_795_000_000, "model": MODEL}


def _deltas(read: Read, number: int, source: random.Random) -> Iterator[JsonObject]:
    for piece in _cut(read.reasoning, source):
        yield {"reasoning": piece}
    for piece in _cut(read.text, source):
        yield {"content": piece}
    for index, (name, arguments) in enumerate(read.calls):
        head: dict[str, Any] = {"index": index, "id": f"chatcmpl-tool-{number}-{index}"}
        yield {"tool_calls": [head | {"type": "function", "function": {"name": name}}]}
        for piece in _cut(arguments, source):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _cut(text: str, source: random.Random) -> list[str]:
    if not text:
        return []
    cuts = sorted(source.randint(0, len(text)) for _ in range(source.choice((0, 1, 4))))
    edges = [0, *cuts, len(text)]
    return [text[a:b] for a, b in pairwise(edges) if b > a]
