"""`FaultServer`: a model server on loopback that answers from a script, and misbehaves on request.

Real HTTP over real sockets, so that everything between an agent and the wire is under test. Bodies
are sent with chunked transfer coding, so that a clean end and a broken one differ on the wire as
they do with a real server. It works in threads of its own: the same server serves asyncio, trio and
plain code.
"""

from __future__ import annotations

import json
import random
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from io import BufferedReader
from typing import Any, Final, TypeAlias

from agentkit.messages import JsonObject
from agentkit.models.calls import PROBE, forced_code, is_probe
from agentkit.testing.faults.catalogue import find_fault
from agentkit.testing.faults.served import (
    Damaged,
    Delivery,
    Fault,
    Served,
    ServedCall,
    detokenize,
    encode,
    prompt_tokens,
    served,
    tokenize,
)
from agentkit.testing.scripted import Reply

ServerStep: TypeAlias = (
    Reply
    | Served
    | Delivery
    | Damaged
    | Callable[[JsonObject], "Reply | Served | Delivery | Damaged"]
)
"""What answers one chat-completions request: a reply, a damaged one, raw bytes, or a function of
the request's body."""

_JSON: Final = {"content-type": "application/json"}
_VERSION: Final = "0.32.0"
_PING_EVERY: Final = 0.02  # seconds


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    body: JsonObject


