"""MCP servers as toolsets, over stdio and streamable HTTP (package `mcp`, extra `mcp`).

```python
async with McpToolset(["uvx", "mcp-server-time"]) as clock:
    agent = Agent(model, toolsets=[clock.prefixed("clock_")])
```

A server is a stranger: its descriptions are cut and stripped of invisible characters, and schemas
that refer outside of themselves are refused. What it says of calling its tools twice is believed
only if you say so (`trusted=True`); what it says of their reach adds to your labels, and takes none
away. Its tools are listed anew at the beginning of each run and stay the same until it ends. A
connection that breaks is opened again; a call is repeated only where its effect allows it.
"""

from __future__ import annotations

import json
import shlex
import tempfile
import unicodedata
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import anyio
from anyio.abc import TaskStatus

from agentkit.errors import ServerNotReadyError, ToolDefinitionError, ToolError
from agentkit.logs import get_logger
from agentkit.messages import AudioPart, ImagePart, Part, TextPart
from agentkit.mistakes import explains, install
from agentkit.redaction import (
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
    known_labels,
)
from agentkit.toolset.launched import note_launch

try:
    import httpx2
    import mcp_types
    from mcp import Client, MCPError, StdioServerParameters, stdio_client
    from mcp.client.streamable_http import streamable_http_client
except ImportError as error:
    raise ImportError(f"MCP needs the extra `mcp`: {install('mcp')}", name=error.name) from error

__all__ = ["McpToolset", "callable_name", "tame"]

T = TypeVar("T")

_LOG = get_logger()
_LOST = (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream)
_MOST_PAGES = 100
"""Of a server's list of tools; a cursor that never ends is no list."""


class McpToolset(ToolSource):
    """The tools of one MCP server.

    Enter it to share one connection between runs; otherwise each run opens its own.

    Args:
        server: The command line to start a server that speaks stdio, or the URL of one that
            speaks streamable HTTP.
        name: For messages; by default the command or the URL.
        headers: Sent with each HTTP request; kept out of what is recorded, as secrets are.
        env: Added to the few variables that a started server inherits (HOME, PATH, USER …);
            secret as well, but for those that are like these.
        cwd: Where a started server runs.
        trusted: Believe the server's annotations (`readOnlyHint`, `idempotentHint`) as to what
            calling a tool twice would do. The MCP specification asks clients to treat them as
            untrusted otherwise; each tool is then taken to act `once`.
        labels: What its tools can reach, by your own knowledge. Annotations that say more add to
            it. Without any, its tools count as having every label; see `ToolOptions`.
        timeout: Seconds for one call; None waits as long as it takes.
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
        timeout: float | None = None,
    ) -> None:
        check_server(server)
        keep_secret(*secret_headers(headers or {}, of_others=True), *secret_variables(env or {}))
        keep_secret(*secret_arguments([server] if isinstance(server, str) else server))
        if isinstance(server, str):
            self._connect = partial(_over_http, server, dict(headers or {}))
        else:
            parameters = StdioServerParameters(
                command=server[0], args=list(server[1:]), env=dict(env or {}), cwd=cwd
            )
            note_launch(server, cwd)
            self._connect = partial(_over_stdio, parameters)
        self._name = name or redacted(
            public_address(server) if isinstance(server, str) else shlex.join(server)
        )
        self._trusted = trusted
        self._labels = None if labels is None else known_labels(labels)
        self._timeout = timeout
        self._shared: _Link | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._shared = await self._stack.enter_async_context(self._link())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._shared = None
        return await self._stack.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def for_run(self, context: RunContext[Any]) -> AsyncGenerator[Toolset, None]:  # noqa: ARG002 - a server's tools are the same for all
        """The tools that the server has now.

        Raises:
            ServerNotReadyError: The server cannot be started or reached.
            ToolDefinitionError: Two of its tools have the same name.
        """
        if self._shared is not None:
            yield await self._tools(self._shared)
        else:
            async with self._link() as link:
                yield await self._tools(link)

    @asynccontextmanager
    async def _link(self) -> AsyncGenerator[_Link, None]:
        link = _Link(self._name, self._connect)
        try:
            async with anyio.create_task_group() as group:
                await group.start(link.keep)
                try:
                    yield link
                finally:
                    group.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            # The one task raises only before it has started, and the body then never begins; so
            # there is one exception, and the caller of the body knows it, not the group.
            raise errors.exceptions[0] from errors.exceptions[0].__cause__

    async def _tools(self, link: _Link) -> Toolset:
        return Toolset.by_name(self._usable(await link.ask(_all_tools, again=True), link))

    def _usable(self, listed: Sequence[mcp_types.Tool], link: _Link) -> Iterator[Tool[..., Any]]:
        for remote in listed:
            try:
                yield self._tool(remote, link)
            except ToolDefinitionError as error:
                _LOG.warning("mcp_tool_skipped", server=self._name, reason=str(error))

    def _tool(self, remote: mcp_types.Tool, link: _Link) -> Tool[..., Any]:
        place = f"{remote.name!r} of the MCP server {self._name}"
        hints = remote.annotations or mcp_types.ToolAnnotations()
        effect = _effect(hints) if self._trusted else "once"
        labels = UNLABELLED if self._labels is None else self._labels | _admitted(hints)
        made = Tool.from_schema(
            callable_name(remote.name),
            tame(remote.description or ""),
            remote.input_schema,
            partial(_call, link, remote.name, effect in ("pure", "idempotent")),
            options=ToolOptions(effect=effect, labels=labels, timeout=self._timeout),
            place=place,
        )
        made = replace(
            made, definition=replace(made.definition, parameters=tame(made.definition.parameters))
        )
        if made.unchecked:  # the server checks again, so the tool is offered all the same
            _LOG.warning("mcp_schema_not_checked", tool=place, what=made.unchecked)
        return made


def check_server(server: Any) -> None:
    """Refuses what is neither a URL nor a command line.

    Raises:
        TypeError: It is something else; says what to write.
    """
    if isinstance(server, str):
        if server.startswith(("http://", "https://")):
            return
        command = shlex.split(server) if server.count("'") % 2 == server.count('"') % 2 == 0 else []
        words = json.dumps(command or ["program", "argument"])
        raise TypeError(f"server is {server!r}; give a URL, or the command as a list: {words}")
    if isinstance(server, Mapping):
        words = json.dumps([server.get("command", "program"), *server.get("args", ["argument"])])
        raise TypeError(f"server is a mapping; give a URL, or the command as a list: {words}")
    if (
        not isinstance(server, Sequence)
        or not server
        or not all(isinstance(w, str) for w in server)
    ):
        raise TypeError(f"server is {server!r:.60}; give a URL, or the command as a list of texts")


def _effect(hints: mcp_types.ToolAnnotations) -> Effect:
    """What the server says that calling a tool twice would do."""
    if hints.read_only_hint:
        return "pure"
    return "idempotent" if hints.idempotent_hint else "once"


def _admitted(hints: mcp_types.ToolAnnotations) -> frozenset[Label]:
    """The reach that a server admits outright; the specification's defaults admit nothing."""
    labels: set[Label] = set()
    if hints.open_world_hint:
        labels |= {"egress", "reads_untrusted"}
    if hints.read_only_hint is False or hints.destructive_hint:
        labels.add("writes")
    return frozenset(labels)


