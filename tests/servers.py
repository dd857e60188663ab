"""A chat-completions server on loopback that does what a script says, down to the bytes.

It runs in threads of its own, so that a test may use asyncio, trio, no event loop or a
subprocess, and its waits end by events, never by time.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

from agentkit.models.calls import is_probe

CHAT = "/v1/chat/completions"
MODEL = "google/gemma-4-26B-A4B-it"


@dataclass(frozen=True)
class Request:
    """What the server got."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Exchange:
    """One request to answer, in whatever shape."""

    def __init__(self, handler: BaseHTTPRequestHandler, request: Request, server: Server) -> None:
        self._handler = handler
        self.request = request
        self.server = server

    def answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        """A whole reply."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self._handler.send_header(name, value)
        self._handler.send_header("Content-Length", str(len(content)))
        self._handler.end_headers()
        self._handler.wfile.write(content)

    def begin(self) -> None:
        """The head of a stream."""
        self._handler.send_response(200)
        self._handler.send_header("Content-Type", "text/event-stream")
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()

    def send(self, data: bytes) -> None:
        """Bytes of a stream."""
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, payload: object) -> None:
        """One event of a stream."""
        self.send(b"data: " + json.dumps(payload).encode() + b"\n\n")

    def end(self) -> None:
        """The end of a stream."""
        self.send(b"data: [DONE]\n\n")
        self._handler.wfile.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Breaks the connection."""
        self._handler.close_connection = True
        with suppress(OSError):
            self._handler.connection.shutdown(socket.SHUT_RDWR)

    def stall(self) -> None:
        """Waits until the client has gone or the server closes."""
        self.server.stalled.set()
        while not self.server.closing.is_set():
            self._handler.connection.settimeout(0.05)
            try:
                if not self._handler.connection.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.server.left.set()
        self._handler.close_connection = True


Script: TypeAlias = Callable[[Exchange], None]


@dataclass
class Server:
    """The server's address, what it got, and what it is to do next.

    Attributes:
        url: With `/v1`.
        script: One entry for each chat request; the last one stays.
        paths: What to do with other requests than chat; a path that is not here is a 404.
        requests: The chat requests so far.
        connections: Connections accepted so far.
        stalled: Set when a stalled exchange waits.
        left: Set when the client of a stalled exchange has gone.
    """

    url: str
    script: list[Script]
    models: object = field(
        default_factory=lambda: {"data": [{"id": MODEL, "max_model_len": 32768}]}
    )
    paths: dict[str, Script] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    model_requests: list[Request] = field(default_factory=list)
    connections: int = 0
    stalled: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def got(self, request: Request) -> tuple[int, object]:
        """The answer to a GET: the models, and nothing else."""
        if not request.path.endswith("/v1/models"):  # by a proxy the whole address is asked for
            return 404, {"detail": "Not Found"}
        self.model_requests.append(request)
        return 200, self.models

    def chat_script(self, request: Request) -> Script:
        """What answers a chat request. Replies can be held to nothing, and who asks is told so."""
        if is_probe(request.body):
            return fails(400, {"error": {"message": "it holds no reply to anything"}})
        with self.lock:
            self.requests.append(request)
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@contextmanager
def serving(*script: Script, key: str | None = None) -> Generator[Server]:
    """A running server.

    Args:
        script: What to do with each chat request.
        key: Refuse requests without this bearer token.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with server.lock:
                server.connections += 1

        def do_GET(self) -> None:
            request = Request(self.path, _headers(self), {})
            exchange = Exchange(self, request, server)
            status, body = server.got(request)
            if not self.refused(exchange):
                exchange.answer(status, body)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            request = Request(self.path, _headers(self), json.loads(self.rfile.read(length)))
            exchange = Exchange(self, request, server)
            if self.refused(exchange):
                return
            other = server.paths.get(self.path, fails(404, {"error": {"message": "Not Found"}}))
            with suppress(ConnectionError):
                (server.chat_script(request) if self.path == CHAT else other)(exchange)

        def refused(self, exchange: Exchange) -> bool:
            if key is None or self.headers.get("Authorization") == f"Bearer {key}":
                return False
            exchange.answer(401, {"error": "Unauthorized"})
            return True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
            pass

    class Threads(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients of these tests go away on purpose."""

    with Threads(("127.0.0.1", 0), Handler) as http:
        server = Server(f"http://127.0.0.1:{http.server_port}/v1", list(script))
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            http.shutdown()
            thread.join()


