from __future__ import annotations

import socket
import subprocess
import sys

import httpx2
import pytest

from agentkit import Agent, VLLMModel
from agentkit.errors import ModelConnectionError
from agentkit.models import Timeouts
from agentkit.testing import FaultServer, NetworkBlockedError, block_network, say

ELSEWHERE = "192.0.2.1"  # reserved for documentation (RFC 5737): nobody has it


def test_nothing_beyond_loopback_can_be_connected_to() -> None:
    with block_network(), socket.socket() as link, pytest.raises(NetworkBlockedError) as caught:
        link.connect((ELSEWHERE, 80))
    assert ELSEWHERE in str(caught.value)


def test_the_second_connect_form_is_blocked_as_well() -> None:
    with block_network(), socket.socket() as link, pytest.raises(NetworkBlockedError):
        link.connect_ex((ELSEWHERE, 80))


def test_datagrams_are_blocked() -> None:
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    with block_network(), datagrams as link, pytest.raises(NetworkBlockedError):
        link.sendto(b"x", (ELSEWHERE, 53))


@pytest.mark.parametrize("host", ["model.example", b"model.example"])
def test_names_of_other_machines_are_not_looked_up(host: str | bytes) -> None:
    with block_network(), pytest.raises(NetworkBlockedError, match="loopback only"):
        socket.getaddrinfo(host, 80)


def test_an_http_library_sees_a_network_that_cannot_be_reached() -> None:
    with block_network(), pytest.raises(httpx2.ConnectError, match="blocked"):
        httpx2.get(f"http://{ELSEWHERE}/")


@pytest.mark.anyio
async def test_an_agent_gets_its_ordinary_error() -> None:
    timeouts = Timeouts(retry=0.01)
    async with VLLMModel(f"http://{ELSEWHERE}/v1", timeouts=timeouts) as model:
        with block_network(), pytest.raises(ModelConnectionError):
            await Agent(model, observers=()).run("hi")


@pytest.mark.anyio
async def test_loopback_works_on() -> None:
    with block_network():
        async with FaultServer([say("hi")]) as server, VLLMModel(server.url) as model:
            assert (await Agent(model, observers=()).run("hi")).output == "hi"
        assert socket.getaddrinfo("localhost", 80)


def test_unix_sockets_and_connected_sockets_work_on() -> None:
    one, other = socket.socketpair()
    with block_network(), one, other:
        one.sendmsg([b"x"])
        assert other.recv(1) == b"x"


def test_blocks_may_be_nested() -> None:
    with block_network():
        with block_network():
            pass
        with socket.socket() as link, pytest.raises(NetworkBlockedError):
            link.connect((ELSEWHERE, 80))


@pytest.mark.slow
def test_the_block_ends_with_its_context() -> None:
    # In a process of its own, since this suite holds a block all the time. A numeric address is
    # "looked up" without the network.
    code = (
        "import socket\n"
        "from agentkit.testing import block_network\n"
        "with block_network():\n"
        "    try: socket.getaddrinfo('192.0.2.1', 80)\n"
        "    except OSError as error: print(type(error).__name__)\n"
        "print(socket.getaddrinfo('192.0.2.1', 80)[0][4])\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == ["NetworkBlockedError", "('192.0.2.1', 80)"]


@block_network()
def test_it_is_a_decorator_too() -> None:
    with socket.socket() as link, pytest.raises(NetworkBlockedError):
        link.connect((ELSEWHERE, 80))


@pytest.mark.slow
def test_when_python_ends_and_empties_modules_nothing_is_said() -> None:
    program = (
        "from agentkit.testing import block_network, scripted\n"
        "with block_network(): pass\n"
        "for name in list(vars(scripted)): vars(scripted)[name] = None\n"
        "compile('1', 'late', 'eval')"  # which hooks are asked about
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
