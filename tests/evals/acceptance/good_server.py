"""A good vLLM on loopback: what it does for the doctor, and a model that calls what is on offer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agentkit.context.entries import RECALL_TOOLS
from agentkit.testing.faults.served import Served, ServedCall
from tests.evals.acceptance.bench import value_of
from tests.serving.doctor.good import MODEL, WINDOW, good

SERVED = MODEL
_CHAT = "/v1/chat/completions"
_PAUSE = 0.006
"""Seconds between two events of a long reply: tokens come one after the other."""

_OWN = ("find_definition", "set_light", "final_answer", "look")
"""The tools of scenarios and conversations."""

Json = dict[str, Any]


def _said(body: Json) -> Served | None:
    """A call of the first tool that the request's grammar allows, once; then an answer. None for
    what the doctor asks.
    """
    tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or ()}
    if body["max_tokens"] == 4 and "Count to a thousand" in json.dumps(body["messages"]):
        return Served(text="One ", finish_reason="length", cut=True)
    if "This tool belongs to" in json.dumps(body.get("tools")):  # a world of BFCL
        return Served(text="I cannot do that.")
    if not tools or not set(tools) - RECALL_TOOLS <= set(_OWN):
        return None
    held = json.dumps(body.get("structured_outputs") or {})
    allowed = [name for name in tools if f"{name}{{" in held]
    last = body["messages"][-1]["role"]
    if not allowed or last == "tool":
        return Served(text="In agent.py, line 7.")
    name = "final_answer" if "final_answer" in allowed else allowed[0]
    arguments = json.dumps(value_of(tools[name]["parameters"]))
    return Served(calls=(ServedCall(name, arguments),), finish_reason="tool_calls")


def _refusal(path: str, body: Json) -> tuple[int, str] | None:
    if path != _CHAT:
        return None
    asked = json.dumps(body["messages"])
    if body["model"] != MODEL:
        return 404, f"The model `{body['model']}` does not exist."
    if "image_url" in asked:
        return 400, "At most 0 image(s) may be provided in one prompt."
    if "blue whale" in asked and len(asked) > WINDOW:
        return 400, (
            f"This model's maximum context length is {WINDOW} tokens. However, your request has "
            f"{len(asked)} input tokens. Please reduce the length of the input messages."
        )
    return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state: Json = {}
        self.lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are cancelled go away on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        self._answer(json.loads(self.rfile.read(length)))

    def _answer(self, body: Json) -> None:
        if refused := _refusal(self.path, body):
            status, message = refused
            self._whole(status, {"error": {"message": message, "code": status}})
            return
        assert isinstance(self.server, _Server)
        with self.server.lock:
            status, answer = good(self.path, body, self.server.state, _said)
        if isinstance(answer, list) and body.get("stream"):
            self._stream(answer, pause=_PAUSE if "min_tokens" in body else 0)
        else:
            self._whole(status, answer[0] if isinstance(answer, list) else answer)

    def _whole(self, status: int, body: Json | bytes) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, pieces: list[bytes], pause: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            time.sleep(pause)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
        pass


@contextmanager
def good_server() -> Generator[str]:
    """The address of a running server."""
    with _Server() as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/v1"
        finally:
            http.shutdown()
            thread.join()
