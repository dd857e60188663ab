"""How a server is spoken to: as a process, over its standard input and output, or over HTTP.

In: a command line or a URL. Out: a stream of messages in and one out, as the MCP package's session
takes them. No message is read without end (the package's own stdio transport would), and what a
started server leaves behind is ended with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import anyio
import httpx2
from anyio.abc import ByteReceiveStream, Process
from mcp.client.sse import sse_client
from mcp.client.stdio import get_default_environment
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage

from agentkit.mcp.lenient import parsed

MAX_MESSAGE: Final = 64 * 1024 * 1024
"""Bytes of one message: room for an image of 48 MB in base64, which no model takes."""

_MOST_WORDS: Final = 2_000  # bytes of the end of what a server writes to its standard error

_SECONDS_TO_END: Final = 2.0
"""Seconds that a server has to end by itself, once its input has ended; then again, once told."""


@asynccontextmanager
async def over_stdio(
    command: Sequence[str], env: Mapping[str, str], cwd: str | Path | None
) -> AsyncGenerator[tuple[Any, Any], None]:
    """Starts a server, and ends it and what it has started in the end.

    Raises:
        OSError: It cannot be started. Errors carry the server's last words as a note.
    """
    process = await anyio.open_process(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**get_default_environment(), **env},
        cwd=cwd,
        start_new_session=True,
    )
    words = bytearray()
    try:
        async with _streams(process, words) as streams:
            yield streams
    except Exception as error:
        lines = words.decode("utf-8", "replace").strip().splitlines()
        if lines:
            error.add_note(lines[-1].strip()[:300])
        raise


@asynccontextmanager
async def _streams(process: Process, words: bytearray) -> AsyncGenerator[tuple[Any, Any], None]:
    to_session, received = anyio.create_memory_object_stream[SessionMessage | Exception]()
    to_server, sent = anyio.create_memory_object_stream[SessionMessage]()
    stdout, stdin, stderr = process.stdout, process.stdin, process.stderr
    assert stdout is not None and stdin is not None and stderr is not None, "all are pipes"  # noqa: PT018 - one fact

    async def read() -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with to_session:
                async for line in _lines(stdout):
                    await to_session.send(parsed(line.decode("utf-8", "replace")))

    async def write() -> None:
        try:
            async with sent:
                async for item in sent:
                    text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                    await stdin.send(text.encode("utf-8", "replace") + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            await to_session.aclose()  # so that nobody waits for an answer

    async def listen() -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for chunk in stderr:
                words.extend(chunk)
                del words[:-_MOST_WORDS]

    try:
        async with anyio.create_task_group() as group:
            for work in (read, write, listen):
                group.start_soon(work)
            try:
                yield received, to_server
            finally:
                group.cancel_scope.cancel()
    finally:
        for stream in (received, to_server, to_session, sent):
            stream.close()
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _lines(stdout: ByteReceiveStream) -> AsyncIterator[bytes]:
    """Each line, to the end of the stream, or to one that is too long."""
    parts: list[bytes] = []
    size = 0
    async for chunk in stdout:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*parts, line])
            parts, size = [], 0
        parts.append(rest)
        size += len(rest)
        if size > MAX_MESSAGE:
            return


async def _end(process: Process) -> None:
    """Ends the process: by the end of its input, then told so, then killed."""
    if process.stdin is not None:
        with suppress(anyio.BrokenResourceError, OSError):
            await process.stdin.aclose()
    for number in (None, signal.SIGTERM):
        if number is not None:
            _signal(process, number)
        with anyio.move_on_after(_SECONDS_TO_END):
            await _drained(process)
            break
    _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    with anyio.move_on_after(_SECONDS_TO_END):
        await process.wait()
    with suppress(anyio.BrokenResourceError, OSError):
        await process.aclose()


async def _drained(process: Process) -> None:
    """Waits for the end, and reads on meanwhile: a server whose output nobody reads never ends."""
    if process.stdout is not None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            while await process.stdout.receive():
                pass
    await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    """To the server and everything it has started, on systems that have groups of processes."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        elif process.returncode is None:
            process.send_signal(number)


class BoundedTransport(httpx2.AsyncHTTPTransport):
    """Gives up a response when a body, or one line of a stream of events, does not end."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response, read with a bound."""
        response = await super().handle_async_request(request)
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream), "an async transport gives async streams"
        response.stream = _Bounded(stream)
        return response


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        line = 0
        async for chunk in self._inner:
            end = chunk.rfind(b"\n")
            line = line + len(chunk) if end < 0 else len(chunk) - end - 1
            if line > MAX_MESSAGE:
                raise httpx2.ReadError(f"a message of the server has more than {MAX_MESSAGE} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def over_http(
    url: str, headers: Mapping[str, str], *, sse: bool
) -> AsyncGenerator[Any, None]:
    """A transport over streamable HTTP, or over the older SSE, whose events the package bounds."""
    # The read timeout bounds silence within a reply, not a call: that is the tool's own timeout.
    timeout = httpx2.Timeout(30.0, read=300.0)
    if sse:
        async with sse_client(url, headers=dict(headers)) as streams:
            yield streams
        return
    async with (
        httpx2.AsyncClient(
            headers=dict(headers), timeout=timeout, transport=BoundedTransport()
        ) as http,
        streamable_http_client(url, http_client=http) as streams,
    ):
        yield streams
