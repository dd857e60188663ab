"""Configuration files with MCP servers, as the clients that people already use write them.

`mcpServers` (VS Code: `servers`), by name: `command`, `args`, `env`, `cwd`, or `url` (elsewhere
`serverUrl`, `httpUrl`) and `headers`. Other members are theirs and passed over.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from agentkit.messages import JsonObject
from agentkit.toolset import RunContext, Toolset, ToolSource, combined

_VARIABLE: Final = re.compile(r"\$\{(?:env:)?(\w+)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One server of a configuration.

    Attributes:
        server: Its command line, or its URL.
    """

    server: str | Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    sse: bool = False


def read_config(path: str | Path) -> dict[str, Entry]:
    """The servers of a file that are not disabled, by name.

    Raises:
        ValueError: It is no such configuration; says where and why.
        OSError: It cannot be read.
    """
    try:
        read = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    servers = None
    if isinstance(read, dict):
        servers = read.get("mcpServers", read.get("servers"))
    if not isinstance(servers, dict):
        raise ValueError(f"{path} has no object `mcpServers`")
    folder = Path(path).resolve().parent
    return {
        name: _entry(_expanded(entry, f"{path}: {name}", folder), f"{path}: {name}")
        for name, entry in servers.items()
        if not (
            isinstance(entry, dict) and (entry.get("disabled") or entry.get("enabled") is False)
        )
    }


def _entry(entry: Any, place: str) -> Entry:
    if not isinstance(entry, dict):
        raise ValueError(f"{place} is no object")
    url = next((entry[key] for key in ("url", "serverUrl", "httpUrl") if key in entry), None)
    command, arguments = entry.get("command"), entry.get("args", [])
    if (url is None) == (command is None):
        raise ValueError(f"{place} needs either a `command` or a `url`")
    env = _texts(entry, "env", place)
    if url is not None:
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise ValueError(f"{place}: `url` is {url!r}; give an address of http or https")
        headers = _texts(entry, "headers", place)
        return Entry(url, headers=headers, sse=entry.get("type") == "sse")
    if not isinstance(command, str) or not command:
        raise ValueError(f"{place}: `command` is {command!r}; give the program's name")
    if not isinstance(arguments, list) or not all(isinstance(each, str) for each in arguments):
        raise ValueError(f"{place}: `args` is {arguments!r}; give a list of texts")
    cwd = entry.get("cwd")
    return Entry((command, *arguments), env=env, cwd=cwd if isinstance(cwd, str) else None)


def _texts(entry: JsonObject, key: str, place: str) -> dict[str, str]:
    given = entry.get(key) or {}
    if not isinstance(given, dict):
        raise ValueError(f"{place}: `{key}` is {given!r}; give an object of texts")
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in given.items()
    }


def _expanded(value: Any, place: str, folder: Path) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(each, place, folder) for key, each in value.items()}
    if isinstance(value, list):
        return [_expanded(each, place, folder) for each in value]
    if not isinstance(value, str):
        return value

    def variable(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        if name in os.environ:
            return os.environ[name]
        if default is not None:
            return default
        if name in ("workspaceFolder", "workspaceRoot"):
            return str(folder)
        if name == "userHome":
            return str(Path.home())
        raise ValueError(
            f"{place} names the variable {name}, which is not set; set it, or write "
            f"${{{name}:-default}}"
        )

    return _VARIABLE.sub(variable, value)


class Server(ToolSource):
    """A source that can be entered, to share what it holds between runs."""

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        raise NotImplementedError


class Servers(Server):
    """The servers of a configuration as one source of tools; also each by its name.

    Enter it to share the connections between runs.

    Args:
        servers: The servers by name.
        prefix: Whether each tool's name begins with its server's.
    """

    def __init__(self, servers: Mapping[str, Server], *, prefix: bool) -> None:
        self._servers = dict(servers)
        self._all = combined(
            *(
                server.prefixed(f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)}_") if prefix else server
                for name, server in servers.items()
            )
        )
        self._stack = AsyncExitStack()

    def __getitem__(self, name: str) -> Server:
        return self._servers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._servers)

    def __len__(self) -> int:
        return len(self._servers)

    @asynccontextmanager
    async def for_run(self, context: RunContext[Any]) -> AsyncGenerator[Toolset, None]:
        """The tools of all servers.

        Raises:
            ServerNotReadyError: One of them cannot be started or reached.
            ToolDefinitionError: Two servers have a tool of the same name; `prefix=True` helps.
        """
        async with self._all.for_run(context) as toolset:
            yield toolset

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for server in self._servers.values():
                await stack.enter_async_context(server)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, traceback)
