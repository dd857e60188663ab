"""Ten public MCP servers as processes: listed, called, stopped in mid-call, killed, restarted.

They are installed once, from PyPI and npm, into a folder outside of the checkout
(`~/.cache/agentkit/mcp-servers`). Two are used through a configuration file as another client
writes it, and two by an agent on the embedded model.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio

from agentkit import Agent, RunContext, ToolContext, Toolset
from agentkit.executors import LocalExecutor
from agentkit.executors.supervisor import descendants
from agentkit.mcp import McpToolset
from agentkit.messages import JsonObject, ModelSettings, ToolCall, ToolMessage, ToolResult, text_of
from agentkit.models.embedded import EmbeddedModel
from agentkit.testing import ScriptedModel, call, say
from agentkit.toolset import ToolSource
from soak.proof import prove

FOLDER: Final = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentkit" / "mcp-servers"
)
_PYPI: Final = {
    "py": ("mcp-server-time", "mcp-server-git", "mcp-server-fetch"),
    # These were written for version 1 of the SDK, and speak the older protocol.
    "py1": ("mcp-server-sqlite", "mcp-server-calculator", "mcp-text-editor", "mcp<2"),
}
"""Packages of each environment."""
_NPM: Final = tuple(
    f"@modelcontextprotocol/server-{name}"
    for name in ("everything", "filesystem", "memory", "sequential-thinking")
)
_RUN: Final[RunContext[None]] = RunContext(None, "r")


@dataclass(frozen=True, slots=True)
class Server:
    """A server and one good call.

    Attributes:
        command: Its program, in the folder, and arguments; `{}` is a folder of its own.
        tool: The tool to call.
        arguments: The arguments of the call; `{}` in a text is the folder.
        says: Part of the answer.
        fails: Whether the server has to say no: it may not reach the network.
        env: Its variables; `{}` is the folder.
        config: Whether it is used through a configuration file.
        prompt: A tool, what the embedded model is told to use it for, and part of the answer.
    """

    command: tuple[str, ...]
    tool: str
    arguments: JsonObject
    says: str
    fails: bool = False
    env: dict[str, str] = field(default_factory=dict)
    config: bool = False
    prompt: tuple[str, str, str] | None = None


SERVERS: Final = (
    Server(
        ("py/bin/mcp-server-time", "--local-timezone=Europe/Rome"),
        "convert_time",
        {"source_timezone": "Europe/Rome", "time": "16:30", "target_timezone": "Asia/Tokyo"},
        "Asia/Tokyo",
        config=True,
        prompt=(
            "get_current_time",
            "Get the current time for timezone Europe/Rome.",
            '"timezone": "Europe/Rome"',
        ),
    ),
    Server(("py/bin/mcp-server-git",), "git_status", {"repo_path": "{}"}, "No commits yet"),
    Server(
        ("py/bin/mcp-server-fetch", "--ignore-robots-txt"),
        "fetch",
        {"url": "http://127.0.0.1:9/nothing"},
        "127.0.0.1",
        fails=True,
    ),
    Server(
        ("py1/bin/mcp-server-sqlite", "--db-path", "{}/shop.db"),
        "read_query",
        {"query": "SELECT 6 * 7 AS n"},
        "42",
    ),
    Server(("py1/bin/mcp-server-calculator",), "calculate", {"expression": "6 * 7"}, "42"),
    Server(
        ("py1/bin/mcp-text-editor",),
        "get_text_file_contents",
        {"files": [{"file_path": "{}/note.txt", "ranges": [{"start": 1}]}]},
        "a teapot",
    ),
    Server(
        ("node/node_modules/.bin/mcp-server-everything",),
        "echo",
        {"message": "tea"},
        "Echo: tea",
        prompt=("echo", "Echo the message tea.", "Echo: tea"),
    ),
    Server(
        ("node/node_modules/.bin/mcp-server-filesystem", "{}"),
        "read_text_file",
        {"path": "{}/note.txt"},
        "a teapot",
        config=True,
    ),
    Server(
        ("node/node_modules/.bin/mcp-server-memory",),
        "read_graph",
        {},
        "entities",
        env={"MEMORY_FILE_PATH": "{}/memory.jsonl"},
    ),
    Server(
        ("node/node_modules/.bin/mcp-server-sequential-thinking",),
        "sequentialthinking",
        {"thought": "Boil.", "nextThoughtNeeded": False, "thoughtNumber": 1, "totalThoughts": 1},
        "thoughtNumber",
    ),
)


def install() -> None:
    """Puts the servers into the folder, if they are not there."""
    if (FOLDER / "ready").exists():
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for name, packages in _PYPI.items():
        venv.create(FOLDER / name, with_pip=True)
        pip: list[str | Path] = [FOLDER / name / "bin" / "python", "-m", "pip", "install", "-q"]
        subprocess.run([*pip, *packages], check=True)
    npm: list[str | Path] = [
        "npm",
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--prefix",
        FOLDER / "node",
    ]
    subprocess.run([*npm, *_NPM], check=True)
    (FOLDER / "ready").touch()


def batch(number: int) -> dict[str, int]:
    """One server."""
    server = SERVERS[number]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "note.txt").write_text("a teapot\n")
        subprocess.run(["git", "init", "--quiet", name], check=True)
        return anyio.run(_check, server, _Made(server, folder))


class _Made:
    """A server's configuration with its folder filled in."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.command = [str(FOLDER / server.command[0]), *self._in(server.command[1:], folder)]
        self.env = self._in({"PATH": os.environ["PATH"], **server.env}, folder)
        self.arguments: JsonObject = self._in(server.arguments, folder)
        self.folder = folder

    def _in(self, value: Any, folder: Path) -> Any:
        if isinstance(value, str):
            return value.replace("{}", str(folder))
        if isinstance(value, dict):
            return {key: self._in(each, folder) for key, each in value.items()}
        return (
            [self._in(each, folder) for each in value] if isinstance(value, list | tuple) else value
        )

    def by_command(self, timeout: float) -> McpToolset:
        return McpToolset(self.command, env=self.env, name="it", timeout=timeout)

    def by_config(self) -> ToolSource:
        path = self.folder / ".mcp.json"
        entry = {"command": self.command[0], "args": self.command[1:], "env": self.env}
        path.write_text(json.dumps({"mcpServers": {"it": {"type": "stdio", **entry}}}))
        return McpToolset.from_config(path)


