"""HTTP to a model server: one client per event loop, the clocks of a call, typed errors.

In: a method, a path and a body. Out: JSON, or the payloads of a stream as they arrive. It knows
nothing of messages, and no exception of the HTTP library leaves it.
"""

from __future__ import annotations

import re
import ssl
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, fields
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from itertools import count
from typing import Final, NoReturn, Protocol
from urllib.parse import urlsplit

import anyio
import httpx2
from anyio.lowlevel import RunVar, checkpoint

from agentkit.errors import (
    ModelConnectionError,
    ModelProtocolError,
    ModelResponseTooLargeError,
    ModelTimeoutError,
    ServerNotReadyError,
    check_kinds,
)
from agentkit.messages import JsonObject
from agentkit.redaction import keep_secret, public_address, secret_headers, secret_in_address
from agentkit.stream import MAX_RESPONSE_BYTES, EventDecoder, read_json
from agentkit.wire.server import Refusals, words_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The clocks of one model call, in seconds.

    Attributes:
        connect: Until there is a TCP (and TLS) connection.
        first_event: The time from the request to the first data event: queueing and prefill.
        idle: Between two data events. Comments (keep-alives) do not count.
        total: The whole call, all attempts and waits together.
        retry: How long after the beginning of the first attempt others may begin. A vLLM that
            restarts needs minutes.

    Raises:
        ValueError: A clock is not above 0; `retry` may be 0, for no second attempt.
    """

    connect: float = 5.0
    first_event: float = 120.0
    idle: float = 60.0
    total: float = 1800.0
    retry: float = 300.0

    def __post_init__(self) -> None:
        clocks = {each.name: getattr(self, each.name) for each in fields(self)}
        check_kinds(clocks, dict.fromkeys(clocks, ((int, float), "give seconds")))
        for clock in ("connect", "first_event", "idle", "total"):
            if not (given := getattr(self, clock)) > 0:
                raise ValueError(f"{clock} is {given}; give seconds above 0")
        if not self.retry >= 0:
            raise ValueError(f"retry is {self.retry}; give seconds, or 0 for no second attempt")


_numbers = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How to reach the server.

    Attributes:
        base_url: The server's address, with or without the final `/v1`.
        api_key: Sent as a bearer token; never logged, never part of a repr.
        headers: Sent with each request.
        verify: False to accept any TLS certificate, or a context to check with.
        proxy: For this server; None for the environment's proxies, which loopback never uses.
        http_client: Used instead of a client of our own, and never closed.
    """

    base_url: str
    api_key: str | None = None
    headers: Mapping[str, str] | None = None
    verify: bool | ssl.SSLContext = True
    proxy: str | None = None
    http_client: httpx2.AsyncClient | None = None

    def __post_init__(self) -> None:
        """Refuses, before any request, what could never work.

        Raises:
            ServerNotReadyError: The address is none, or the key cannot stand in an HTTP header.
        """
        try:
            self.base_url.encode()  # a ValueError where a byte was no text
            parts = urlsplit(self.base_url)
            whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            keep_secret(self.api_key, *secret_headers(self.headers or {}))
            keep_secret(*secret_in_address(self.base_url), *secret_in_address(self.proxy or ""))
        except ValueError:  # a bracket that is not closed, a port that is no number
            whole = False
        if not whole:
            raise self.not_an_address()
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ServerNotReadyError(
                "the API key holds characters that no HTTP header can carry, such as a line end; "
                "look at AGENTKIT_API_KEY or api_key="
            )

    def __repr__(self) -> str:
        return f"Connection({self.public!r})"

    def not_an_address(self) -> ServerNotReadyError:
        """The error for a `base_url` that is not an address."""
        return ServerNotReadyError(
            f"{self.public!r} is no address of a server; "
            "it should look like http://localhost:8000/v1"
        )

    @property
    def root(self) -> str:
        """The server's address without `/v1`."""
        return self.base_url.rstrip("/").removesuffix("/v1").rstrip("/")

    @property
    def public(self) -> str:
        """The root as messages, logs and run files may show it."""
        return public_address(self.root)

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        host = urlsplit(self.base_url).hostname or ""
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or address.is_unspecified  # 0.0.0.0 also means this machine