class FaultServer:
    """A server that speaks vLLM 0.32's OpenAI protocol and answers from a script.

    Use it as a context manager, sync or async; clients connect to `url`. Each chat-completions
    request takes the next step of the script, in the order of arrival. After the script, `then`
    answers; without `then`, a request gets status 400 and a message that says so.

    Args:
        script: The answers.
        then: Answers every request after the script.
        faults: Faults, or their names, that strike at random.
        rate: The probability that one strikes a reply, 0 to 1.
        seed: Seeds everything random.
        max_model_len: Tokens of the window; announced, not enforced.
        first: Path, such as `/v1/models` → what it answers before it works as it should.

    Attributes:
        requests: The bodies of the chat-completions requests, in order.
        injected: Names of the faults that struck, in order.
        waiting: The number of waiting requests that `/metrics` reports.
        looks: How often `/metrics` was requested.
        takes_grammar: Whether the server claims to obey `structured_outputs`; the script decides
            what it then answers. A client asks once, before its first request.
    """

    def __init__(
        self,
        script: Iterable[ServerStep] = (),
        *,
        then: ServerStep | None = None,
        faults: Iterable[Fault | str] = (),
        rate: float = 0.0,
        seed: int = 0,
        max_model_len: int = 32_768,
        first: Mapping[str, Iterable[Delivery]] | None = None,
    ) -> None:
        self.requests: list[JsonObject] = []
        self.injected: list[str] = []
        self.waiting = 0
        self.looks = 0
        self.takes_grammar = False
        self.model = "gemma-4-faulty"
        self.max_model_len = max_model_len
        self._script = list(script)
        self._then = then
        self._first = {path: list(steps) for path, steps in (first or {}).items()}
        self._faults = [find_fault(f) for f in faults]
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._listening = threading.Event()
        self._closing = threading.Event()
        self._links: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._port = 0
        self._running = 0

    @property
    def url(self) -> str:
        """The server's address, `/v1` included."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def running(self) -> int:
        """Chat-completions requests that are being answered now."""
        return self._running

    def behave(self, then: ServerStep) -> None:
        """Drops the rest of the script and all faults; from now on, `then` answers."""
        with self._lock:
            self._script.clear()
            self._faults.clear()
            self._first.clear()
            self._then = then

    def wait_idle(self, timeout: float) -> bool:
        """Waits until no chat-completions request is being answered.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            False if one still is: a client that abandons its requests keeps a server busy.
        """
        with self._lock:
            return self._idle.wait_for(lambda: not self._running, timeout)

    def wait_listening(self, timeout: float) -> bool:
        """Waits at most `timeout` seconds until a restarting server accepts connections again."""
        return self._listening.wait(timeout)

    # --- start and stop --------------------------------------------------------------------------

    def start(self) -> None:
        """Listens on a free port of 127.0.0.1."""
        self._closing.clear()
        self._listen()

    def stop(self) -> None:
        """Ends every connection and thread."""
        self._closing.set()
        self._stop_listening()
        with self._lock:
            links = list(self._links)
        for link in links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        while self._threads:
            self._threads.pop().join()

    def __enter__(self) -> FaultServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> FaultServer:
        self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stop()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(128)
        self._port = listener.getsockname()[1]
        self._listener = listener
        self._spawn(self._accept, listener)
        self._listening.set()

    def _stop_listening(self) -> None:
        self._listening.clear()
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            listener.close()

    def _spawn(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, name="fault-server", daemon=True)
        thread.start()
        with self._lock:
            self._threads = [t for t in self._threads if t.is_alive()]
            self._threads.append(thread)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                link, _ = listener.accept()
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._spawn(self._serve, link)

    def _serve(self, link: socket.socket) -> None:
        with self._lock:
            self._links.add(link)
        try:
            with link, link.makefile("rb") as reader, suppress(OSError):
                while not self._closing.is_set() and (request := _read(reader)):
                    if not self._exchange(request, link):
                        break
        finally:
            with self._lock:
                self._links.discard(link)

    # --- requests --------------------------------------------------------------------------------

    def _exchange(self, request: _Request, link: socket.socket) -> bool:
        if request.path != "/v1/chat/completions":
            return deliver(self._other(request), link, self._closing)
        delivery = self._next(request.body)
        with self._lock:
            self._running += 1
        try:
            if delivery.end == "restart":
                self._restart(delivery.down)
            return deliver(delivery, link, self._closing)
        finally:
            with self._lock:
                self._running -= 1
                self._idle.notify_all()

    def _restart(self, seconds: float) -> None:
        self._stop_listening()

        def later() -> None:
            if not self._closing.wait(seconds):
                self._listen()
                if self._closing.is_set():  # `stop` may have looked for a listener just before
                    self._stop_listening()

        self._spawn(later)

    def _next(self, body: JsonObject) -> Delivery:
        """The answer to the next chat-completions request."""
        if (model := body.get("model", self.model)) != self.model:
            return _error(404, f"The model `{model}` does not exist.")
        if is_probe(body):
            return self._probe_answer(body)
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            step = self._script[number] if number < len(self._script) else self._then
        try:
            # Called without the lock: it may wait for another request, or call this server.
            made = step(body) if callable(step) else step
            if made is None:
                return _error(400, f"the script has no reply for request {number + 1}")
            with self._lock:
                return self._delivery(made, body, number)
        except Exception as error:  # noqa: BLE001 - the script is user code; the client is told
            return _error(400, f"request {number + 1}: the script raised {error!r}")

    def _delivery(
        self, made: Reply | Served | Delivery | Damaged, body: JsonObject, number: int
    ) -> Delivery:
        """What goes over the wire for a step of the script; called with the lock held."""
        if isinstance(made, (Reply, Served)):
            made = self._damaged_at_random(served(made) if isinstance(made, Reply) else made)
        if isinstance(made, Delivery):
            return made
        damaged = made if isinstance(made, Damaged) else Damaged((), made)
        self.injected.extend(fault.name for fault in damaged.faults)
        return damaged.delivery(
            lambda reply: encode(reply, body, model=self.model, number=number), self._random
        )

    def _probe_answer(self, body: JsonObject) -> Delivery:
        """The answer to a client that tries out whether a grammar is obeyed."""
        code = forced_code(body)
        if not self.takes_grammar or code is None:
            return _error(400, "this server holds no reply to anything")
        call = ServedCall(PROBE, json.dumps({"code": code}))
        forced = Served(calls=(call,), finish_reason="tool_calls")
        return Delivery(tuple(encode(forced, body, model=self.model, number=0)))

    def _damaged_at_random(self, reply: Served) -> Served | Damaged:
        """The reply, damaged at random."""
        if not self._faults or self._random.random() >= self._rate:
            return reply
        fitting = [f for f in self._faults if f.fits(reply)]
        return Damaged((self._random.choice(fitting),), reply) if fitting else reply

    def _other(self, request: _Request) -> Delivery:
        """The answer to any request other than for a chat completion."""
        if waiting := self._first.get(request.path):
            return waiting.pop(0)
        match request.method, request.path:
            case "GET", "/v1/models":
                card = {"id": self.model, "object": "model", "owned_by": "vllm"}
                data = [card | {"max_model_len": self.max_model_len}]
                return _json({"object": "list", "data": data})
            case "GET", "/version":
                return _json({"version": _VERSION})
            case "GET", "/metrics":
                self.looks += 1
                return _metrics(self.model, self.waiting)
            case "GET", "/health":
                return Delivery((), headers={})
            case "POST", "/tokenize":
                return _json(self._tokenize(request.body))
            case "POST", "/detokenize":
                return _detokenized(request.body.get("tokens") or [])
            case _:
                return _json({"detail": "Not Found"}, 404)

    def _tokenize(self, body: JsonObject) -> JsonObject:
        """The ids of a text; of messages only their count, since no template is applied."""
        if "prompt" in body:
            ids = tokenize(body["prompt"])
            return {"count": len(ids), "max_model_len": self.max_model_len, "tokens": ids}
        return {"count": prompt_tokens(body), "max_model_len": self.max_model_len, "tokens": []}


def _detokenized(ids: list[int]) -> Delivery:
    try:
        return _json({"prompt": detokenize(ids)})
    except ValueError:  # ids of another vocabulary, as in a recorded reply
        return _error(400, "token ids out of vocabulary")


def _metrics(model: str, waiting: int) -> Delivery:
    """The metric of vLLM's queue, beside another one whose name begins the same."""
    labels = f'engine="0",model_name="{model}"'
    text = (
        "# HELP vllm:num_requests_waiting Number of requests waiting to be processed.\n"
        "# TYPE vllm:num_requests_waiting gauge\n"
        f"vllm:num_requests_waiting{{{labels}}} {float(waiting)}\n"
        f'vllm:num_requests_waiting_by_reason{{{labels},reason="capacity"}} {float(waiting)}\n'
    )
    return Delivery((text.encode(),), headers={"content-type": "text/plain; version=0.0.4"})


