"""`McpToolset`: the tools of one server, as tools of a run; `Servers`: those of several, as the
configuration files of other clients name them.

In: an address or a command line, and what you say about the server. Out: tools with checked schemas
and cleaned texts. What a server says of itself is never believed beyond what you allow.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypedDict

import mcp_types
from mcp import Client
from typing_extensions import Unpack

from agentkit.errors import ServerNotReadyError, ToolDefinitionError, ToolError, explains
from agentkit.mcp.lenient import RAW, output_of
from agentkit.mcp.link import Connect, Link, Questions, over_http, over_stdio
from agentkit.messages import JsonObject
from agentkit.redaction import (
    get_logger,
    keep_secret,
    public_address,
    redacted,
    secret_arguments,
    secret_headers,
    secret_variables,
)
from agentkit.schema.drafts import subschemas
from agentkit.toolset import (
    UNLABELLED,
    Effect,
    Label,
    RunContext,
    Tool,
    ToolContext,
    ToolOptions,
    ToolOutput,
    Toolset,
    ToolSource,
    combined,
    known_labels,
)
from agentkit.toolset.options import note_launch

_MOST_SCHEMA = 200_000
"""Characters of one tool's schema as JSON: a prompt that holds it has no room for much else."""


class ServerOptions(TypedDict, total=False):
    """What may be said of every server of a configuration; see `McpToolset`."""

    trusted: bool
    labels: Iterable[Label] | None
    timeout: float | None
    connect_timeout: float | None
    elicitation: bool
    sampling: bool


