"""A proxy before the real server, with one fault in it."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2

from tests.serving.doctor.planted import CHAT, Planted


@contextmanager
def planted_before(url: str, planted: Planted) -> Generator[str]:
    """The address of a proxy to the server at `url` that has the fault.

    Args:
        url: Root of the server, without `/v1`.
        planted: What it does wrong.
    """

    class Handler(_Handler):
        fault = planted
        requests = itertools.count(1)
        upstream = httpx2.Client(base_url=url, trust_env=False, timeout=200.0)

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join(10)
        Handler.upstream.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the kernel itself holds a stream's small pieces back
    fault: Planted
    upstream: httpx2.Client
    requests: Iterator[int]

    def do_GET(self) -> None:
        self._pass_on(None)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        body = json.loads(content)
        if refusal := self.fault.refuses(self.path, body):
            error = {"message": refusal, "type": "BadRequestError", "param": None, "code": 400}
            self._answer(400, {"error": error})
        elif len(content) > self.fault.most_bytes:
            self._answer(413, "Request Entity Too Large")
        elif self._is_busy():
            self._answer(503, {"error": {"message": "queue is full"}})
        else:
            self._pass_on(self.fault.request(self.path, body))

    def _is_busy(self) -> bool:
        if self.path != CHAT or not self.fault.busy_every:
            return False
        return next(self.requests) % self.fault.busy_every == 0

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base
        """Nothing: the server's own log tells."""

    def _pass_on(self, body: dict[str, Any] | None) -> None:
        headers = {"authorization": self.headers.get("authorization", "")}
        with self.upstream.stream(self.command, self.path, json=body, headers=headers) as response:
            if "event-stream" in response.headers.get("content-type", ""):
                self._stream(self._changed(response.iter_lines()))
                return
            response.read()
            answer = response.json() if response.content else {}
            changed = self.fault.reply(self.path, answer) if response.is_success else answer
            self._answer(response.status_code, changed)

    def _changed(self, lines: Iterator[str]) -> Iterator[bytes]:
        for line in lines:
            if line.startswith("data: {"):
                changed = self.fault.reply(self.path, json.loads(line.removeprefix("data: ")))
                yield f"data: {json.dumps(changed)}\n\n".encode()
            elif line:
                yield f"{line}\n\n".encode()

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, events: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        pieces = [b"".join(events)] if self.fault.buffers else events
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")
