from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from typer.testing import CliRunner, Result

from agentkit.cli.app import app

SHOP = '''
from typing import Iterator, Literal
from agentkit.toolset import ToolContext, Toolset, dynamic, tool

@tool(effect="pure")
def find(city: str, days: int = 1) -> dict[str, int]:
    """Finds shops.

    More about it.
    """
    return {city: days}

@tool(effect="idempotent", timeout=10, retries=2, labels={"writes", "egress"})
def refund(order_id: int, reason: Literal["damaged", "late"]) -> None:
    """Refunds."""

@tool
def count(n: int) -> Iterator[str]:
    for i in range(n):
        yield f"{i} "

@tool
async def confirm(ctx: ToolContext[None]) -> str:
    return await ctx.ask("Sure?")

@tool
def fail() -> None:
    raise ValueError("no such shop")

def plain(x: int) -> int:
    return x

toolset = Toolset([find, refund])
several = [find, plain]
search = find  # another name of it
later = dynamic(lambda context: [plain]).prefixed("p_")
number = 3
'''


@pytest.fixture(autouse=True)
def _shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "toolshop.py").write_text(SHOP)
    (tmp_path / "broken_shop.py").write_text("import no_such_library\n")
    (tmp_path / "leaving_shop.py").write_text("import sys; sys.exit(4)\n")
    (tmp_path / "raising_shop.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("toolshop", None)


def agentkit(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=answer)


def test_tools_are_listed_with_what_they_declare() -> None:
    result = agentkit("tools", "list", "toolshop:toolset")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["find", "pure", "Finds", "shops."],
        ["refund", *["idempotent,", "egress,", "writes,", "10", "s,", "2", "retries"], "Refunds."],
    ]


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("toolshop", ["find", "refund", "count", "confirm", "fail"]),
        ("toolshop:find", ["find"]),
        ("toolshop:plain", ["plain"]),
        ("toolshop:several", ["find", "plain"]),
        ("toolshop:later", ["p_plain"]),
        ("toolshop.py:several", ["find", "plain"]),
        ("toolshop.py", ["find", "refund", "count", "confirm", "fail"]),
    ],
)
def test_tools_are_found_however_a_module_holds_them(target: str, names: list[str]) -> None:
    result = agentkit("tools", "list", target, "--json")
    assert [row["name"] for row in json.loads(result.stdout)] == names


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nowhere:toolset", "there is no module 'nowhere' here"),
        ("toolshop:tolset", "toolshop has no 'tolset'"),
        ("toolshop:number", "toolshop:number holds no tools"),
        ("broken_shop:x", "broken_shop imports no_such_library, which is not installed"),
        ("nowhere.py:x", "there is no file nowhere.py"),
        ("leaving_shop:x", "importing leaving_shop raised SystemExit: 4"),
        ("raising_shop:x", "importing raising_shop raised ZeroDivisionError: division by zero"),
    ],
)
def test_what_cannot_be_found_is_said_in_a_sentence(target: str, says: str) -> None:
    result = agentkit("tools", "list", target)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"agentkit: {says}")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("name", "arguments", "code", "out"),
    [
        ("find", '{"city": "Turin", "days": "2"}', 0, '{"Turin": 2}\n'),
        ("count", '{"n": 3}', 0, "0 1 2 \n"),
        ("fail", "{}", 1, "Error: ValueError: no such shop\n"),
        ("find", "{}", 2, "Error: find was not run. city: is missing, want a string.\n"),
        ("fnd", "{}", 2, None),
        ("find", "{", 2, ""),
        ("find", "[1]", 2, ""),
    ],
)
def test_a_tool_is_run_by_hand_as_a_model_would(
    name: str, arguments: str, code: int, out: str | None
) -> None:
    result = agentkit("tools", "call", "toolshop", name, arguments)
    assert result.exit_code == code
    if out is not None:
        assert result.stdout == out


def test_progress_is_shown_beside_the_result() -> None:
    assert agentkit("tools", "call", "toolshop", "count", '{"n": 2}').stderr == "0 \n1 \n"


def test_what_a_tool_returns_cannot_drive_the_terminal() -> None:
    shown = agentkit("tools", "call", "toolshop", "find", '{"city": "\\u001b]0;x\\u0007"}')
    assert shown.exit_code == 0
    assert not any(c in shown.stdout for c in "\x1b\x07")


def test_a_tool_run_by_hand_can_ask() -> None:
    result = agentkit("tools", "call", "toolshop", "confirm", answer="certainly\n")
    assert result.stdout.endswith("certainly\n")


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_toolset_is_served_over_mcp(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "agentkit", "mcp", "serve", "toolshop:toolset"],
        env={"PYTHONPATH": root},
        cwd=tmp_path,
    )
    async with Client(server) as shop:
        assert [t.name for t in (await shop.list_tools()).tools] == ["find", "refund"]
        found = await shop.call_tool("find", {"city": "Turin"})
        assert found.content[0].model_dump()["text"] == '{"Turin": 1}'


def test_a_port_that_is_taken_is_said_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = agentkit("mcp", "serve", "toolshop:toolset", "--port", port)
    assert result.exit_code == 2
    assert f"\nagentkit: --port {port}: Address already in use" in result.stderr


def test_serving_what_is_not_there_is_said_in_a_sentence() -> None:
    result = agentkit("mcp", "serve", "toolshop:nothing")
    assert (result.exit_code, result.stderr) == (2, "agentkit: toolshop has no 'nothing'\n")
