"""`agentkit tools`: what a set of tools is, and running one of them by hand."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, TypeAlias

import anyio
import anyio.to_thread
import typer
from rich.console import Console

from agentkit.cli.choose import UsageError
from agentkit.cli.lint import definitions_of, lint, served_prompt, show
from agentkit.cli.locate import opened
from agentkit.errors import AgentKitError
from agentkit.exact import InexactError, read_exact
from agentkit.executors import LocalExecutor
from agentkit.messages import TextPart, ToolCall, ToolResult
from agentkit.toolset import RunHandles, Tool, ToolContext
from agentkit.trace import printable

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
    _end(partial(_list, target, as_json))


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
    _end(partial(_call, target, name, arguments))


@tools.command("show")
def show_tools(target: LintTarget) -> None:
    """Show what Gemma sees of each tool, and what became of each limit of its schema.

    Exit codes: 0 shown, 2 there are no such tools.
    """
    _end(partial(_show_seen, target))


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
    _end(partial(_lint, target, model))


def _end(command: Callable[[], Awaitable[int]]) -> None:
    """Runs a command; what went wrong becomes a sentence and an exit code."""
    try:
        code = anyio.run(command)
    except AgentKitError as error:
        typer.echo(f"agentkit: {error}", err=True)
        code = 2
    except KeyboardInterrupt:
        typer.echo("agentkit: stopped", err=True)
        code = 130
    raise typer.Exit(code)


async def _show_seen(target: str) -> int:
    show(await definitions_of(target), Console())
    return 0


async def _lint(target: str, model: str | None) -> int:
    definitions = await definitions_of(target)
    prompt = await served_prompt(model, definitions) if model else None
    return lint(definitions, Console(), prompt)


async def _list(target: str, as_json: bool) -> int:
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


def _declared(tool: Tool[..., Any]) -> str:
    """Effect and labels, and what bounds a call."""
    words: list[str] = [tool.effect, *sorted(tool.options.labels)]
    if tool.timeout is not None:
        words.append(f"{tool.timeout:g} s")
    if tool.retries:
        words.append("1 retry" if tool.retries == 1 else f"{tool.retries} retries")
    return ", ".join(words)


async def _call(target: str, name: str, arguments: str) -> int:
    async with opened(target) as toolset:
        call = ToolCall("by-hand", name, _object(arguments))
        checked = toolset.validate(call)
        if isinstance(checked, ToolResult):
            return _show(checked)
        handles = RunHandles(report=_report, ask=_ask)
        context: ToolContext[Any] = ToolContext(None, "command-line", 1, call, handles=handles)
        return _show(await LocalExecutor().execute(checked, context))


def _object(text: str) -> dict[str, Any]:
    try:
        found = read_exact(text)
    except InexactError as error:
        raise UsageError(f"the arguments cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"the arguments are no JSON object: {text}")
    return found


def _report(text: str) -> None:
    typer.echo(printable(text), err=True)


async def _ask(question: str) -> str:
    return await anyio.to_thread.run_sync(partial(typer.prompt, question, err=True))


def _show(result: ToolResult) -> int:
    content = result.content
    parts = (TextPart(content),) if isinstance(content, str) else content
    for part in parts:
        typer.echo(printable(part.text) if isinstance(part, TextPart) else f"[{part.type}]")
    if not result.is_error:
        return 0
    return 2 if result.kind in ("unknown_tool", "invalid_arguments") else 1
