"""Our toolsets, used by the official MCP client: in process, over stdio and over HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp import Client, StdioServerParameters

from agentkit import ToolError
from agentkit.messages import ImagePart, VideoPart
from agentkit.runtime.mcp_server import mcp_server
from agentkit.toolset import RunContext, ToolContext, ToolOutput, Toolset, tool

ROOT = str(Path(__file__).parents[2])

pytestmark = [pytest.mark.slow, pytest.mark.anyio]


@tool(effect="pure")
def find(city: str, days: int = 1) -> str:
    """Finds shops.

    Args:
        city: Where.
        days: How far ahead.
    """
    return f"{city}: {days}"


@tool(effect="idempotent", labels={"writes", "egress"})
async def refund(order_id: int, reason: Literal["damaged", "late"]) -> ToolOutput:
    """Refunds."""
    return ToolOutput("refunded", data={"order_id": order_id, "reason": reason})


@tool
def picture() -> list[Any]:
    """Draws."""
    return ["a chart", ImagePart("data:image/png;base64,iVBORw0KGgo=")]


@tool
def count(n: int) -> Iterator[str]:
    """Counts."""
    for i in range(n):
        yield f"{i} "


@tool
def who(ctx: ToolContext[str]) -> str:
    """Tells."""
    return ctx.deps


@tool
def fail() -> None:
    """Fails."""
    raise ValueError("no such shop")


TOOLS = Toolset([find, refund, picture, count, who, fail])


def client() -> Client:
    return Client(mcp_server(TOOLS, RunContext("the deps", "r"), name="shop"))


async def test_tools_are_announced_with_what_they_declare() -> None:
    async with client() as shop:
        listed = {t.name: t for t in (await shop.list_tools()).tools}
    assert list(listed) == ["find", "refund", "picture", "count", "who", "fail"]
    assert listed["find"].description == "Finds shops."
    assert listed["find"].input_schema == find.definition.parameters
    hints = {
        name: (
            t.annotations.read_only_hint,
            t.annotations.idempotent_hint,
            t.annotations.open_world_hint,
        )
        for name, t in listed.items()
        if t.annotations
    }
    assert hints["find"] == (True, True, False)
    assert hints["refund"] == (False, True, True)
    assert hints["picture"] == (False, False, False)


async def test_results_of_every_kind_arrive() -> None:
    async with client() as shop:
        found = await shop.call_tool("find", {"city": "Turin", "days": "3"})
        assert [c.model_dump()["text"] for c in found.content] == ["Turin: 3"]
        receipt = await shop.call_tool("refund", {"order_id": 7, "reason": "late"})
        assert receipt.structured_content == {"order_id": 7, "reason": "late"}
        parts = (await shop.call_tool("picture", {})).content
        assert [p.type for p in parts] == ["text", "image"]
        assert (await shop.call_tool("who", {})).content[0].model_dump()["text"] == "the deps"


async def test_what_is_wrong_comes_back_as_the_model_would_read_it() -> None:
    async with client() as shop:
        wrong = await shop.call_tool("find", {"town": "Turin"})
        assert wrong.is_error
        assert wrong.content[0].model_dump()["text"] == (
            "Error: find was not run. city: is missing, want a string. "
            "town: is not a parameter; there is city, days."
        )
        failed = await shop.call_tool("fail", {})
        assert failed.is_error
        assert failed.content[0].model_dump()["text"] == "Error: ValueError: no such shop"
        unknown = await shop.call_tool("fin", {})
        assert "Did you mean find?" in unknown.content[0].model_dump()["text"]


async def test_a_tool_is_tried_again_as_often_as_it_declares() -> None:
    tried: list[int] = []

    @tool(effect="pure", retries=2)
    def book() -> str:
        """Books."""
        tried.append(1)
        if len(tried) < 3:
            raise ToolError("the line is busy", retry=True)
        return "booked"

    async with Client(mcp_server(Toolset([book]), RunContext(None, "r"))) as shop:
        result = await shop.call_tool("book", {})
    assert (result.is_error, len(tried)) == (False, 3)


async def test_a_video_arrives_as_a_resource() -> None:
    @tool
    def film() -> VideoPart:
        """Films."""
        return VideoPart("data:video/mp4;base64,AAAA")

    async with Client(mcp_server(Toolset([film]), RunContext(None, "r"))) as shop:
        (block,) = (await shop.call_tool("film", {})).content
    resource = block.model_dump()["resource"]
    assert (resource["mime_type"], resource["blob"]) == ("video/mp4", "AAAA")


async def test_parts_of_a_generator_are_progress() -> None:
    seen: list[str | None] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(message)

    async with client() as shop:
        result = await shop.call_tool("count", {"n": 3}, progress_callback=on_progress)
    assert result.content[0].model_dump()["text"] == "0 1 2 "
    assert seen == ["0 ", "1 ", "2 "]


@contextmanager
def listening(program: str) -> Generator[int, None, None]:
    """A program that serves on the port given to it, once it listens there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", program.format(port=port)], cwd=ROOT)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                probe.settimeout(0.1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


SERVE = """
import anyio
from agentkit.runtime.mcp_server import serve
from tests.runtime.test_mcp_server import TOOLS
anyio.run(lambda: serve(TOOLS, name="shop", deps="the deps", port={port}))
"""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_official_client_uses_it_over_stdio() -> None:
    server = StdioServerParameters(
        command=sys.executable, args=["-c", SERVE.format(port=None)], cwd=ROOT
    )
    async with Client(server) as shop:
        found = await shop.call_tool("find", {"city": "Turin"})
        assert found.content[0].model_dump()["text"] == "Turin: 1"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_official_client_uses_it_over_http() -> None:
    with listening(SERVE) as port:
        async with Client(f"http://127.0.0.1:{port}/mcp") as shop:
            found = await shop.call_tool("find", {"city": "Turin"})
            assert found.content[0].model_dump()["text"] == "Turin: 1"
