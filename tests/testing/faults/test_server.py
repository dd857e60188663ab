from __future__ import annotations

import json
import socket
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest

from agentkit import Agent, VLLMModel
from agentkit.errors import ModelStatusError
from agentkit.testing import Delivery, FaultServer, Reply, Served, call, damaged, say
from agentkit.testing.faults import FAULTS, served

QUESTION = {"messages": [{"role": "user", "content": "hi"}]}
CLIENT = httpx2.Client(
    verify=False,  # no TLS is spoken here, and reading the certificates takes longer than a test
    limits=httpx2.Limits(max_keepalive_connections=0),  # each request on a connection of its own
)


def ask(server: FaultServer, **fields: Any) -> httpx2.Response:
    return CLIENT.post(f"{server.url}/chat/completions", json=QUESTION | fields)


def text(response: httpx2.Response) -> str:
    content: str = response.json()["choices"][0]["message"]["content"]
    return content


def test_it_answers_in_the_order_of_its_script() -> None:
    with FaultServer([say("one"), say("two")]) as server:
        assert [text(ask(server)) for _ in range(2)] == ["one", "two"]


def test_after_its_script_it_says_so_and_is_not_asked_again() -> None:
    with FaultServer([say("one")]) as server:
        ask(server)
        response = ask(server)
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "the script has no reply for request 2"


def test_then_answers_whatever_comes_after_the_script() -> None:
    with FaultServer([say("one")], then=say("more")) as server:
        assert [text(ask(server)) for _ in range(3)] == ["one", "more", "more"]


def test_a_step_may_be_a_function_of_the_request() -> None:
    with FaultServer(then=lambda body: say(body["messages"][0]["content"].upper())) as server:
        assert text(ask(server)) == "HI"


def test_a_function_of_the_script_may_change_the_server() -> None:
    def step(_body: dict[str, Any]) -> Reply:
        server.behave(say("better"))
        return say("bad")

    with FaultServer([step]) as server:
        assert [text(ask(server)) for _ in range(2)] == ["bad", "better"]


def test_a_status_may_be_one_that_http_does_not_name() -> None:
    with FaultServer([Delivery((b"{}",), status=529)]) as server:
        assert ask(server).status_code == 529


def test_a_script_that_fails_tells_the_client_so() -> None:
    with FaultServer(then=lambda body: say(body["nothing"])) as server:
        response = ask(server)
    assert response.status_code == 400
    message = response.json()["error"]["message"]
    assert message == "request 1: the script raised KeyError('nothing')"


def test_it_keeps_the_requests_it_got() -> None:
    with FaultServer(then=say("x")) as server:
        ask(server, seed=7)
    assert server.requests == [QUESTION | {"seed": 7}]


def test_it_can_be_started_again_on_the_same_address() -> None:
    server = FaultServer(then=say("x"))
    with server:
        url = server.url
    with server:
        assert server.url == url
        assert text(ask(server)) == "x"


@pytest.mark.anyio
async def test_an_agent_cannot_tell_it_from_a_real_server() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    script = [call("add", a=1, b=2), say("It is 3.", reasoning="easy")]
    async with FaultServer(script) as server, VLLMModel(server.url) as model:
        result = await Agent(model, tools=[add], observers=()).run("1 + 2?")
    assert result.output == "It is 3."
    assert result.messages[2].content == "3"
    assert result.usage.output_tokens > 0


@pytest.mark.anyio
async def test_the_missing_reply_ends_an_agent_at_once() -> None:
    async with FaultServer([]) as server, VLLMModel(server.url) as model:
        with pytest.raises(ModelStatusError, match="no reply for request 1"):
            await Agent(model, observers=()).run("hi")


def test_it_tells_its_version_model_and_health() -> None:
    with FaultServer(max_model_len=4096) as server:
        root = server.url.removesuffix("/v1")
        assert CLIENT.get(f"{root}/version").json() == {"version": "0.32.0"}
        assert CLIENT.get(f"{root}/health").status_code == 200
        (card,) = CLIENT.get(f"{server.url}/models").json()["data"]
        assert (card["id"], card["max_model_len"]) == (server.model, 4096)
        assert CLIENT.get(f"{root}/nothing").status_code == 404


def test_it_tokenizes_texts_and_counts_messages() -> None:
    with FaultServer() as server:
        root = server.url.removesuffix("/v1")
        made = CLIENT.post(f"{root}/tokenize", json={"prompt": "a<turn|>"}).json()
        assert made["count"] == 2
        back = CLIENT.post(f"{root}/detokenize", json={"tokens": made["tokens"]}).json()
        assert back == {"prompt": "a<turn|>"}
        assert CLIENT.post(f"{root}/detokenize", json={"tokens": [7]}).status_code == 400
        short = CLIENT.post(f"{root}/tokenize", json=QUESTION).json()["count"]
        longer = {"messages": QUESTION["messages"] * 2}
        assert CLIENT.post(f"{root}/tokenize", json=longer).json()["count"] > short


def test_other_paths_can_misbehave_first() -> None:
    with FaultServer(first={"/v1/models": [Delivery((b"no",), 503, {})]}) as server:
        statuses = [CLIENT.get(f"{server.url}/models").status_code for _ in range(2)]
    assert statuses == [503, 200]


