"""`agentkit mcp`: our tools for other people's clients."""

from __future__ import annotations

from typing import Annotated

import anyio
import typer

from agentkit.cli.options import find_source
from agentkit.errors import AgentKitError

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
        typer.echo(f"agentkit: --port {port}: {error.strerror}", err=True)
        code = 2
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)
