from __future__ import annotations

import gzip
import json
import socket
import threading
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentkit.errors import (
    ContextWindowError,
    ModelConnectionError,
    ModelError,
    ModelProtocolError,
    ModelResponseTooLargeError,
    ModelStatusError,
    ModelTimeoutError,
    ModelUnreadableError,
    ServerNotReadyError,
)
from agentkit.messages import ModelRequest, UserMessage
from agentkit.models import VLLMModel
from agentkit.models.transport import Connection, Timeouts, Transport
from agentkit.wire import ReplyDecoder
from tests.servers import cuts, says, serving, stalls
from tests.virtual import Replies, Script, event, refuses, replies_with, run_virtual

CHAT = "/v1/chat/completions"
KEY = "sk-very-secret"


def transport_to(
    client: httpx2.AsyncClient, *, timeouts: Timeouts | None = None, api_key: str | None = None
) -> Transport:
    connection = Connection(base_url="http://gemma.invalid/v1", http_client=client, api_key=api_key)
    return Transport(connection, timeouts or Timeouts())


async def payloads_of(transport: Transport, *, total: float = 1800.0) -> list[bytes]:
    deadline = anyio.current_time() + total
    async with aclosing(transport.stream(CHAT, b"{}", deadline=deadline)) as payloads:
        return [payload async for payload in payloads]


# --- the address and the key -------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://h:8/v1", "http://h:8/v1/", "http://h:8", "http://h:8/"])
def test_the_address_may_end_with_v1_or_not(url: str) -> None:
    assert Connection(base_url=url).root == "http://h:8"


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("gemma.localhost", True),
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("[::1]", True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
        ("localhost.example.invalid", False),
        ("127.0.0.1.example.invalid", False),
    ],
)
def test_loopback_is_told_by_the_host(host: str, *, here: bool) -> None:
    assert Connection(base_url=f"http://{host}:8000/v1").is_loopback is here


def test_a_password_in_the_address_is_never_shown() -> None:
    connection = Connection(base_url="http://user:p@ss@h:8000/v1")
    assert connection.public == "http://h:8000"
    assert "p@ss" not in repr(connection)
    assert Transport(connection, Timeouts()).where == "http://h:8000"


def test_the_key_is_in_no_representation() -> None:
    connection = Connection(base_url="http://h/v1", api_key=KEY, headers={"x-token": KEY})
    assert KEY not in repr(connection)
    assert KEY not in str(connection)


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1/v1",
        "http://h:99999/v1",
        "http://h:port/v1",
        "localhost:8000",
        "ftp://h/v1",
        "h",
        "",
        "http:///v1",
    ],
)
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ServerNotReadyError, match="should look like http://localhost:8000/v1"):
        Connection(base_url=url)