@pytest.mark.slow
def test_the_same_seed_injects_the_same_faults() -> None:
    def injected(seed: int) -> list[str]:
        names = ["internal_error", "empty_reply", "bad_gateway"]
        with FaultServer(then=say("x"), faults=names, rate=0.5, seed=seed) as server:
            for _ in range(20):
                ask(server)
        return server.injected

    assert injected(1) == injected(1)
    assert injected(1) != injected(2)
    assert 3 < len(injected(1)) < 18


def test_only_faults_that_fit_a_reply_are_injected() -> None:
    with FaultServer(then=say("x"), faults=["null_arguments"], rate=1) as server:
        assert text(ask(server)) == "x"
    assert server.injected == []


def test_after_behave_nothing_is_wrong_any_more() -> None:
    script = [damaged(say("x"), "internal_error")] * 3
    with FaultServer(script, faults=["unavailable"], rate=1) as server:
        assert ask(server).status_code == 500
        server.behave(say("well"))
        assert text(ask(server)) == "well"


def test_a_fault_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"no fault 'nonsense'; there are: .*stalls"):
        FaultServer(faults=["nonsense"])


def test_a_fault_that_cannot_strike_is_refused_where_it_is_written() -> None:
    with pytest.raises(ValueError, match="null_arguments"):
        damaged(say("x"), "null_arguments")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_fault_changes_a_reply_or_its_delivery(fault: Any) -> None:
    sound = Served(text="It is 4275.", reasoning="hm")
    if not fault.fits(sound):
        sound = served(call("order", item="hello", count=3))
    assert fault.fits(sound)
    assert fault.what
    if fault.side == "server":
        delivery = Delivery((b'data: {"a":\n\n', b'"b"}\n\n', b"data: [DONE]\n\n"))
        assert fault.delivery(delivery, 0.5) != delivery


# --- on the wire -------------------------------------------------------------------------------


def raw(server: FaultServer) -> socket.socket:
    """A streamed request over a bare socket."""
    body = json.dumps(QUESTION | {"stream": True}).encode()
    link = socket.create_connection(("127.0.0.1", int(server.url.split(":")[2].split("/")[0])))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    link.sendall(head.encode() + body)
    return link


def everything(link: socket.socket) -> bytes:
    received = b""
    while data := link.recv(65536):
        received += data
    return received


def test_a_reset_is_a_reset() -> None:
    script = [damaged(say("x"), "reset_mid_reply")]
    with FaultServer(script) as server, raw(server) as link, pytest.raises(ConnectionResetError):
        everything(link)


def test_a_closed_connection_lacks_the_last_chunk() -> None:
    with FaultServer([damaged(say("x"), "closed_mid_reply")]) as server, raw(server) as link:
        received = everything(link)
    assert received
    assert not received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("at", [0.0, 0.31, 1.0])
def test_a_cut_falls_where_it_is_asked_for_and_never_on_an_end(at: float) -> None:
    delivery = Delivery((b"one", b"two", b"three"))
    struck = FAULTS["ends_early"].delivery(delivery, at)
    assert b"onetwothree".startswith(b"".join(struck.body))
    assert 0 < struck.size < delivery.size


def test_every_cut_of_a_delivery_is_a_prefix() -> None:
    delivery = Delivery((b"one", b"", b"two"))
    for at in range(7):
        assert b"".join(delivery.cut(at).body) == b"onetwo"[:at]


def test_a_stall_lasts_until_the_client_leaves() -> None:
    with FaultServer([damaged(say("x"), "stalls")]) as server:
        with raw(server) as link:
            link.recv(1)
            assert server.running == 1
            assert not server.wait_idle(0.05)
        assert server.wait_idle(5)


def test_keep_alive_comments_go_on_until_the_client_leaves() -> None:
    with FaultServer([damaged(say("x"), "only_pings", at=0.5)]) as server, raw(server) as link:
        received = b""
        while received.count(b": ping\n\n") < 3:
            received += link.recv(65536)


@pytest.mark.slow
def test_nobody_listens_while_the_server_restarts() -> None:
    restart = Delivery(status=None, end="restart", down=1.5)
    with FaultServer([restart], then=say("back")) as server:
        with raw(server) as link, pytest.raises(ConnectionResetError):
            everything(link)
        with pytest.raises(httpx2.ConnectError):
            ask(server)
        assert server.wait_listening(20)
        assert text(ask(server)) == "back"


def test_stopping_ends_what_still_hangs() -> None:
    server = FaultServer(then=damaged(say("x"), "silent"))
    server.start()
    link = raw(server)
    while not server.running:
        pass
    server.stop()
    assert link.recv(1) == b""
    link.close()


def test_who_speaks_no_http_is_hung_up_on() -> None:
    with FaultServer() as server:
        port = int(server.url.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as link:
            link.sendall(b"hello\r\n\r\n")
            assert link.recv(100) == b""


@pytest.mark.anyio
async def test_a_cancelled_request_leaves_nothing_running() -> None:
    stalling = FaultServer(then=damaged(say("x"), "stalls"))
    async with stalling as server, VLLMModel(server.url) as model:
        with anyio.move_on_after(0.2):
            await Agent(model, observers=()).run("hi")
        assert await anyio.to_thread.run_sync(server.wait_idle, 5)


@pytest.mark.anyio
async def test_it_can_claim_to_obey_a_grammar() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    for claims in (True, False):
        scripted = FaultServer(then=say("hi"))
        scripted.takes_grammar = claims
        async with scripted as server, VLLMModel(server.url) as model:
            await Agent(model, tools=[add], observers=()).run("hi")
            assert model.constrains is claims
        assert ("structured_outputs" in server.requests[0]) is claims