def callable_name(name: str) -> str:
    """The name in the characters that a model can call."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in name)[:64]
    return kept if kept[:1].isalpha() or kept[:1] == "_" else f"_{kept[:63]}"


_MOST_WORDS = 2_000
"""Characters of one description: room for honest ones, little for a hidden speech."""


def tame(value: Any) -> Any:
    """A server's words, shortened and without characters that people cannot see; of a schema its
    titles and descriptions, since everything else in it is sent back as it is.
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


# --- the connection ----------------------------------------------------------------------------


class _Link:
    """A connection that one task keeps up, because its scopes must be left where they were entered.

    ```
    keep:  open ── ready ──────────── lost ── open again ── ready …
    ask:            ask ── fails ───── ┘        ask again, if that is safe
    ```
    """

    def __init__(self, name: str, connect: _Connect) -> None:
        self._name = name
        self._connect = connect
        self._client: Client | None = None
        self._failure: str | None = None
        self._ready = anyio.Event()
        self._lost = anyio.Event()

    async def keep(self, *, task_status: TaskStatus[None]) -> None:
        """Keeps a connection open until it is cancelled.

        Raises:
            ServerNotReadyError: The first connection fails; later ones are tried at each call.
        """
        first = True
        while True:
            try:
                async with self._connect() as client:
                    self._client = client
                    self._ready.set()
                    if first:
                        task_status.started()
                        first = False
                    await self._lost.wait()
            except Exception as error:
                if first:
                    raise ServerNotReadyError(_not_ready(self._name, error)) from error
                if not self._lost.is_set():
                    self._failure = _cause(error)
                    self._ready.set()
                    await self._lost.wait()
            self._client, self._lost = None, anyio.Event()

    async def ask(self, question: Callable[[Client], Awaitable[T]], *, again: bool) -> T:
        """The answer to one question; asked a second time over a new connection if it may be.

        Raises:
            ToolError: No connection, or it was lost in the middle, or the server says no.
        """
        lost = ""
        for attempt in range(2):
            await self._ready.wait()
            client = self._client
            if client is None:
                reason, self._failure = self._failure, None
                self._drop(None)
                raise ToolError(f"the MCP server {self._name} is gone: {reason}")
            try:
                return await question(client)
            except (*_LOST, httpx2.TransportError) as error:
                self._drop(client)
                lost = _cause(error)
            except MCPError as error:
                if error.code != mcp_types.CONNECTION_CLOSED:
                    raise ToolError(error.message) from error
                self._drop(client)
                lost = error.message
            if not again or attempt:
                break
        raise ToolError(
            f"the connection to the MCP server {self._name} was lost ({lost}); "
            + ("try again later" if again else "whether the call took effect is unknown")
        )

    def _drop(self, client: Client | None) -> None:
        """Has the connection opened again, unless somebody else already did."""
        if self._client is client and self._ready.is_set():
            self._ready = anyio.Event()
            self._lost.set()