def _json(value: JsonObject, status: int = 200) -> Delivery:
    return Delivery((json.dumps(value).encode(),), status, _JSON)


def _error(status: int, message: str) -> Delivery:
    error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
    return _json({"error": error}, status)


def _read(reader: BufferedReader) -> _Request | None:
    """The next request of a connection; None if the client is gone or does not speak HTTP."""
    with suppress(ValueError):
        method, path, _ = reader.readline().decode("latin-1").split(" ", 2)
        length = 0
        while header := reader.readline().strip():
            name, _, value = header.decode("latin-1").partition(":")
            if name.lower() == "content-length":
                length = int(value)
        body = reader.read(length)
        if len(body) == length:
            return _Request(method, path.partition("?")[0], json.loads(body or b"{}"))
    return None


# --- the wire ------------------------------------------------------------------------------------


def deliver(delivery: Delivery, link: socket.socket, closing: threading.Event) -> bool:
    """Writes a delivery; returns whether the connection can serve another request.

    Raises:
        OSError: The client is gone.
    """
    if delivery.status is not None:
        link.sendall(_head(delivery.status, delivery.headers))
        if delivery.pause:
            for piece in delivery.body:
                if closing.wait(delivery.pause):
                    return False
                link.sendall(_chunk(piece))
        else:  # all chunks by one write
            link.sendall(b"".join(map(_chunk, delivery.body)))
    match delivery.end:
        case "complete" if delivery.status is not None:
            link.sendall(b"0\r\n\r\n")
            return True
        case "reset" | "restart":
            # Lingering for 0 seconds makes close() send RST instead of FIN.
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        case "stall":
            _wait_until_client_leaves(link, closing, ping=False)
        case "pings":
            _wait_until_client_leaves(link, closing, ping=True)
        case _:
            pass
    return False


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    # Proxies answer with numbers of their own, which have no phrase.
    phrase = next((known.phrase for known in HTTPStatus if known == status), "")
    lines = [f"HTTP/1.1 {status} {phrase}", "server: agentkit-faults"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "transfer-encoding: chunked", "", ""]).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _wait_until_client_leaves(link: socket.socket, closing: threading.Event, *, ping: bool) -> None:
    while not closing.is_set():
        if select.select([link], [], [], _PING_EVERY)[0] and not link.recv(65536):
            return
        if ping:
            link.sendall(_chunk(b": ping\n\n"))
