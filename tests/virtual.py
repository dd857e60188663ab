"""Time that passes only while everybody waits, and a server made of scripted waits."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import chain, cycle
from typing import Any, TypeVar

import anyio
import httpx2
import trio
import trio.testing

from tests.servers import MODEL

T = TypeVar("T")


def run_virtual(main: Callable[[], Awaitable[T]]) -> T:
    """Runs it on trio, where an hour's wait takes no time."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(main, clock=clock)


class Script(httpx2.AsyncByteStream, AsyncIterator[bytes]):
    """The body of a reply: bytes to send, and seconds to wait between them.

    Args:
        steps: In order; after the last one the body ends, or it begins again with `for_ever`.
        for_ever: Repeats the last step without end.
    """

    def __init__(self, *steps: bytes | float | Exception, for_ever: Sequence[bytes | float] = ()):
        self._rest = chain(steps, cycle(for_ever))
        self.closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for step in self._rest:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, bytes):
                return step
            await anyio.sleep(step)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Remembers that it was closed."""
        self.closed = True


def event(payload: object) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def stream_of(chunks: Sequence[object]) -> Script:
    """A body that sends all of it at once."""
    return Script(b"".join(map(event, chunks)), b"data: [DONE]\n\n")


class Replies:
    """A transport for `httpx2.AsyncClient`: one scripted answer for each chat request.

    Args:
        answers: In order; the last one stays.

    Attributes:
        requests: The chat requests so far.
        times: When each came, in the event loop's own time.
    """

    def __init__(self, *answers: Callable[[], httpx2.Response]) -> None:
        self._answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.times: list[float] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/models"):
            return httpx2.Response(200, json={"data": [{"id": MODEL, "max_model_len": 32768}]})
        if request.method == "GET":  # it tells nothing else of itself
            return httpx2.Response(404, json={"detail": "Not Found"})
        self.requests.append(request)
        self.times.append(anyio.current_time())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer()

    def client(self) -> httpx2.AsyncClient:
        """A client whose every request ends here."""
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self))


def replies_with(body: Script) -> Callable[[], httpx2.Response]:
    """A stream."""
    return lambda: httpx2.Response(200, stream=body)


def replies_fresh(make: Callable[[], Script]) -> Callable[[], httpx2.Response]:
    """A stream of its own for each request."""
    return lambda: httpx2.Response(200, stream=make())


def refuses(
    status: int, message: str = "no", headers: dict[str, Any] | None = None
) -> Callable[[], httpx2.Response]:
    """An error status in vLLM's shape."""
    return lambda: httpx2.Response(
        status, json={"error": {"message": message, "code": status}}, headers=headers
    )


def breaks(error: Exception) -> Callable[[], httpx2.Response]:
    """Fails before any answer."""

    def answer() -> httpx2.Response:
        raise error

    return answer