_Connect = Callable[[], Any]
"""Makes an async context manager of a `Client`; each client can be entered once only."""


@asynccontextmanager
async def _over_http(url: str, headers: dict[str, str]) -> AsyncGenerator[Client, None]:
    # The read timeout bounds silence within a reply, not a call: that is the tool's own timeout.
    timeout = httpx2.Timeout(30.0, read=300.0)
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


@asynccontextmanager
async def _over_stdio(parameters: StdioServerParameters) -> AsyncGenerator[Client, None]:
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        try:
            async with Client(stdio_client(parameters, errlog=errors)) as client:
                yield client
        except Exception as error:
            if words := _last_words(errors):
                error.add_note(words)
            raise


def _last_words(errors: IO[str]) -> str:
    """The end of what the server wrote to its standard error."""
    errors.seek(0)
    lines = [line.strip() for line in errors.read()[-2_000:].splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _cause(error: BaseException) -> str:
    """The innermost reason, with the server's last words."""
    notes: list[str] = list(getattr(error, "__notes__", ()))
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
        notes += getattr(error, "__notes__", ())
    return "; ".join([str(error) or type(error).__name__, *notes])


def _not_ready(name: str, error: BaseException) -> str:
    return (
        f"the MCP server {name} cannot be used: {_cause(error)}. "
        "Start it by hand in a terminal, or check its URL"
    )


async def _all_tools(client: Client) -> list[mcp_types.Tool]:
    tools: list[mcp_types.Tool] = []
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await client.list_tools(cursor=cursor, cache_mode="refresh")
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            return tools
    raise ToolError(f"the server's list of tools has more than {_MOST_PAGES} pages")


# --- calls -------------------------------------------------------------------------------------


async def _call(
    link: _Link, name: str, again: bool, context: ToolContext[Any], /, **arguments: Any
) -> ToolOutput:
    """One call of a server's tool."""

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        context.report(message or (f"{progress:g} of {total:g}" if total else f"{progress:g}"))

    async def question(client: Client) -> mcp_types.CallToolResult:
        return await client.call_tool(name, arguments, progress_callback=on_progress)

    result = await link.ask(question, again=again)
    parts = [_part(block) for block in result.content]
    if result.is_error:
        words = "\n".join(p.text for p in parts if isinstance(p, TextPart))
        raise ToolError(words or f"{name} failed and said nothing")
    texts = [p.text for p in parts if isinstance(p, TextPart)]
    shown: Any = "\n".join(texts) if len(texts) == len(parts) else parts
    if not parts and result.structured_content is not None:
        shown = result.structured_content
    return ToolOutput(shown, data=result.structured_content)


def _part(block: mcp_types.ContentBlock) -> Part:
    match block:
        case mcp_types.TextContent():
            return TextPart(block.text)
        case mcp_types.ImageContent():
            return ImagePart(f"data:{block.mime_type};base64,{block.data}")
        case mcp_types.AudioContent():
            return AudioPart(block.data, block.mime_type.rpartition("/")[2].removeprefix("x-"))
        case mcp_types.ResourceLink():
            return TextPart(f"[{block.name}: {block.uri}]")
        case mcp_types.EmbeddedResource(resource=mcp_types.TextResourceContents() as resource):
            return TextPart(resource.text)
        case mcp_types.EmbeddedResource(resource=mcp_types.BlobResourceContents() as resource):
            return TextPart(f"[{resource.uri}: {len(resource.blob)} characters of base64]")
        case _:
            return TextPart(f"[a {block.type} that cannot be shown]")