@pytest.mark.parametrize("key", ["sk-a\n", "sk-ä", "sk\0a"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ServerNotReadyError, match="AGENTKIT_API_KEY") as caught:
        Connection(base_url="http://h/v1", api_key=key)
    assert "sk" not in str(caught.value)


@pytest.mark.anyio
async def test_key_and_headers_are_sent() -> None:
    with serving(says("x")) as server:
        link = Connection(base_url=server.url, api_key=KEY, headers={"x-tenant": "blue"})
        transport = Transport(link, Timeouts())
        await transport.get("/v1/models")
        await transport.aclose()
    (request,) = server.model_requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["x-tenant"] == "blue"


@pytest.mark.anyio
async def test_a_gateway_that_repeats_the_key_does_not_bring_it_into_the_error() -> None:
    replies = Replies(refuses(403, f"the key {KEY} may not do this"))
    async with replies.client() as client:
        with pytest.raises(ModelStatusError, match=r"403: the key \[the key\] may not") as caught:
            await transport_to(client, api_key=KEY).post(CHAT, b"{}", within=1)
    assert KEY not in str(caught.value)


# --- proxies -----------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
async def test_loopback_ignores_the_environments_proxies(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(says("x")) as server:
        transport = Transport(Connection(base_url=server.url), Timeouts())
        assert "data" in await transport.get("/v1/models")
        await transport.aclose()


@pytest.mark.anyio
async def test_another_machine_is_reached_through_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(says("x")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        transport = Transport(Connection(base_url="http://gemma.invalid/v1"), Timeouts())
        await transport.get("/v1/models")
        await transport.aclose()
    assert proxy.model_requests[0].path == "http://gemma.invalid/v1/models"


@pytest.mark.anyio
async def test_a_proxy_can_be_given_for_the_server() -> None:
    with serving(says("x")) as proxy:
        link = Connection(base_url="http://gemma.invalid/v1", proxy=proxy.url.removesuffix("/v1"))
        transport = Transport(link, Timeouts())
        await transport.get("/v1/models")
        await transport.aclose()
    assert proxy.model_requests[0].path == "http://gemma.invalid/v1/models"


@pytest.mark.anyio
async def test_a_proxy_that_was_asked_for_holds_for_loopback_too() -> None:
    with serving(says("x")) as proxy:
        link = Connection(base_url="http://127.0.0.1:1/v1", proxy=proxy.url.removesuffix("/v1"))
        transport = Transport(link, Timeouts())
        await transport.get("/v1/models")
        await transport.aclose()
    assert proxy.model_requests[0].path == "http://127.0.0.1:1/v1/models"


@pytest.mark.anyio
@pytest.mark.parametrize("proxy", ["gopher://127.0.0.1:1", "socks5://127.0.0.1:1"])
async def test_a_proxy_that_cannot_be_used_is_said_in_one_sentence(proxy: str) -> None:
    link = Connection(base_url="http://gemma.invalid/v1", proxy=proxy)
    with pytest.raises(ServerNotReadyError, match="cannot be reached by proxy"):
        await Transport(link, Timeouts()).get("/v1/models")


# --- the four clocks ---------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_connect_clock_ends_a_connection_that_nobody_takes() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # the queue of one is full now: further ones wait
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        transport = Transport(Connection(base_url=url), Timeouts(connect=0.1))
        with pytest.raises(ModelTimeoutError, match=r"took no connection within 0\.1 s"):
            await transport.get("/v1/models")
        await transport.aclose()


def test_the_first_event_clock_ends_a_stream_that_never_begins() -> None:
    async def main() -> float:
        body = Script(for_ever=[b": queued\n\n", 1.0])
        async with Replies(replies_with(body)).client() as client:
            with pytest.raises(ModelTimeoutError, match="has not begun to answer for 120 s"):
                await payloads_of(transport_to(client))
        assert body.closed
        return anyio.current_time()

    assert run_virtual(main) == pytest.approx(120, abs=1)


def test_keep_alive_comments_do_not_extend_the_idle_clock() -> None:
    async def main() -> float:
        body = Script(100.0, b"data: 1\n\n", for_ever=[b": keep-alive\n\n", 1.0])
        async with Replies(replies_with(body)).client() as client:
            with pytest.raises(ModelTimeoutError, match="has not sent anything for 60 s"):
                await payloads_of(transport_to(client))
        assert body.closed
        return anyio.current_time()

    assert run_virtual(main) == pytest.approx(160, abs=1)


def test_each_event_starts_the_idle_clock_anew() -> None:
    async def main() -> int:
        steps: list[bytes | float] = [b"data: 1\n\n", 59.0]
        body = Script(*steps * 20)
        async with Replies(replies_with(body)).client() as client:
            return len(await payloads_of(transport_to(client)))

    assert run_virtual(main) == 20


def test_the_total_clock_ends_a_stream_that_goes_on_for_ever() -> None:
    async def main() -> float:
        body = Script(for_ever=[b"data: 1\n\n", 7.0])
        async with Replies(replies_with(body)).client() as client:
            with pytest.raises(ModelTimeoutError, match="has not finished its answer: 1800 s, all"):
                await payloads_of(transport_to(client), total=300)
        return anyio.current_time()

    assert run_virtual(main) == pytest.approx(300, abs=1)


def test_an_answer_that_is_not_streamed_has_the_time_it_is_given() -> None:
    async def main() -> float:
        async with Replies(replies_with(Script(for_ever=[1.0]))).client() as client:
            with pytest.raises(ModelTimeoutError, match="gave no answer within 30 s"):
                await transport_to(client).post(CHAT, b"{}", within=30)
        return anyio.current_time()

    assert run_virtual(main) == pytest.approx(30, abs=1)


@pytest.mark.anyio
async def test_a_real_server_that_stalls_is_left_and_notices() -> None:
    with serving(stalls({"a": 1})) as server:
        transport = Transport(Connection(base_url=server.url), Timeouts(idle=0.1))
        with pytest.raises(ModelTimeoutError, match=r"has not sent anything for 0\.1 s"):
            await payloads_of(transport)
        assert await anyio.to_thread.run_sync(server.left.wait, 10)
        await transport.aclose()


# --- what servers do wrong ---------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_stream_is_its_payloads_and_the_end_mark() -> None:
    body = Script(b'data: {"a":', b'1}\r\n\r\n: x\n\ndata: {"b":2}\n\ndata: [DONE]\n\n')
    async with Replies(replies_with(body)).client() as client:
        assert await payloads_of(transport_to(client)) == [b'{"a":1}', b'{"b":2}', b"[DONE]"]
    assert body.closed


@pytest.mark.anyio
async def test_a_server_that_is_not_there_is_named_with_the_question_to_ask() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        transport = Transport(Connection(base_url=url), Timeouts())
        with pytest.raises(ModelConnectionError, match=r"127\.0\.0\.1.*is vLLM running there"):
            await transport.get("/v1/models")
        await transport.aclose()


@pytest.mark.anyio
async def test_a_server_without_tls_is_told_from_one_that_is_not_there() -> None:
    with serving(says("Hello.")) as server:
        url = server.url.replace("http://", "https://")
        transport = Transport(Connection(base_url=url), Timeouts())
        with pytest.raises(ModelConnectionError, match="it speaks http://, not https://"):
            await transport.get("/v1/models")
        await transport.aclose()


@pytest.mark.anyio
async def test_a_connection_cut_in_mid_stream_is_a_connection_error() -> None:
    with serving(cuts({"a": 1})) as server:
        transport = Transport(Connection(base_url=server.url), Timeouts())
        with pytest.raises(ModelConnectionError, match="broke"):
            await payloads_of(transport)
        await transport.aclose()


@pytest.mark.anyio
async def test_a_bare_list_is_the_data_of_an_answer() -> None:
    answer = httpx2.MockTransport(lambda _: httpx2.Response(200, json=[{"id": "a"}]))
    async with httpx2.AsyncClient(transport=answer) as client:
        assert await transport_to(client).get("/v1/models") == {"data": [{"id": "a"}]}


@pytest.mark.anyio
@pytest.mark.parametrize("content", [b"<html>", b"[]", b"", b"null", b"\xff"])
async def test_an_answer_that_is_no_json_object_asks_whether_this_is_vllm(content: bytes) -> None:
    async with Replies(lambda: httpx2.Response(200, content=content)).client() as client:
        with pytest.raises(ModelProtocolError, match="is this a model server"):
            await transport_to(client).post(CHAT, b"{}", within=1)


@pytest.mark.anyio
async def test_a_redirect_is_not_followed_but_named() -> None:
    def elsewhere() -> httpx2.Response:
        return httpx2.Response(308, headers={"Location": "https://gemma.invalid/v1/models"})

    replies = Replies(elsewhere)
    async with replies.client() as client:
        with pytest.raises(ServerNotReadyError, match=r"sends on to https://gemma\.invalid/v1"):
            await transport_to(client, api_key=KEY).post(CHAT, b"{}", within=1)
    assert len(replies.requests) == 1


@pytest.mark.parametrize(
    ("status", "message", "kind", "says"),
    [
        (401, "Unauthorized", ModelStatusError, r"refused the API key \(401\).*AGENTKIT_API_KEY"),
        (404, "The model `x` does not exist.", ModelStatusError, "404: The model `x` does not"),
        (503, "overloaded", ModelStatusError, "503: overloaded"),
        (
            400,
            "This model's maximum context length is 4096 tokens. However, your prompt contains "
            "at least 5000 input tokens.",
            ContextWindowError,
            "maximum context length is 4096",
        ),
        (
            400,
            "The decoder prompt (length 9) is longer than the maximum model length of 8.",
            ContextWindowError,
            "longer than the maximum model length",
        ),
        (
            400,
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be '
            "set",
            ServerNotReadyError,
            "--enable-auto-tool-choice --tool-call-parser gemma4 --reasoning-parser gemma4",
        ),
    ],
)
def test_error_statuses_become_typed_errors(
    status: int, message: str, kind: type[Exception], says: str
) -> None:
    async def ask() -> None:
        async with Replies(refuses(status, message)).client() as client:
            await transport_to(client).post(CHAT, b"{}", within=1)

    async def stream() -> None:
        async with Replies(refuses(status, message)).client() as client:
            await payloads_of(transport_to(client))

    for way in (ask, stream):
        with pytest.raises(kind, match=says) as caught:
            anyio.run(way)
        if isinstance(caught.value, ModelStatusError):
            assert caught.value.status_code == status


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("payload", "kind", "says"),
    [
        ({"error": {"message": "boom", "code": 500}}, ModelStatusError, "500: boom"),
        ({"error": {"message": "boom"}}, ModelUnreadableError, "in place of a reply: boom"),
        ({"error": "boom"}, ModelUnreadableError, "in place of a reply: boom"),
        ({"error": None}, ModelUnreadableError, "in place of a reply"),
        (
            {"error": {"message": "maximum context length is 8 tokens", "code": 400}},
            ContextWindowError,
            "maximum context length",
        ),
    ],
)
async def test_an_error_inside_a_stream_is_typed_too(
    payload: object, kind: type[Exception], says: str
) -> None:
    body = Script(event({"choices": []}), event(payload))
    async with Replies(replies_with(body)).client() as client:
        transport = transport_to(client)
        decoder = ReplyDecoder(refusals=transport.refusals)
        fine, bad = await payloads_of(transport)
        decoder.feed(fine)
        with pytest.raises(kind, match=f"gemma.invalid.* {says}"):
            decoder.feed(bad)


@pytest.mark.anyio
@pytest.mark.parametrize("content", [b"<html>  Bad\n Gateway</html>", b"[1]", b"", b"\xff\xfe"])
async def test_an_error_page_in_any_shape_is_shown_on_one_short_line(content: bytes) -> None:
    async with Replies(lambda: httpx2.Response(502, content=content * 500)).client() as client:
        with pytest.raises(ModelStatusError) as caught:
            await transport_to(client).post(CHAT, b"{}", within=1)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert "<html>" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80))