class McpToolset(ToolSource):
    """The tools of one MCP server.

    Enter it to share one connection between runs; otherwise each run opens its own.

    Args:
        server: The command line to start a server that speaks stdio, or the URL of one that
            speaks streamable HTTP.
        name: For messages; by default the command or the URL.
        headers: Sent with each HTTP request; they are secrets, which no record holds.
        env: Added to the few variables that a started server inherits (HOME, PATH, USER …); secrets
            too, except for variables like these.
        cwd: Where a started server runs.
        trusted: Believe the server's annotations (`readOnlyHint`, `idempotentHint`) as to what
            calling a tool twice would do. The MCP specification asks clients to treat them as
            untrusted otherwise; each tool is then taken to act `once`.
        labels: What its tools can reach, by your own knowledge. Annotations that say more add to
            them. Without labels, its tools count as having every label; see `ToolOptions`.
        timeout: Seconds for one call; None waits as long as it takes.
        connect_timeout: Seconds for a server to start and to answer for the first time.
        elicitation: Whether the server may ask a person during a call, through the agent's `ask`.
        sampling: Whether the server may have texts of the agent's own model during a call. They
            count in the run's limits.
        sse: The URL speaks the older HTTP+SSE instead of streamable HTTP.
    """

    @explains(
        "McpToolset",
        {
            **dict.fromkeys(
                ("command", "args", "cmd"), 'write McpToolset(["program", "argument"])'
            ),
            **dict.fromkeys(("url", "server_url"), 'write McpToolset("http://…")'),
            **dict.fromkeys(
                ("transport", "params"), "it follows from the server: a URL or a command"
            ),
            "tool_prefix": "write McpToolset(…).prefixed(…)",
            "tool_filter": "write McpToolset(…).filtered(…)",
            "id": "write name=",
        },
    )
    def __init__(
        self,
        server: str | Sequence[str],
        *,
        name: str | None = None,
        headers: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        trusted: bool = False,
        labels: Iterable[Label] | None = None,
        timeout: float | None = 120.0,
        connect_timeout: float | None = 60.0,
        elicitation: bool = False,
        sampling: bool = False,
        sse: bool = False,
    ) -> None:
        check_server(server)
        keep_secret(*secret_headers(headers or {}, of_others=True), *secret_variables(env or {}))
        keep_secret(*secret_arguments([server] if isinstance(server, str) else server))
        self._connect: Connect
        if isinstance(server, str):
            self._connect = partial(over_http, server, dict(headers or {}), sse=sse)
        else:
            note_launch(server, cwd)
            self._connect = partial(over_stdio, tuple(server), dict(env or {}), cwd)
        self.name = name or redacted(
            public_address(server) if isinstance(server, str) else shlex.join(server)
        )
        self._trusted = trusted
        self._labels = None if labels is None else known_labels(labels)
        self._timeout = timeout
        self._patience = connect_timeout
        self._asks = elicitation
        self._samples = sampling
        self._shared: Link | None = None
        self._stack = AsyncExitStack()

    @classmethod
    def from_config(
        cls,
        path: str | Path,
        *,
        prefix: bool = False,
        **options: Unpack[ServerOptions],
    ) -> Servers:
        """The servers of a configuration file as other clients read it, such as `.mcp.json`.

        ```python
        agent = Agent(model, toolsets=[McpToolset.from_config(".mcp.json")])
        ```

        Args:
            path: A JSON file with `mcpServers` (or `servers`): for each name `command`, `args`,
                `env` and `cwd`, or `url` and `headers`; `type` and `disabled` are heeded.
                `${NAME}`, `${NAME:-default}` and `${env:NAME}` are expanded from the environment.
            prefix: Put each server's name before the names of its tools, as some clients do.
            trusted: As the rest, for each server: see `McpToolset`.
            labels: As for `McpToolset`.
            timeout: As for `McpToolset`.
            connect_timeout: As for `McpToolset`.
            elicitation: As for `McpToolset`.
            sampling: As for `McpToolset`.

        Raises:
            ValueError: The file is no such configuration, or names a variable that is not set.
            OSError: It cannot be read.
        """
        if (labels := options.get("labels")) is not None:
            options["labels"] = frozenset(labels)  # each server reads them
        made = {
            name: cls(
                entry.server,
                name=name,
                headers=entry.headers,
                env=entry.env,
                cwd=entry.cwd,
                sse=entry.sse,
                **options,
            )
            for name, entry in read_config(path).items()
        }
        return Servers(made, prefix=prefix)

    async def __aenter__(self) -> Self:
        self._shared = await self._stack.enter_async_context(self._link())
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        self._shared = None
        return await self._stack.__aexit__(*error)

    @asynccontextmanager
    async def for_run(self, context: RunContext[Any]) -> AsyncGenerator[Toolset, None]:  # noqa: ARG002 - a server's tools are the same for all
        """The tools that the server has now.

        Raises:
            ServerNotReadyError: The server cannot be started or reached.
        """
        if self._shared is not None:
            yield await self._tools(self._shared)
        else:
            async with self._link() as link:
                yield await self._tools(link)

    def _link(self) -> Any:
        questions = Questions(self.name, asks=self._asks, samples=self._samples)
        return Link(self.name, self._connect, self._patience, questions).kept()

    async def _tools(self, link: Link) -> Toolset:
        link.stale = True  # a server need not say that it has changed
        try:
            listed = list((await link.tools()).values())
        except ToolError as error:
            raise ServerNotReadyError(
                f"the MCP server {self.name} does not list its tools: {error}"
            ) from error
        return Toolset.by_name(self._usable(listed, link))

    def _usable(self, listed: Sequence[mcp_types.Tool], link: Link) -> Iterator[Tool[..., Any]]:
        names = _names([tool.name for tool in listed])
        for remote in listed:
            try:
                yield self._tool(remote, names[remote.name], link)
            except (ToolDefinitionError, RecursionError) as error:
                get_logger().warning("mcp_tool_skipped", server=self.name, reason=str(error))

    def _tool(self, remote: mcp_types.Tool, name: str, link: Link) -> Tool[..., Any]:
        raw = _raw(remote)
        place = f"{remote.name!r} of the MCP server {self.name}"
        description = raw.get("description")
        if len(json.dumps(raw.get("inputSchema"))) > _MOST_SCHEMA:
            raise ToolDefinitionError(f"{place}: its schema has more than {_MOST_SCHEMA:,} letters")
        hints = remote.annotations or mcp_types.ToolAnnotations()
        effect = _effect(hints) if self._trusted else "once"
        definition = _digest(raw)
        made = Tool.from_schema(
            name,
            tame(description if isinstance(description, str) else ""),
            raw.get("inputSchema"),
            partial(_call, link, remote.name, definition, effect in ("pure", "idempotent")),
            options=ToolOptions(
                effect=effect,
                labels=UNLABELLED if self._labels is None else self._labels | _admitted(hints),
                timeout=self._timeout,
                # A decision on a call must not hold for what the server later offers by this name.
                target=lambda _arguments: f"{place}, as of {definition[:8]}",
            ),
            place=place,
        )
        made = replace(
            made, definition=replace(made.definition, parameters=tame(made.definition.parameters))
        )
        if made.unchecked:  # the server checks again, so the tool is offered all the same
            get_logger().warning("mcp_schema_not_checked", tool=place, what=made.unchecked)
        return made


