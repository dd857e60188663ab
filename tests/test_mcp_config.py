from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from agentkit import Agent
from agentkit.errors import ToolDefinitionError
from agentkit.mcp import McpToolset
from agentkit.mcp.toolset import Entry, read_config
from agentkit.messages import ToolMessage
from agentkit.testing import ScriptedModel, call, say
from agentkit.toolset import RunContext

HOSTILE = str(Path(__file__).parent / "mcp_servers" / "hostile.py")
RUN: RunContext[None] = RunContext(None, "r")


def written(folder: Path, servers: Any, *, key: str = "mcpServers") -> Path:
    path = folder / ".mcp.json"
    path.write_text(json.dumps({key: servers, "inputs": []}), encoding="utf-8")
    return path


def test_servers_are_read_as_other_clients_write_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "k1")
    path = written(
        tmp_path,
        {
            "files": {
                "command": "npx",
                "args": ["-y", "server", "${workspaceFolder}/data", "${DEPTH:-3}"],
                "env": {"KEY": "${SHOP_KEY}", "LEVEL": 2},
                "type": "stdio",
                "alwaysAllow": ["${A_VARIABLE_OF_OTHERS}"],
            },
            "shop": {
                "url": "https://shop.example/mcp",
                "headers": {"Authorization": "Bearer ${env:SHOP_KEY}"},
            },
            "old": {"serverUrl": "https://shop.example/sse", "type": "sse"},
            "off": {"command": "x", "disabled": True},
        },
    )
    assert read_config(path) == {
        "files": Entry(
            ("npx", "-y", "server", f"{tmp_path.resolve()}/data", "3"),
            env={"KEY": "k1", "LEVEL": "2"},
        ),
        "shop": Entry("https://shop.example/mcp", headers={"Authorization": "Bearer k1"}),
        "old": Entry("https://shop.example/sse", sse=True),
    }
    assert read_config(written(tmp_path, {"a": {"command": "x"}}, key="servers")) == {
        "a": Entry(("x",))
    }


@pytest.mark.parametrize(
    ("servers", "problem"),
    [
        ([], "has no object `mcpServers`"),
        ({"a": "npx server"}, "a is no object"),
        ({"a": {}}, "a needs either a `command` or a `url`"),
        ({"a": {"command": "x", "url": "http://y"}}, "either a `command` or a `url`"),
        ({"a": {"command": ["x"]}}, "`command` is"),
        ({"a": {"command": "x", "args": "y"}}, "`args` is 'y'; give a list of texts"),
        ({"a": {"command": "x", "env": ["y"]}}, "`env` is"),
        ({"a": {"url": "file:///x"}}, "give an address of http or https"),
        ({"a": {"command": "${NO_SUCH_THING}"}}, "names the variable NO_SUCH_THING, which is not"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(
    tmp_path: Path, servers: Any, problem: str
) -> None:
    path = written(tmp_path, servers)
    with pytest.raises(ValueError, match=problem) as caught:
        McpToolset.from_config(path)
    assert str(path) in str(caught.value)
    path.write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        McpToolset.from_config(path)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_agent_uses_the_servers_of_a_file(tmp_path: Path) -> None:
    entry = {"command": sys.executable, "args": [HOSTILE, "plain"]}
    path = written(tmp_path, {"one": entry, "my two": entry})
    with pytest.raises(ToolDefinitionError, match="'echo' of the MCP server one and 'echo' of"):
        async with McpToolset.from_config(path).for_run(RUN):
            pass
    model = ScriptedModel([call("my_two_echo", text="hello"), say("Done.")])
    async with McpToolset.from_config(path, prefix=True, timeout=20) as servers:
        assert list(servers) == ["one", "my two"]
        result = await Agent(model, toolsets=[servers], observers=()).run("Say hello.")
    assert [m.content for m in result.messages if isinstance(m, ToolMessage)] == ["hello"]