class Transport:
    """Requests to one server, from any number of event loops and threads.

    Each event loop has its own client, since a connection belongs to the loop that opened it.

    Args:
        connection: How to reach the server.
        timeouts: The clocks.
        max_bytes: Most bytes, decoded, of a body and of one event; see `MAX_RESPONSE_BYTES`.
    """

    def __init__(
        self,
        connection: Connection,
        timeouts: Timeouts,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self.connection = connection
        self.timeouts = timeouts
        self.max_bytes = max_bytes
        self.refusals = Refusals(connection.public, connection.api_key)
        self._client: RunVar[httpx2.AsyncClient | None] = RunVar(
            f"agentkit-client-{next(_numbers)}"
        )
        self._urls: dict[str, httpx2.URL] = {}
        self._clocks = {"timeout": httpx2.Timeout(None, connect=timeouts.connect).as_dict()}
        headers = {
            "accept": "*/*",
            "accept-encoding": "identity",
            "user-agent": "agentkit",
            **(connection.headers or {}),
        }
        if connection.api_key:
            headers["authorization"] = f"Bearer {connection.api_key}"
        with_body = {**headers, "content-type": "application/json"}
        self._headers = (httpx2.Headers(headers), httpx2.Headers(with_body))

    async def get(self, path: str) -> JsonObject:
        """The JSON object at a path below the server's root.

        Raises:
            AgentKitError: No such answer came.
        """
        within = min(self.timeouts.first_event, self.timeouts.total)
        return self._object(path, await self.get_raw(path, within=within))

    async def get_raw(self, path: str, *, within: float) -> bytes:
        """The bytes at a path below the server's root, within so many seconds.

        Raises:
            AgentKitError: No answer came, or one with an error status or a redirect.
        """
        return await self._body("GET", path, None, within)

    async def post(self, path: str, body: bytes, *, within: float) -> JsonObject:
        """The JSON object that answers a body, within so many seconds.

        Raises:
            AgentKitError: No such answer came.
        """
        return self._object(path, await self.post_raw(path, body, within=within))

    async def post_raw(self, path: str, body: bytes, *, within: float) -> bytes:
        """The bytes that answer a body, within so many seconds.

        Raises:
            AgentKitError: No answer came, or one with an error status or a redirect.
        """
        return await self._body("POST", path, body, within)

    async def _body(
        self,
        method: str,
        path: str,
        body: bytes | None,
        within: float,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        try:
            with anyio.fail_after(within):
                response = await self._send(method, path, body, headers)
                try:
                    return await self._whole(response, self.max_bytes)
                finally:
                    await _close(response)
        except TimeoutError:
            raise ModelTimeoutError(f"{self.where} gave no answer within {within:g} s") from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            self._raise_connection(error)

    async def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """A response with a status of success, its body not read yet.

        Raises:
            AgentKitError: It has another status.
        """
        response = await self._open().send(self._request(method, path, body, headers), stream=True)
        if not response.is_success:  # some gateways answer a POST with 201
            try:
                words = await _beginning(response, _MOST_ERROR)
            finally:
                await _close(response)
            if response.has_redirect_location:  # following it would send the key to whoever asks
                raise ServerNotReadyError(
                    f"{self.where} sends on to {response.headers['location']}; give that address"
                )
            retry_after = _retry_after(response.headers)
            raise self.refusals.error(words, response.status_code, retry_after)
        return response

    async def _whole(self, response: httpx2.Response, most: int) -> bytes:
        content = await _beginning(response, most + 1)
        if len(content) > most:
            raise self._too_large(most)
        return content

    async def _rest(self, begun: bytearray, pieces: AsyncIterator[bytes]) -> bytes:
        """A body that has begun, to its end."""
        async for piece in pieces:
            begun += piece
            if len(begun) > self.max_bytes:
                raise self._too_large(self.max_bytes)
        return bytes(begun)

    def _too_large(self, most: int) -> ModelResponseTooLargeError:
        return ModelResponseTooLargeError(
            f"{self.where} sent more than {most:,} bytes in one answer; if that is right, raise "
            "max_response_bytes"
        )

    def _object(self, path: str, content: bytes) -> JsonObject:
        """The object of an answer; a bare list becomes the `data` of an object."""
        try:
            value = read_json(content)
        except ValueError:
            value = None
        if isinstance(value, list) and value:  # Together lists its models so
            return {"data": value}
        if not isinstance(value, dict):
            raise ModelProtocolError(
                f"{self.where}{path} answered with something that is not a JSON object: "
                f"{words_of(content)[:200]}; is this a model server?"
            )
        return value

    async def stream(
        self, path: str, body: bytes, *, deadline: float, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The JSON texts of a reply as they arrive, and `[DONE]` where that comes.

        A server that answers with one JSON text where a stream was asked for, or the other way
        round, is understood all the same.

        Args:
            path: Below the server's root.
            body: JSON text.
            deadline: When to give up whatever arrives, in the event loop's own time.
            headers: The headers of this request; the connection's own win over them.

        Raises:
            AgentKitError: The same as for `get`; also when a clock runs out between two payloads.
                An error that a server sends as a payload is for the reader of the payloads.
        """
        arrivals = self._arrivals(path, body, headers)
        async with aclosing(arrivals):
            wait, missing = self.timeouts.first_event, "begun to answer"
            while True:
                until = min(anyio.current_time() + wait, deadline)
                payloads: list[bytes] = []
                try:
                    # No scope is open while the consumer runs: it ends before anything is yielded.
                    with anyio.CancelScope(deadline=until):
                        payloads = await anext(arrivals)
                except StopAsyncIteration:
                    return
                except (httpx2.HTTPError, httpx2.StreamError) as error:
                    self._raise_connection(error)
                if not payloads and until == deadline:
                    raise ModelTimeoutError(
                        f"{self.where} has not finished its answer: {self.timeouts.total:g} s, all "
                        "attempts together, are over"
                    )
                if not payloads:
                    raise ModelTimeoutError(f"{self.where} has not {missing} for {wait:g} s")
                for payload in payloads:
                    if payload.strip():
                        yield payload
                wait, missing = self.timeouts.idle, "sent anything"

    async def reply(
        self, path: str, body: bytes, *, within: float, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The JSON texts of a reply that is asked for as a whole; usually one.

        Args:
            path: Below the server's root.
            body: JSON text.
            within: Seconds for all of it.
            headers: The same as for `stream`.

        Raises:
            AgentKitError: The same as `stream` raises.
        """
        content = await self._body("POST", path, body, within, headers)
        payloads = [content]
        if _is_event_stream(content, {}):
            decoder = EventDecoder(self.max_bytes)
            payloads = [*decoder.feed(content), *decoder.rest()]
        for payload in payloads:
            if payload.strip():
                yield payload

    async def _arrivals(
        self, path: str, body: bytes, headers: Mapping[str, str] | None
    ) -> AsyncGenerator[list[bytes], None]:
        """Lists of payloads, none of them empty: what each read of the network completes."""
        response = await self._send("POST", path, body, headers)
        try:
            async with aclosing(_pieces(response)) as pieces:
                begun = bytearray()  # until it is enough to tell what kind of body it is
                async for piece in pieces:
                    begun += piece
                    if len(begun) >= _PIECE or len(begun.strip()) >= _ENOUGH:
                        break
                if not _is_event_stream(begun, response.headers):
                    yield [await self._rest(begun, pieces)]
                    return
                decoder, left = EventDecoder(self.max_bytes), self.max_bytes * _STREAMED
                if payloads := decoder.feed(bytes(begun)):
                    yield payloads
                async for piece in pieces:
                    left -= len(piece)
                    if left < 0:
                        raise self._too_large(self.max_bytes * _STREAMED)
                    if payloads := decoder.feed(piece):
                        yield payloads
                if payloads := decoder.rest():
                    yield payloads
        finally:
            await _close(response)

    async def aclose(self) -> None:
        """Closes this event loop's client."""
        if client := self._client.get(None):
            self._client.set(None)
            await client.aclose()

    @property
    def where(self) -> str:
        """The server, for messages."""
        return self.connection.public

    def _open(self) -> httpx2.AsyncClient:
        if self.connection.http_client is not None:
            return self.connection.http_client
        client = self._client.get(None)
        if client is None:
            client = self._build()
            self._client.set(client)
        return client

    def _build(self) -> httpx2.AsyncClient:
        link = self.connection
        plain = link.base_url.startswith("http:")
        try:
            return httpx2.AsyncClient(
                # Without TLS no certificates are needed, and loading them costs 20 ms.
                verify=False if plain and link.proxy is None else link.verify,
                proxy=link.proxy,
                trust_env=not link.is_loopback,
                timeout=httpx2.Timeout(None, connect=self.timeouts.connect),
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100),
            )
        except (ImportError, ValueError) as error:  # a SOCKS proxy without socksio, no such scheme
            raise ServerNotReadyError(
                f"{self.where} cannot be reached by proxy: {error}"
            ) from error

    def _request(
        self, method: str, path: str, body: bytes | None, own: Mapping[str, str] | None
    ) -> httpx2.Request:
        try:
            url = self._urls.get(path) or httpx2.URL(self.connection.root + path)
        except httpx2.InvalidURL as error:
            raise self.connection.not_an_address() from error
        self._urls[path] = url  # parsing an address costs as much as sending a small request
        headers, clocks = self._headers[body is not None], self._clocks
        if own:
            headers = headers.copy()
            for name, value in own.items():
                headers.setdefault(name, value)
        return httpx2.Request(method, url, content=body, headers=headers, extensions=clocks)

    def _raise_connection(self, error: Exception) -> NoReturn:
        if isinstance(error, (httpx2.InvalidURL, httpx2.UnsupportedProtocol)):
            raise self.connection.not_an_address() from error
        if isinstance(error, httpx2.ConnectTimeout):
            raise ModelTimeoutError(
                f"{self.where} took no connection within {self.timeouts.connect:g} s"
            ) from error
        if isinstance(error, httpx2.ConnectError):
            remedy = "it speaks http://, not https://" if _without_tls(error) else _IS_IT_THERE
            raise ModelConnectionError(
                f"no server answers at {self.where} ({error}); {remedy}"
            ) from error
        raise ModelConnectionError(
            f"the connection to {self.where} broke: {str(error) or type(error).__name__}"
        ) from error


_IS_IT_THERE: Final = "is vLLM running there?"


def _without_tls(error: BaseException | None) -> bool:
    """Whether what answered does not speak TLS; the event loops wrap that error differently."""
    while error is not None and getattr(error, "reason", "") != "WRONG_VERSION_NUMBER":
        error = error.__cause__ or error.__context__
    return error is not None


# --- bodies --------------------------------------------------------------------------------------

_MOST_ERROR = 65_536
"""Bytes of an answer with an error status that are read; at most 500 characters are shown."""

_STREAMED = 32
"""How many times longer a stream may be than a whole body: it takes some 300 bytes a token."""

_PIECE = 16_384
"""Most bytes that are decoded or searched for line ends before other tasks get their turn."""


def _is_event_stream(body: bytes | bytearray, headers: Mapping[str, str]) -> bool:
    """Whether a body, or its beginning, is one of server-sent events; else it is JSON or a page.

    Args:
        body: At least its first bytes. So few that they could hold no event are no stream.
        headers: Its content type decides where the bytes do not.
    """
    if len(body.strip()) < _ENOUGH:
        return False
    if _FIELD.match(body):
        return True
    kind = headers.get("content-type", "").lower()
    return kind.startswith("text/event-stream") and body.lstrip()[:1] not in (b"{", b"[", b"<")


_FIELD = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry)?:")
_ENOUGH = 12
"""Bytes that tell the first line of an event stream from anything else: `data: [DONE]`."""


async def _beginning(response: httpx2.Response, most: int) -> bytes:
    """The first bytes of a body, decoded; the rest is not read."""
    content = bytearray()
    async with aclosing(_pieces(response)) as pieces:
        async for piece in pieces:
            content += piece[: most - len(content)]
            if len(content) >= most:
                break
    return bytes(content)


async def _pieces(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """The bytes of a body, decoded, in small pieces.

    Only `identity` is asked for. The answer of a gateway that compresses all the same is read if
    Python itself can decode it in bounded steps; httpx2 would make one piece of a chunk, and 64 KiB
    of gzip can hold 64 MiB.

    Raises:
        ModelProtocolError: The body is compressed in another way, or its compression is broken.
    """
    if response.is_stream_consumed:  # a client of the user's own that reads by itself
        yield response.content
        return
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise ModelProtocolError(
            f"the server compressed its answer ({coding[:40]}), although it was asked not to"
        )
    inflate = None if coding in ("", "identity") else zlib.decompressobj(zlib.MAX_WBITS | 32)
    async for chunk in response.aiter_raw():
        if inflate is None and len(chunk) <= _PIECE:  # nearly always
            yield chunk
            continue
        pieces = _cut(chunk) if inflate is None else _inflated(chunk, inflate)
        for number, piece in enumerate(pieces):
            if number:
                await checkpoint()
            yield piece


def _cut(chunk: bytes) -> Iterator[bytes]:
    return (chunk[at : at + _PIECE] for at in range(0, len(chunk), _PIECE))


def _inflated(chunk: bytes, inflate: _Inflate) -> Iterator[bytes]:
    while chunk and not inflate.eof:  # what follows the end is no part of the answer
        try:
            piece = inflate.decompress(chunk, _PIECE)
        except zlib.error as error:
            raise ModelProtocolError(f"the server's compression is broken: {error}") from error
        chunk = inflate.unconsumed_tail
        if piece:
            yield piece


class _Inflate(Protocol):
    """What `zlib.decompressobj` makes; zlib does not export its type."""

    @property
    def unconsumed_tail(self) -> bytes:
        """The part of the data that was not looked at yet."""
        ...

    @property
    def eof(self) -> bool:
        """Whether the compressed data has come to its end."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """At most so many decoded bytes; `unconsumed_tail` then has the rest of the data."""
        ...


async def _close(response: httpx2.Response) -> None:
    """Closes a response, also when the run is cancelled: vLLM then stops generating."""
    if response.is_closed:  # it was read to its end
        return
    with anyio.move_on_after(2, shield=True):
        await response.aclose()


# --- errors --------------------------------------------------------------------------------------


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait (RFC 9110, section 10.2.3), or None when the header makes no sense."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