def test_whatever_bytes_a_server_streams_only_a_model_error_comes_of_it(content: bytes) -> None:
    async def main() -> None:
        async with Replies(replies_with(Script(content, b"\n\n"))).client() as client:
            await payloads_of(transport_to(client))

    with suppress(ModelError):
        anyio.run(main)


# --- Retry-After -------------------------------------------------------------------------------


def retry_after(value: bytes) -> float | None:
    def busy() -> httpx2.Response:
        return httpx2.Response(429, json={}, headers=[(b"Retry-After", value)])

    async def main() -> float | None:
        async with Replies(busy).client() as client:
            try:
                await transport_to(client).post(CHAT, b"{}", within=1)
            except ModelStatusError as error:
                return error.retry_after
        raise AssertionError("a 429 is an error")

    return anyio.run(main)


@pytest.mark.parametrize(
    ("value", "seconds"), [(b"0", 0.0), (b"7", 7.0), (b" 12 ", 12.0), (b"0" * 400 + b"3", 3.0)]
)
def test_seconds_to_wait_are_read(value: bytes, seconds: float) -> None:
    assert retry_after(value) == seconds


def test_a_date_to_wait_for_is_read() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after(date.encode()) == pytest.approx(30, abs=3)


def test_a_date_in_the_past_means_now() -> None:
    assert retry_after(b"Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"soon",
        b"-5",
        b"1.5",
        b"1e9",
        "²".encode(),
        "²".encode("latin-1"),
        "٣".encode(),
        b"Mon, 01 Jan 99999 00:00:00 GMT",
        b"Mon, 99 Jan 2020 00:00:00 GMT",
        b"Mon, 01 Jan 0001 00:00:00 -9999",
    ],
)
def test_a_wait_that_makes_no_sense_is_no_wait(value: bytes) -> None:
    assert retry_after(value) is None


