"""`agentkit tools show` and `lint`: what Gemma sees of tools, for people and for CI."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from rich.console import Console
from rich.text import Text

from agentkit.cli.choose import UsageError
from agentkit.cli.locate import load_file, opened
from agentkit.errors import AgentKitError
from agentkit.gemma4.dialect import Dialect
from agentkit.gemma4.escape import Escape
from agentkit.gemma4.report import ToolReport, report
from agentkit.messages import ModelRequest, ToolDefinition, UserMessage
from agentkit.models import Connection, Timeouts
from agentkit.models.tokens import prompt_of
from agentkit.models.transport import Transport
from agentkit.toolset import Tool, Toolset
from agentkit.wire import read_models

_PATIENCE = Timeouts(first_event=30.0)


async def definitions_of(target: str) -> list[ToolDefinition]:
    """The tools that a target holds.

    Args:
        target: `module:object`, a Python file, `file.py:name`, or a directory, whose files are
            imported if they mention agentkit; each tool once.

    Raises:
        UsageError: There is nothing there, or it holds no tools.
    """
    path, _, name = target.partition(":")
    files = _files(path)
    if files is None:
        async with opened(target) as toolset:
            return list(toolset.definitions)
    found: dict[str, ToolDefinition] = {}
    for file in files:
        for definition in _in_module(load_file(file), name):
            found.setdefault(f"{definition.name} {definition.parameters}", definition)
    if not found:
        raise UsageError(f"{target} holds no tools: no function marked @tool, no Toolset")
    return list(found.values())


def _files(path: str) -> list[Path] | None:
    """The Python files that a path names; None if it is the name of a module."""
    folder = Path(path)
    if folder.is_dir():
        return sorted(file for file in folder.rglob("*.py") if b"agentkit" in file.read_bytes())
    return [folder] if path.endswith(".py") else None


def _in_module(module: ModuleType, name: str) -> Iterator[ToolDefinition]:
    """The tools a module holds under its names, or under one of them."""
    if name and not hasattr(module, name):
        raise UsageError(f"{module.__file__} has no {name!r}")
    values = [getattr(module, name)] if name else list(vars(module).values())
    for value in values:
        if isinstance(value, Tool):
            yield value.definition
        elif isinstance(value, Toolset):
            yield from value.definitions


def show(definitions: Sequence[ToolDefinition], console: Console) -> None:
    """Prints what Gemma sees of each tool."""
    for definition in definitions:
        _print(report(definition), console)
        console.print()


def lint(definitions: Sequence[ToolDefinition], console: Console, prompt: str | None = None) -> int:
    """Prints what is wrong, and what was looked at.

    Args:
        definitions: The tools.
        console: Where to.
        prompt: What a server's template made of the tools; each declaration must be in it.

    Returns:
        0 if nothing is lost, else 1.
    """
    reports = [report(definition) for definition in definitions]
    strange = [r for r in reports if prompt is not None and r.declaration not in prompt]
    for one in reports:
        if one.lost or one in strange:
            _print(one, console)
        else:
            console.print(Text(f"ok  {one.name}  {one.summary}", "green"), soft_wrap=True)
    for one in strange:
        console.print(
            Text(f"{one.name}: the server's template prints this tool differently", "bold red")
        )
    lossy = [one for one in reports if one.lost]
    if lossy:
        console.print(Text(_advice(lossy), "bold red"), soft_wrap=True)
    return 1 if lossy or strange else 0


def _advice(lossy: Sequence[ToolReport]) -> str:
    names = ", ".join(one.name for one in lossy)
    return (
        f"{names}: a limit is lost. Say it in the parameter's description, or use a simpler "
        "schema: a type, an enum, bounds, or a pattern without look-around."
    )


def _print(one: ToolReport, console: Console) -> None:
    for number, line in enumerate(one.lines()):
        style = "bold red" if "LOST" in line else ("bold", "dim")[number] if number < 2 else ""
        console.print(Text(line, style), soft_wrap=True)


async def served_prompt(url: str, definitions: Sequence[ToolDefinition]) -> str:
    """What a vLLM's chat template makes of the tools, by asking it.

    Args:
        url: Address of the server, with or without `/v1`; its key is read from AGENTKIT_API_KEY.
        definitions: The tools.

    Raises:
        UsageError: The server cannot be asked.
    """
    try:
        key = os.environ.get("AGENTKIT_API_KEY") or None
        transport = Transport(Connection(base_url=url, api_key=key), _PATIENCE)
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
