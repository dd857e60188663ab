"""Servers that want to freeze or flood their client, and what the client came to.

Each server is a function that writes bytes to a socket; it knows nothing of agentkit. The client is
a whole agent in a process of its own, so that the highest memory that it ever took is its own:

    python -m tests.models.hostile NAME ...

prints a line of JSON for each: the error, the seconds, the growth in bytes, the longest delay of
the event loop. The servers run in a second process (`serve`).
"""

from __future__ import annotations

import gzip
import json
import resource
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import anyio

from agentkit import Agent, ModelSettings, VLLMModel
from agentkit.errors import (
    ContextWindowError,
    ModelConnectionError,
    ModelProtocolError,
    ModelResponseTooLargeError,
    ModelStatusError,
    ModelTimeoutError,
    ModelUnreadableError,
    ServerNotReadyError,
)
from agentkit.models.transport import Timeouts
from tests.ticking import ticking

CLOCKS = Timeouts(connect=1.0, first_event=1.0, idle=1.0, total=4.0, retry=0.0)
SLACK = 5.0
"""Seconds beyond the clocks, on a busy machine."""

MOST_GROWTH = 64 * 1024 * 1024
"""Bytes of memory above the start, whatever comes."""

TYPED = frozenset(
    {
        *(kind.__name__ for kind in (ModelConnectionError, ModelTimeoutError, ModelStatusError)),
        *(kind.__name__ for kind in (ModelProtocolError, ModelResponseTooLargeError)),
        ModelUnreadableError.__name__,
        *(kind.__name__ for kind in (ServerNotReadyError, ContextWindowError)),
        "ended: answer",  # what came was whole after all
        "ended: empty",
        "ended: truncated",
        "ended: loop",
    }
)
"""How a run may end: by an error of ours, or by a reason to stop."""

Write: TypeAlias = Callable[[bytes], None]
Server: TypeAlias = Callable[[Write], None]

MODEL = "gemma-4-hostile"
_BLOCK = 65_536
_KEY = Path(__file__).with_name("selfsigned.pem")


# --- what they write ---------------------------------------------------------------------------


def head(status: int = 200, kind: str = "text/event-stream", **more: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode()


def event(payload: object) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]})


def named(arguments: str, name: str = "pay", index: int = 0) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": "x", "function": function}]}