def check_server(server: Any) -> None:
    """Refuses a server that is neither a URL nor a command line.

    Raises:
        TypeError: It is something else; the message says what to write.
    """
    if isinstance(server, str):
        if server.startswith(("http://", "https://")):
            return
        command = shlex.split(server) if server.count("'") % 2 == server.count('"') % 2 == 0 else []
        words = json.dumps(command or ["program", "argument"])
        raise TypeError(f"server is {server!r}; give a URL, or the command as a list: {words}")
    if isinstance(server, Mapping):
        words = json.dumps(
            [server.get("command", "program"), *(server.get("args") or ["argument"])]
        )
        raise TypeError(f"server is a mapping; give a URL, or the command as a list: {words}")
    if (
        not isinstance(server, Sequence)
        or not server
        or not all(isinstance(w, str) for w in server)
    ):
        raise TypeError(f"server is {server!r:.60}; give a URL, or the command as a list of texts")


def _raw(remote: mcp_types.Tool) -> JsonObject:
    """The tool as the server sent it."""
    raw: JsonObject = json.loads((remote.meta or {})[RAW])
    return raw


def _digest(raw: JsonObject) -> str:
    """A digest of what a server says of a tool; it changes when that changes."""
    parts = [raw.get(key) for key in ("name", "description", "inputSchema", "annotations")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _effect(hints: mcp_types.ToolAnnotations) -> Effect:
    """What the server says that calling a tool twice would do."""
    if hints.read_only_hint:
        return "pure"
    return "idempotent" if hints.idempotent_hint else "once"


def _admitted(hints: mcp_types.ToolAnnotations) -> frozenset[Label]:
    """The reach that a server states; the specification's defaults do not count as stated."""
    labels: set[Label] = set()
    if hints.open_world_hint:
        labels |= {"egress", "reads_untrusted"}
    if hints.read_only_hint is False or hints.destructive_hint:
        labels.add("writes")
    return frozenset(labels)


# --- names and words -----------------------------------------------------------------------------


def callable_name(name: str) -> str:
    """The name in the characters that a model can call."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in name)[:64]
    return kept if kept[:1].isalpha() or kept[:1] == "_" else f"_{kept[:63]}"


def _names(names: Sequence[str]) -> dict[str, str]:
    """For each of a server's names one that a model can call; no two are the same.

    Where two would be the same, a name that had to be changed gets the beginning of its digest, so
    that the result depends on no order and on no other tool.
    """
    wanted = {name: callable_name(name) for name in names}
    times = Counter(wanted.values())
    return {
        name: clean
        if clean == name or times[clean] == 1
        else f"{clean[:57]}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
        for name, clean in wanted.items()
    }


_MOST_WORDS = 2_000
"""Most characters of one description: enough for honest ones, and little room for hidden text."""


def tame(value: Any) -> Any:
    """A server's text, shortened and without characters that people cannot see. In a schema, only
    titles and descriptions are changed, since the rest is sent back to the server.
    """
    if isinstance(value, dict):
        schema = deepcopy(value)
        for _, part in subschemas(schema):
            part.update({key: tame(part[key]) for key in ("title", "description") if key in part})
        return schema
    if not isinstance(value, str):
        return value
    seen = "".join(c for c in value if c in "\n\t" or unicodedata.category(c)[0] != "C")
    return seen if len(seen) <= _MOST_WORDS else f"{seen[: _MOST_WORDS - 1]}…"


# --- calls ---------------------------------------------------------------------------------------

_MOST_REPORT = 500  # characters of one report of progress


async def _call(
    link: Link,
    name: str,
    definition: str,
    again: bool,
    context: ToolContext[Any],
    /,
    **arguments: Any,
) -> ToolOutput:
    """One call of a server's tool, if it is still the tool that the run was offered."""
    now = (await link.tools()).get(name)
    if now is None:
        raise ToolError(f"the server has taken {name} away since this run began; it was not run")
    raw = _raw(now)
    if _digest(raw) != definition:
        raise ToolError(
            f"the server has changed {name} since this run began, so it was not run; a new run "
            "sees it as it is now"
        )

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        said = tame(message or "")[:_MOST_REPORT]
        context.report(said or (f"{progress:g} of {total:g}" if total else f"{progress:g}"))

    async def question(client: Client) -> mcp_types.CallToolResult:
        return await client.call_tool(
            name, arguments, progress_callback=on_progress, read_timeout_seconds=_NEVER
        )

    with link.serving(context):
        result = await link.ask(question, again=again)
    structured = json.loads((result.meta or {}).get(RAW, "null"))
    return output_of(result, structured, raw.get("outputSchema"), name)


_NEVER = 1e9
"""Seconds, some 30 years: the tool's own timeout ends a call, and tells the server so."""


# --- several servers, from a configuration file --------------------------------------------------
# `mcpServers` (VS Code: `servers`), by name: `command`, `args`, `env`, `cwd`, or `url` (elsewhere
# `serverUrl`, `httpUrl`) and `headers`.


class Servers(ToolSource):
    """The servers of a configuration as one source of tools; also each by its name.

    Enter it to share the connections between runs.

    Args:
        servers: The servers by name.
        prefix: Whether each tool's name begins with its server's.
    """

    def __init__(self, servers: Mapping[str, McpToolset], *, prefix: bool) -> None:
        self._servers = dict(servers)
        self._all = combined(
            *(
                server.prefixed(f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)}_") if prefix else server
                for name, server in servers.items()
            )
        )
        self._stack = AsyncExitStack()

    def __getitem__(self, name: str) -> McpToolset:
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

    async def __aexit__(self, *error: Any) -> bool | None:
        return await self._stack.__aexit__(*error)


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
        ValueError: It is no such configuration; the message says where and why.
        OSError: It cannot be read.
    """
    try:
        read = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    servers = None
    if isinstance(read, dict):
        servers = read.get("mcpServers", read.get("servers"))
    if not isinstance(servers, dict):
        raise ValueError(f"{path} has no object `mcpServers`")
    folder = Path(path).resolve().parent
    entries: dict[str, Entry] = {}
    for name, given in servers.items():
        place = f"{path}: {name}"
        if not isinstance(given, dict):
            raise ValueError(f"{place} is no object")
        if given.get("disabled") or given.get("enabled") is False:
            continue
        kept = {key: value for key, value in given.items() if key in _MEMBERS}
        entries[name] = _entry(_expanded(kept, place, folder), place)
    return entries


_MEMBERS: Final = frozenset(
    {"args", "command", "cwd", "env", "headers", "httpUrl", "serverUrl", "type", "url"}
)
"""The members of a server's entry that are read; others are those of other clients."""


def _entry(entry: JsonObject, place: str) -> Entry:
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