def _headers(handler: BaseHTTPRequestHandler) -> dict[str, str]:
    return {name.lower(): value for name, value in handler.headers.items()}


# --- replies -----------------------------------------------------------------------------------


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    """One chunk of a streamed reply."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


USAGE = {"prompt_tokens": 11, "completion_tokens": 3}


def text_chunks(text: str) -> list[dict[str, Any]]:
    """A streamed answer, word by word."""
    words = [word + " " for word in text.split(" ")]
    words[-1] = words[-1][:-1]
    return [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": word}) for word in words),
        chunk({}, "stop"),
        {"choices": [], "usage": USAGE},
    ]


def call_chunks(*calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A streamed reply that calls tools, shaped as vLLM 0.32 shapes it."""
    pieces = [chunk({"role": "assistant", "content": ""})]
    for index, (name, arguments) in enumerate(calls):
        head = {"index": index, "id": f"chatcmpl-tool-{index}", "type": "function"}
        pieces.append(chunk({"tool_calls": [{**head, "function": {"name": name}}]}))
        text = json.dumps(arguments)
        pieces += [
            chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
            for part in (text[:3], text[3:])
        ]
    return [*pieces, chunk({}, "tool_calls"), {"choices": [], "usage": USAGE}]


def streamed(chunks: Sequence[dict[str, Any]]) -> Script:
    """Sends chunks as a stream that ends well; to a request for a whole reply, the whole."""

    def script(exchange: Exchange) -> None:
        if not exchange.request.body.get("stream"):
            exchange.answer(200, whole(chunks))
            return
        exchange.begin()
        for piece in chunks:
            exchange.event(piece)
        exchange.end()

    return script


def says(text: str) -> Script:
    """Answers."""
    return streamed(text_chunks(text))


def asks(name: str, /, **arguments: Any) -> Script:
    """Calls one tool."""
    return streamed(call_chunks((name, arguments)))


def fails(status: int, body: object, headers: dict[str, str] | None = None) -> Script:
    """An error status."""
    return lambda exchange: exchange.answer(status, body, headers)


def stalls(*chunks: dict[str, Any]) -> Script:
    """Begins to stream and then says nothing more."""

    def script(exchange: Exchange) -> None:
        exchange.begin()
        for piece in chunks:
            exchange.event(piece)
        exchange.stall()

    return script


def cuts(*chunks: dict[str, Any]) -> Script:
    """Begins to stream and then breaks the connection."""

    def script(exchange: Exchange) -> None:
        exchange.begin()
        for piece in chunks:
            exchange.event(piece)
        exchange.cut()

    return script


def whole(chunks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The reply that these chunks amount to, as it comes when it is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: dict[int, dict[str, Any]] = {}
    finish, usage = None, None
    for piece in chunks:
        usage = piece.get("usage") or usage
        for choice in piece["choices"]:
            finish = choice["finish_reason"] or finish
            delta = choice["delta"]
            for name in ("content", "reasoning"):
                if delta.get(name):
                    message[name] = (message.get(name) or "") + delta[name]
            for part in delta.get("tool_calls") or ():
                made = calls.setdefault(
                    part["index"],
                    {"id": "x", "type": "function", "function": {"name": "", "arguments": ""}},
                )
                for name, value in part["function"].items():
                    made["function"][name] += value
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": usage,
    }