async def _check(server: Server, made: _Made) -> dict[str, int]:
    counts: Counter[str] = Counter(servers=1)

    def right(result: ToolResult) -> None:
        text = text_of(result.content)
        assert server.says in text, f"{server.command[0]}: {text[:500]}"
        assert result.is_error == server.fails, text[:500]
        counts["calls answered"] += 1

    async with made.by_command(timeout=60) as source, source.for_run(_RUN) as tools:
        assert server.tool in tools, [tool.name for tool in tools]
        counts["tools listed"] += len(tools)
        right(await _call(tools, server.tool, made.arguments))
    async with made.by_command(timeout=2) as source, source.for_run(_RUN) as tools:
        _signal_children(signal.SIGSTOP)
        stuck = await _call(tools, server.tool, made.arguments)
        _signal_children(signal.SIGCONT)
        assert "did not finish within 2 seconds" in text_of(stuck.content)
        counts["calls stopped"] += 1
    async with made.by_command(timeout=60) as source, source.for_run(_RUN) as tools:
        right(await _call(tools, server.tool, made.arguments))
        _signal_children(signal.SIGSTOP)
        lost: list[ToolResult] = []
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                lost.append(await _call(tools, server.tool, made.arguments))

            group.start_soon(ask)
            await anyio.sleep(0.5)  # the call is written by then, and nobody reads it
            _signal_children(signal.SIGKILL)
        assert "whether the call took effect is unknown" in text_of(lost[0].content), lost
        counts["servers killed in mid-call"] += 1
        right(await _call(tools, server.tool, made.arguments))
        counts["servers restarted"] += 1
    if server.config:
        model = ScriptedModel([call(server.tool, **made.arguments), say("Done.")])
        result = await Agent(model, toolsets=[made.by_config()], observers=()).run("Go.")
        answers = [text_of(m.content) for m in result.messages if isinstance(m, ToolMessage)]
        assert server.says in answers[0], answers
        counts["runs through a configuration file"] += 1
    if server.prompt:
        wanted, told, part = server.prompt
        only = made.by_command(timeout=60).filtered(lambda tool: tool.name == wanted)
        tiny = EmbeddedModel(settings=ModelSettings(temperature=0))
        result = await Agent(tiny, toolsets=[only], observers=()).run(told)
        answers = [text_of(m.content) for m in result.messages if isinstance(m, ToolMessage)]
        assert any(part in answer for answer in answers), answers
        counts["runs of the embedded model"] += 1
    return counts


async def _call(tools: Toolset, name: str, arguments: JsonObject) -> ToolResult:
    asked = ToolCall("c1", name, arguments)
    checked = tools.validate(asked)
    if isinstance(checked, ToolResult):
        return checked
    return await LocalExecutor().execute(checked, ToolContext(None, "r", 1, asked))


def _signal_children(number: signal.Signals) -> None:
    for pid in descendants(os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    install()
    sys.exit(prove("mcp_servers", len(SERVERS), batch))
