"""HTTP whose lines and bodies end: what one message of a server may take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import httpx2

MAX_MESSAGE: Final = 64 * 1024 * 1024
"""Bytes of one message, as over stdio."""


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
