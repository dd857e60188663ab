"""Toolsets as an MCP server, over stdio or streamable HTTP (package `mcp`, extra `mcp`).

A call is served as in a run: validated with feedback, run by an executor with the tool's own
timeout and retries, and its result turned into text, images and sound. What a tool declares becomes
annotations, and its progress becomes progress notifications.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.from_thread

from agentkit.errors import install
from agentkit.executors import Executor, LocalExecutor, RetryingExecutor
from agentkit.messages import (
    AudioPart,
    ImagePart,
    Part,
    TextPart,
    ToolCall,
    ToolResult,
    VideoPart,
)
from agentkit.toolset import (
    RunContext,
    RunHandles,
    Tool,
    ToolContext,
    Toolset,
    ToolSource,
    ValidatedCall,
)

try:
    import mcp_types
    import uvicorn
    from mcp import stdio_server
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server
except ImportError as error:
    raise ImportError(f"MCP needs the extra `mcp`: {install('mcp')}", name=error.name) from error

Request = ServerRequestContext[Any]


async def serve(
    source: ToolSource, *, name: str = "agentkit", port: int | None = None, deps: Any = None
) -> None:
    """Serves a toolset until the client leaves (stdio) or the process is told to stop (HTTP).

    Args:
        source: The tools; opened once, when the server starts.
        name: The server's name.
        port: On 127.0.0.1, path `/mcp`; None speaks stdio.
        deps: Reaches the tools through their context.

    Raises:
        OSError: The port is taken.
    """
    context: RunContext[Any] = RunContext(deps, f"mcp-{secrets.token_hex(4)}")
    async with source.for_run(context) as toolset:
        server = mcp_server(toolset, context, name=name)
        if port is None:
            async with stdio_server() as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())
        else:
            config = uvicorn.Config(server.streamable_http_app(), log_level="warning")
            with socket.create_server(("127.0.0.1", port)) as listening:
                await uvicorn.Server(config).serve(sockets=[listening])


def mcp_server(
    toolset: Toolset,
    context: RunContext[Any],
    *,
    name: str = "agentkit",
    executor: Executor | None = None,
) -> Server[Any]:
    """An MCP server of the official package with the tools of a toolset.

    Args:
        toolset: The tools, fixed.
        context: The run's context that the tools get.
        name: The server's name.
        executor: Runs each attempt of a call; by default in this process.
    """
    calls = _Calls(toolset, context, RetryingExecutor(executor or LocalExecutor()))
    return Server(name, on_list_tools=calls.list, on_call_tool=calls.call)


@dataclass(slots=True)
class _Calls:
    toolset: Toolset
    context: RunContext[Any]
    executor: Executor
    count: int = 0

    async def list(
        self,
        request: Request,  # noqa: ARG002 - the same for every client
        page: mcp_types.PaginatedRequestParams | None,  # noqa: ARG002 - one page holds them all
    ) -> mcp_types.ListToolsResult:
        return mcp_types.ListToolsResult(tools=[_announced(tool) for tool in self.toolset])

    async def call(
        self, request: Request, asked: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult:
        self.count += 1
        call = ToolCall(f"{self.context.run_id}-{self.count}", asked.name, asked.arguments or {})
        checked = self.toolset.validate(call)
        if isinstance(checked, ToolResult):
            return _answer(checked)
        return _answer(await self._run(request, call, checked))

    async def _run(self, request: Request, call: ToolCall, checked: ValidatedCall) -> ToolResult:
        async with _reporting(request) as handles:
            context = ToolContext(
                self.context.deps, self.context.run_id, self.count, call, handles=handles
            )
            return await self.executor.execute(checked, context)


@asynccontextmanager
async def _reporting(request: Request) -> AsyncGenerator[RunHandles, None]:
    """Handles whose reports reach the client in order, from any thread, before the result does."""
    send, receive = anyio.create_memory_object_stream[str](_MOST_WAITING)

    async def forward() -> None:
        async for number, text in _numbered(receive):
            await request.session.report_progress(number, message=text)

    def report(text: str) -> None:
        try:
            anyio.get_current_task()
        except (RuntimeError, anyio.NoEventLoopError):
            anyio.from_thread.run(send.send, text)
        else:
            with suppress(anyio.WouldBlock):  # progress is worth no failure
                send.send_nowait(text)

    async with anyio.create_task_group() as group:
        group.start_soon(forward)
        try:
            yield RunHandles(report=report)
        finally:
            send.close()


_MOST_WAITING = 10_000
"""Most reports that wait, if a tool reports without ever awaiting; further ones are dropped."""


async def _numbered(texts: Any) -> AsyncGenerator[tuple[int, str], None]:
    number = 0
    async with texts:
        async for text in texts:
            number += 1
            yield number, text


def _announced(tool: Tool[..., Any]) -> mcp_types.Tool:
    """The description of a tool for clients, with what it declares as annotations."""
    labels = tool.options.labels
    changes = bool({"writes", "exec"} & labels) or tool.effect != "pure"
    hints = mcp_types.ToolAnnotations(
        read_only_hint=not changes,
        idempotent_hint=tool.effect in ("pure", "idempotent"),
        open_world_hint=bool({"egress", "exec"} & labels),
    )
    return mcp_types.Tool(
        name=tool.name,
        description=tool.definition.description or None,
        input_schema=tool.definition.parameters,
        annotations=hints,
    )


def _answer(result: ToolResult) -> mcp_types.CallToolResult:
    content = (TextPart(result.content),) if isinstance(result.content, str) else result.content
    return mcp_types.CallToolResult(
        content=[_block(part) for part in content],
        # At the root only objects are structured content for clients before 2026-07-28.
        structured_content=result.data if isinstance(result.data, dict) else None,
        is_error=result.is_error,
    )


def _block(part: Part) -> mcp_types.ContentBlock:
    match part:
        case TextPart(text=text):
            return mcp_types.TextContent(text=text)
        case ImagePart(url=url) if url.startswith("data:"):
            mime, _, data = url.removeprefix("data:").partition(";base64,")
            return mcp_types.ImageContent(data=data, mime_type=mime)
        case VideoPart(url=url) if url.startswith("data:"):  # MCP has no block for a video
            mime, _, data = url.removeprefix("data:").partition(";base64,")
            video = mcp_types.BlobResourceContents(uri="agentkit:video", mime_type=mime, blob=data)
            return mcp_types.EmbeddedResource(resource=video)
        case AudioPart(data=data, format=audio_format):
            return mcp_types.AudioContent(data=data, mime_type=f"audio/{audio_format}")
        case _:
            return mcp_types.TextContent(text=f"[{part.type}: {part.url}]")