def endless(block: bytes, *, first: bytes | None = None) -> Server:
    """The head and then the same for ever."""

    def write_all(write: Write) -> None:
        write(head() if first is None else first)
        many = block * max(1, _BLOCK // len(block))
        while True:
            write(many)

    return write_all


def slowly(data: bytes, *, first: bytes = b"") -> Server:
    """A byte each tenth of a second, for ever."""

    def write_all(write: Write) -> None:
        write(first)
        for at in count():
            write(data[at % len(data) :][:1])
            time.sleep(0.1)

    return write_all


def once(*blocks: bytes, wait: float = 0.0) -> Server:
    """All of it, and then the end of the connection, or nothing for so many seconds."""

    def write_all(write: Write) -> None:
        for block in blocks:
            write(block)
        time.sleep(wait)

    return write_all


def numbered(block: Callable[[int], bytes]) -> Server:
    """The head and then something new for ever."""

    def write_all(write: Write) -> None:
        write(head())
        for number in count():
            write(b"".join(block(64 * number + n) for n in range(64)))

    return write_all


def zipped(block: bytes, blocks: int, *, status: int = 200) -> Server:
    """A bomb: so many blocks of 1 MiB in a few kilobytes, again and again."""
    bomb = gzip.compress(block * (1 << 20) if len(block) == 1 else block)
    return once(head(status, content_encoding="gzip"), *([bomb] * blocks))


def whole(text: bytes) -> bytes:
    return head(200, "application/json", content_length=str(len(text))) + text


_NEST = b"[" * 100_000 + b"]" * 100_000
_RESET = b"\0reset"
_STOP = delta("stop") + b"data: [DONE]\n\n"

CHAT: dict[str, Server] = {
    "silent": once(wait=60),
    "status by the byte": slowly(b"HTTP/1.1 200 OK"),
    "headers without end": endless(b"x: y\r\n", first=b"HTTP/1.1 200 OK\r\n"),
    "one header without end": endless(b"y", first=b"HTTP/1.1 200 OK\r\nx: "),
    "informational answers without end": endless(b"HTTP/1.1 102 X\r\n\r\n", first=b""),
    "pings without end": endless(b": ping\n\n"),
    "empty lines without end": endless(b"\n"),
    "one line without end": endless(b"a", first=head() + b"data: "),
    "one event of lines without end": endless(b"data: a\n"),
    "one event of empty lines without end": endless(b"data:\n"),
    "events that say nothing without end": endless(event({"choices": []})),
    "text without end": endless(delta(content="word ")),
    "text by the character without end": endless(delta(content="a")),
    "long words without end": endless(delta(content="a" * 30_000)),
    "reasoning without end": endless(delta(reasoning="why? ")),
    "arguments without end": endless(delta(**named("[", ""))),
    "a name without end": endless(delta(**named("", "pay"))),
    "calls without end": numbered(lambda n: delta(**named("{}", index=n))),
    "token ids without end": endless(
        event({"choices": [{"index": 0, "delta": {}, "token_ids": list(range(70_000, 71_000))}]})
    ),
    "a million prompt tokens": once(
        head(), event({"choices": [], "prompt_token_ids": [70_000] * 1_000_000}), _STOP
    ),
    "token ids that are none": once(head(), event({"choices": [{"token_ids": [{}]}]}), _STOP),
    "broken JSON": once(head(), b'data: {"choices": [\n\n', _STOP),
    "deep JSON": once(head(), b'data: {"choices": ' + _NEST + b"}\n\n", _STOP),
    "seven megabytes of empty lists": once(
        head(), b'data: {"choices": [' + b"[]," * 2_300_000 + b"1]}\n\n", _STOP
    ),
    "seven megabytes of texts": once(
        head(), b'data: {"choices": [' + b'"ab",' * 1_400_000 + b"1]}\n\n", _STOP
    ),
    "fifty megabytes of JSON": once(
        head(), b'data: {"choices": [],"x":[', *([b"1," * 500_000] * 50), b"1]}\n\n", _STOP
    ),
    "arguments with a key twice": once(
        head(), delta("tool_calls", **named('{"to": "ann", "to": "bob"}'))
    ),
    "arguments as deep as they come": once(
        head(), delta("tool_calls", **named('{"to": ' + "[" * 200_000))
    ),
    "arguments of two million values": once(
        head(), delta("tool_calls", **named("[" + "{}," * 2_000_000 + "1]"))
    ),
    "a number of a million digits": once(
        head(), delta("tool_calls", **named('{"to": ' + "9" * 1_000_000 + "}"))
    ),
    "usage of a million digits": once(
        head(), b'data: {"choices": [], "usage": {"prompt_tokens": ' + b"9" * 1_000_000 + b"}}\n\n"
    ),
    "events by the byte": slowly(_STOP, first=head()),
    "cut in the middle": once(head(), delta(content="half an ans")),
    "reset in the middle": once(head(), delta(content="half an ans"), _RESET),
    "chunks of a broken size": once(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n"
    ),
    "shorter than announced": once(head(content_length="1000"), delta(content="x")),
    "no HTTP at all": once(bytes(range(256)) * 100),
    "a web page": once(head(200, "text/html"), b"<html>" + b"<p>" * 200_000),
    "never closed after the end": endless(b": ping\n\n", first=head() + _STOP),
    "a bomb in the stream": zipped(b"\n", 200),
    "a bomb of pings": zipped(b": ping\n\n" * 130_000, 200),
    "a bomb in an error": zipped(b"a", 2_000, status=400),
    "a broken bomb": once(head(content_encoding="gzip"), b"\x1f\x8b" + b"\xff" * 1_000),
    "compressed in another way": once(head(content_encoding="br"), b"\x0b\x02\x80" * 1_000),
    "a refusal without end": endless(b"no ", first=head(400)),
    "a failure without end": endless(b"no ", first=head(500)),
    "a refusal by the byte": slowly(b"no ", first=head(400)),
    "a million bytes of error in the stream": once(
        head(), event({"error": {"message": "no " * 300_000, "code": 500}})
    ),
    "sent on for ever": once(head(302, location="/v1/chat/completions")),
}
"""By what they do to every request but that for the list of models, which they answer well."""

LISTS: dict[str, Server] = {
    "a list of models without end": endless(b"[", first=head(200, "application/json")),
    "a bomb for a list of models": zipped(b" ", 2_000),
    "a deep list of models": once(whole(b'{"data": ' + _NEST + b"}")),
    "a list of models by the byte": slowly(b" ", first=head(200, "application/json")),
}
"""By what they do to the first request, for the list of models."""

TLS: dict[str, Server] = {
    "a certificate of its own making": once(whole(b"{}")),
    "no TLS": once(whole(b"{}")),
    "a handshake without end": once(wait=60),
}
"""By what they do where TLS is wanted."""

NAMES = (*CHAT, *LISTS, *TLS)


# --- the server's process ----------------------------------------------------------------------


def serve() -> None:
    """Serves all of them until its input closes; prints its ports first, by name, as JSON.

    Which one a request is for, stands before `/v1` in its path; those that want TLS have ports of
    their own.
    """
    listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in ("", *TLS)}
    for name, listener in listeners.items():
        threading.Thread(target=_accept, args=(listener, name), daemon=True).start()
    ports = {name: listener.getsockname()[1] for name, listener in listeners.items()}
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


