"""`agentkit tools` lists tools, shows what Gemma sees of them, and runs one by hand; `agentkit mcp`
publishes tools to MCP clients.

In: `module:object`, a file or a folder. Out: a list, a report, a tool's result or a server, for
people and for CI. No model is asked.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypeAlias

import anyio
import anyio.to_thread
import typer
from rich.console import Console
from rich.text import Text

from agentkit.agent import Agent
from agentkit.cli.options import UsageError, find_source, load_file, opened, path_and_name
from agentkit.errors import AgentKitError
from agentkit.exact import InexactError, read_exact
from agentkit.executors import LocalExecutor
from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.report import ToolReport, report
from agentkit.messages import (
    ModelRequest,
    TextPart,
    ToolCall,
    ToolDefinition,
    ToolResult,
    UserMessage,
)
from agentkit.models import Connection, Timeouts
from agentkit.models.tokens import prompt_of
from agentkit.models.transport import Transport
from agentkit.toolset import RunHandles, Tool, ToolContext, Toolset
from agentkit.wire import read_models
from agentkit.wording import printable

tools = typer.Typer(help="Look at tools, and run one by hand.", no_args_is_help=True)

Target: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="module:object or file.py:object: a toolset, a function, a list; or all of a module.",
    ),
]
LintTarget: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="TARGET", help="module:object, a Python file, file.py:name, a folder."),
]

_TIMEOUTS = Timeouts(first_event=30.0)
"""Timeouts for a server that is asked what its template prints."""


def _end(command: Callable[[], Awaitable[int]]) -> None:
    """Runs a command to its exit; an error becomes a sentence and an exit code."""
    try:
        code = anyio.run(command)
    except AgentKitError as error:
        typer.echo(f"agentkit: {error}", err=True)
        code = 2
    except KeyboardInterrupt:
        typer.echo("agentkit: stopped", err=True)
        code = 130
    raise typer.Exit(code)


# --- a list, and a call by hand ------------------------------------------------------------------


@tools.command("list")
def list_tools(
    target: Target,
    as_json: Annotated[
        bool, typer.Option("--json", help="Definitions with their schemas.")
    ] = False,
) -> None:
    """List the tools with what they declare.

    Exit codes: 0 listed, 2 there are no such tools.
    """

    async def work() -> int:
        async with opened(target) as toolset:
            if as_json:
                rows = [
                    {"name": d.name, "description": d.description, "parameters": d.parameters}
                    for d in toolset.definitions
                ]
                typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
                return 0
            width = max((len(tool.name) for tool in toolset), default=0)
            for tool in toolset:
                first = next(iter(tool.definition.description.splitlines()), "")
                typer.echo(f"{tool.name:{width}}  {_declared(tool):34}  {first}".rstrip())
        return 0

    _end(work)


def _declared(tool: Tool[..., Any]) -> str:
    """The effect, the labels, the timeout and the retries of a tool."""
    words: list[str] = [tool.effect, *sorted(tool.options.labels)]
    if tool.timeout is not None:
        words.append(f"{tool.timeout:g} s")
    if tool.retries:
        words.append("1 retry" if tool.retries == 1 else f"{tool.retries} retries")
    return ", ".join(words)


@tools.command("call")
def call_tool(
    target: Target,
    name: Annotated[str, typer.Argument(help="The tool's name.")],
    arguments: Annotated[str, typer.Argument(help="A JSON object.")] = "{}",
) -> None:
    """Run one tool as a model would: its arguments checked, its result as the model reads it.

    The result goes to standard output, progress to standard error.

    Exit codes: 0 done, 1 the tool failed, 2 no such tool, or the arguments do not fit.
    """

    def show_progress(text: str) -> None:
        typer.echo(printable(text), err=True)

    async def ask(question: str) -> str:
        return await anyio.to_thread.run_sync(partial(typer.prompt, question, err=True))

    async def work() -> int:
        async with opened(target) as toolset:
            call = ToolCall("by-hand", name, _object(arguments))
            result = toolset.validate(call)
            if not isinstance(result, ToolResult):
                handles = RunHandles(report=show_progress, ask=ask)
                context: ToolContext[Any] = ToolContext(
                    None, "command-line", 1, call, handles=handles
                )
                result = await LocalExecutor().execute(result, context)
        content = result.content
        for part in (TextPart(content),) if isinstance(content, str) else content:
            typer.echo(printable(part.text) if isinstance(part, TextPart) else f"[{part.type}]")
        if not result.is_error:
            return 0
        return 2 if result.kind in ("unknown_tool", "invalid_arguments") else 1

    _end(work)


def _object(text: str) -> dict[str, Any]:
    try:
        found = read_exact(text)
    except InexactError as error:
        raise UsageError(f"the arguments cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"the arguments are no JSON object: {text}")
    return found


# --- what Gemma sees -----------------------------------------------------------------------------


@tools.command("show")
def show_tools(target: LintTarget) -> None:
    """Show what Gemma sees of each tool, and what became of each limit of its schema.

    Exit codes: 0 shown, 2 there are no such tools.
    """

    async def work() -> int:
        console = Console()
        for definition in await _definitions_of(target):
            _print(report(definition), console)
            console.print()
        return 0

    _end(work)


@tools.command("lint")
def lint_tools(
    target: LintTarget,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Compare with what this vLLM's template prints."),
    ] = None,
) -> None:
    """Check that Gemma is told of every limit of the tools, or kept to it while decoding.

    Exit codes: 0 it is, 1 a limit is lost, 2 there are no such tools.
    """

    async def work() -> int:
        definitions = await _definitions_of(target)
        prompt = await _served_prompt(model, definitions) if model else None
        return _lint(definitions, Console(), prompt)

    _end(work)


def _lint(definitions: Sequence[ToolDefinition], console: Console, prompt: str | None) -> int:
    """Prints what is wrong with each tool, or that it is ok; returns the exit code.

    Args:
        definitions: The tools.
        console: Where to print.
        prompt: A prompt of a server with these tools; each declaration must be in it.
    """
    reports = [report(definition) for definition in definitions]
    differing = [r for r in reports if prompt is not None and r.declaration not in prompt]
    for one in reports:
        if one.lost or one in differing:
            _print(one, console)
        else:
            console.print(Text(f"ok  {one.name}  {one.summary}", "green"), soft_wrap=True)
    for one in differing:
        console.print(
            Text(f"{one.name}: the server's template prints this tool differently", "bold red")
        )
    lossy = [one.name for one in reports if one.lost]
    if lossy:
        advice = (
            f"{', '.join(lossy)}: a limit is lost. Say it in the parameter's description, or use a "
            "simpler schema: a type, an enum, bounds, or a pattern without look-around."
        )
        console.print(Text(advice, "bold red"), soft_wrap=True)
    return 1 if lossy or differing else 0


def _print(one: ToolReport, console: Console) -> None:
    for number, line in enumerate(one.lines()):
        style = {0: "bold", 1: "dim"}.get(number, "")  # the name, then the declaration
        console.print(Text(line, "bold red" if "LOST" in line else style), soft_wrap=True)


async def _definitions_of(target: str) -> list[ToolDefinition]:
    """The tools that a target holds.

    Args:
        target: `module:object`, a Python file, `file.py:name`, or a directory, whose files are
            imported if they mention agentkit; each tool once.

    Raises:
        UsageError: There is nothing there, or it holds no tools.
    """
    path, name = path_and_name(target)
    if (files := _files(path)) is None:
        async with opened(target) as toolset:
            return list(toolset.definitions)
    found: dict[str, ToolDefinition] = {}
    for file in files:
        for definition in _in_module(load_file(file), name):
            found.setdefault(f"{definition.name} {definition.parameters}", definition)
    if not found:
        raise UsageError(
            f"{target} holds no tools: no function marked @tool, no Toolset, no Agent with one"
        )
    return list(found.values())


def _files(path: str) -> list[Path] | None:
    """The Python files that a path names; None if it is the name of a module."""
    place = Path(path)
    if place.is_dir():
        return sorted(
            file
            for file in _own_code(place)
            if file.is_file() and b"agentkit" in file.read_bytes()  # no pipe, no link to nowhere
        )
    return [place] if path.endswith(".py") else None


def _own_code(project: Path) -> Iterator[Path]:
    """The Python files below a folder that are its own: none of environments or hidden folders."""
    for folder, inside, names in os.walk(project):
        if "pyvenv.cfg" in names:
            inside.clear()
            continue
        inside[:] = [name for name in inside if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))


def _in_module(module: ModuleType, name: str) -> Iterator[ToolDefinition]:
    """Yields the tools in a module, with those of its agents; or those under one name, which may be
    that of a plain function.
    """
    if name and not hasattr(module, name):
        raise UsageError(f"{module.__file__} has no {name!r}")
    values = [getattr(module, name)] if name else list(vars(module).values())
    for value in values:
        if isinstance(value, Agent):
            value = value.tools
        if isinstance(value, Tool):
            yield value.definition
        elif isinstance(value, Toolset):
            yield from value.definitions
        elif name and inspect.isroutine(value):
            yield from Toolset([value]).definitions


async def _served_prompt(url: str, definitions: Sequence[ToolDefinition]) -> str:
    """Asks a vLLM for a prompt with the tools, as its chat template renders it.

    Args:
        url: Address of the server, with or without `/v1`; its key is read from AGENTKIT_API_KEY.
        definitions: The tools.

    Raises:
        UsageError: The server cannot be asked.
    """
    try:
        key = os.environ.get("AGENTKIT_API_KEY") or None
        transport = Transport(Connection(base_url=url, api_key=key), _TIMEOUTS)
        try:
            models = read_models(await transport.get("/v1/models"))
            request = ModelRequest((UserMessage("x"),), definitions)
            dialect = Dialect(definitions, Escape())
            name = models[0].name if models else ""
            return await prompt_of(transport, name, request, dialect.declarations)
        finally:
            await transport.aclose()
    except AgentKitError as error:
        raise UsageError(f"what the server's template prints is not to be had: {error}") from error


# --- to the clients of others --------------------------------------------------------------------


mcp = typer.Typer(help="The Model Context Protocol.", no_args_is_help=True)


@mcp.callback()
def _group() -> None:
    """The Model Context Protocol."""


@mcp.command("serve")
def serve_tools(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="module:object or file.py:object: a toolset, a function, a list; "
            "or all of a module.",
        ),
    ],
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Streamable HTTP on 127.0.0.1; default: stdio."),
    ] = None,
    name: Annotated[str, typer.Option(help="What the server calls itself.")] = "agentkit",
) -> None:
    """Publish a toolset as an MCP server until the client goes or Ctrl-C.

    Exit codes: 0 the client went, 2 there are no such tools or the port is taken, 130 stopped by
    Ctrl-C.
    """
    code = 0
    try:
        from agentkit.runtime.mcp_server import serve  # noqa: PLC0415 - an extra, and half a second

        source = find_source(target)
        if port is not None:
            typer.echo(f"tools at http://127.0.0.1:{port}/mcp until Ctrl-C", err=True)
        anyio.run(lambda: serve(source, name=name, port=port))
    except (ImportError, AgentKitError) as error:
        typer.echo(f"agentkit: {error}", err=True)
        code = 2
    except OSError as error:
        where = f"--port {port}: " if port is not None else ""
        typer.echo(f"agentkit: {where}{error.strerror or error}", err=True)
        code = 2
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)