def test_a_huge_wait_is_a_number_all_the_same() -> None:
    assert retry_after(b"9" * 30) == 1e30


@settings(max_examples=60, deadline=None)
@given(st.from_regex(rb"[ -~]{0,40}", fullmatch=True))
def test_no_wait_that_a_server_writes_breaks_anything(value: bytes) -> None:
    seconds = retry_after(value)
    assert seconds is None or seconds >= 0


# --- clients -----------------------------------------------------------------------------------


def test_each_event_loop_has_a_client_of_its_own_and_uses_it_again() -> None:
    with serving(says("x")) as server:
        transport = Transport(Connection(base_url=server.url), Timeouts())

        async def main() -> None:
            for _ in range(3):
                await transport.get("/v1/models")
            await transport.aclose()

        for backend in ("asyncio", "asyncio", "trio"):
            anyio.run(main, backend=backend)
    assert len(server.model_requests) == 9
    assert server.connections == 3


def test_loops_in_several_threads_use_one_transport_at_the_same_time() -> None:
    with serving(says("x")) as server:
        transport = Transport(Connection(base_url=server.url), Timeouts())
        together = threading.Barrier(4)

        async def main() -> None:
            together.wait(10)
            await transport.get("/v1/models")
            await transport.aclose()

        threads = [threading.Thread(target=anyio.run, args=(main,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.model_requests) == 4


@pytest.mark.anyio
async def test_after_closing_the_next_request_opens_anew() -> None:
    with serving(says("x")) as server:
        transport = Transport(Connection(base_url=server.url), Timeouts())
        for _ in range(2):
            await transport.get("/v1/models")
            await transport.aclose()
            await transport.aclose()
    assert server.connections == 2


@pytest.mark.anyio
async def test_a_client_that_was_given_is_used_and_never_closed() -> None:
    async with Replies(lambda: httpx2.Response(200, json={"ok": 1})).client() as client:
        transport = transport_to(client)
        await transport.post(CHAT, b"{}", within=1)
        await transport.aclose()
        assert await transport.post(CHAT, b"{}", within=1) == {"ok": 1}
        assert not client.is_closed


@pytest.mark.anyio
async def test_leaving_a_stream_closes_its_connection() -> None:
    with serving(stalls({"a": 1})) as server:
        transport = Transport(Connection(base_url=server.url), Timeouts())
        deadline = anyio.current_time() + 60
        async with aclosing(transport.stream(CHAT, b"{}", deadline=deadline)) as payloads:
            assert json.loads(await anext(payloads)) == {"a": 1}
        assert await anyio.to_thread.run_sync(server.left.wait, 10)
        await transport.aclose()


# --- bounded bodies ----------------------------------------------------------------------------


def zipped(text: bytes, coding: str = "gzip") -> httpx2.MockTransport:
    packed = gzip.compress(text) if coding == "gzip" else zlib.compress(text)

    async def pieces() -> AsyncIterator[bytes]:
        yield packed

    return httpx2.MockTransport(
        lambda _request: httpx2.Response(
            200, headers={"content-encoding": coding}, content=pieces()
        )
    )


@pytest.mark.anyio
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_gateway_that_compresses_unasked_is_understood(coding: str) -> None:
    body = b'{"a": "%s"}' % (b"x" * 99_999)
    async with httpx2.AsyncClient(transport=zipped(body, coding)) as client:
        answer = await transport_to(client).get("/v1/models")
    assert answer == {"a": "x" * 99_999}


@pytest.mark.anyio
async def test_the_limit_counts_decoded_bytes_and_a_user_sets_it() -> None:
    async with httpx2.AsyncClient(transport=zipped(b'{"a": "%s"}' % (b"x" * 5_000))) as client:
        connection = Connection(base_url="http://gemma.invalid/v1", http_client=client)
        with pytest.raises(ModelResponseTooLargeError, match=r"2,000 bytes.*max_response_bytes"):
            await Transport(connection, Timeouts(), max_bytes=2_000).get("/v1/models")
        assert await Transport(connection, Timeouts(), max_bytes=6_000).get("/v1/models")


@pytest.mark.anyio
async def test_nothing_but_plain_bytes_is_asked_for() -> None:
    with serving(says("x")) as server:
        transport = Transport(Connection(base_url=server.url), Timeouts())
        await transport.get("/v1/models")
        await transport.aclose()
    assert server.model_requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.anyio
async def test_a_body_of_blanks_alone_is_too_large_and_takes_no_time_to_tell() -> None:
    def answers(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/models":
            return httpx2.Response(200, json={"data": [{"id": "gemma-4-e4b-it"}]})
        return httpx2.Response(200, stream=Blanks())

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(answers))
    timeouts = Timeouts(first_event=2.0, retry=0)
    model = VLLMModel("http://server/v1", http_client=client, timeouts=timeouts)
    with pytest.raises(ModelResponseTooLargeError):
        async for _ in model.generate(ModelRequest([UserMessage("Hello.")])):
            pass


class Blanks(httpx2.AsyncByteStream):
    """More of them than a body may have bytes."""

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        for _ in range(300):
            yield b" " * 65_536