def _accept(listener: socket.socket, name: str) -> None:
    while True:
        link, _ = listener.accept()
        threading.Thread(target=_answer, args=(link, name), daemon=True).start()


def _answer(link: socket.socket, name: str) -> None:
    with suppress(OSError), link:
        if name == "a certificate of its own making":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(_KEY)
            link = context.wrap_socket(link, server_side=True)
        slug, _, path = _request(link).removeprefix("/").partition("/")
        name = name or slug.replace("-", " ")
        hostile = TLS.get(name) or (LISTS if "models" in path else CHAT).get(name)
        (hostile or _well(path))(lambda data: _send(link, data))


def _request(link: socket.socket) -> str:
    """The path of a request, which is read whole."""
    with link.makefile("rb") as lines:
        path = lines.readline().decode("latin-1").split(" ")[1:2]
        size = 0
        for line in lines:
            field, _, value = line.decode("latin-1").partition(":")
            size = int(value) if field.lower() == "content-length" else size
            if not line.strip():
                break
        lines.read(size)
    return path[0] if path else ""


def _send(link: socket.socket, data: bytes) -> None:
    if data == _RESET:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        link.sendall(data)


def _well(path: str) -> Server:
    if path == "v1/models":
        card = {"id": MODEL, "max_model_len": 32_768}
        return once(whole(json.dumps({"data": [card]}).encode()))
    return once(head(404, "application/json", content_length="0"))


@contextmanager
def serving() -> Generator[Callable[[str], str]]:
    """The addresses of the servers by name, while they run in a process of their own."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.models.hostile", "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        try:
            ports = json.loads(process.stdout.readline())
            yield (
                lambda name: (
                    f"https://127.0.0.1:{ports[name]}/v1"
                    if name in TLS
                    else f"http://127.0.0.1:{ports['']}/{name.replace(' ', '-')}/v1"
                )
            )
        finally:
            process.kill()


# --- the client's process ----------------------------------------------------------------------


async def _ask(url: str, *, stream: bool) -> dict[str, Any]:
    """One run against a server: how it ended, and what it cost."""
    ran: list[Any] = []

    def pay(to: Any) -> str:
        """Pays."""
        ran.append(to)
        return "paid"

    model = VLLMModel(url, timeouts=CLOCKS, stream=stream, settings=ModelSettings(max_tokens=64))
    agent = Agent(model, tools=[pay], observers=())
    began, ended = time.monotonic(), ""
    async with ticking() as delays:
        try:
            with anyio.fail_after(20):
                result = await agent.run("Hello.")
            ended = f"ended: {result.stop_reason}"
        except Exception as error:  # noqa: BLE001 - what kind it is, is the question
            ended = type(error).__name__
        await model.aclose()
    return {
        "ended": ended,
        "seconds": round(time.monotonic() - began, 2),
        "delay": round(delays.longest, 3),
        "ran": len(ran),
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: list[str]) -> int:
    """Serves, or asks servers one after another and prints what came of each."""
    if argv[0] == "serve":
        serve()
        return 0
    with serving() as url_of:
        for url in (url_of("cut in the middle"), url_of("no TLS")):
            anyio.run(partial(_ask, url, stream=True))  # what any run loads is not their doing
        start = _peak()
        for name in argv:
            for stream in (True, False):
                seen = anyio.run(partial(_ask, url_of(name), stream=stream))
                line = {"name": name, "stream": stream, "growth": _peak() - start, **seen}
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()
    return 0


def client(names: Sequence[str]) -> list[dict[str, Any]]:
    """What came of each of these servers, asked by a process that has done nothing before."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.hostile", *names],
        stdout=subprocess.PIPE,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def faults_of(seen: Mapping[str, Any]) -> list[str]:
    """What is wrong with how a client came out of it."""
    name, wrong = seen["name"], []
    if seen["growth"] > MOST_GROWTH:
        wrong.append(f"{name}: {seen['growth']:,} bytes above the start")
    if seen["ended"] not in TYPED:
        wrong.append(f"{name}: ended as {seen['ended']}")
    if seen["seconds"] > 2 * CLOCKS.total + SLACK:  # two requests: the models, and the reply
        wrong.append(f"{name}: took {seen['seconds']} s")
    if seen["ran"]:
        wrong.append(f"{name}: a tool ran")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
