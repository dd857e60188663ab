"""What the commands have in common: options, folders, and how a command ends."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_type_hints

import anyio
import typer
from rich.console import Console
from rich.table import Table

from agentkit import AgentKitError
from agentkit.policy import Prices
from agentkit_evals.core import EvalError
from agentkit_evals.report import Report, as_json, as_table
from agentkit_evals.store import Store

Folder: TypeAlias = Annotated[
    Path | None,
    typer.Option("--folder", help="Where runs are kept. Default: AGENTKIT_EVALS, or ./eval-runs."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
RunName: TypeAlias = Annotated[str, typer.Argument(metavar="RUN", help="Its name; see `list`.")]
PriceIn: TypeAlias = Annotated[
    float | None, typer.Option(min=0, help="Of a million prompt tokens; with it costs are shown.")
]
PriceOut: TypeAlias = Annotated[
    float | None, typer.Option(min=0, help="Of a million tokens of reply.")
]
PriceCached: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0, help="Of a million cached prompt tokens."),
]


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose first parameter is a dataclass, and whose options are its fields too.

    So options that several commands have are written once.
    """
    first, *rest = inspect.signature(command).parameters.values()
    hints = get_type_hints(command, include_extras=True)
    options = hints.pop(first.name)
    shared = dataclasses.fields(options)
    types = get_type_hints(options, include_extras=True) | hints
    defaults: dict[str, Any] = {each.name: each.default for each in shared}
    defaults |= {each.name: each.default for each in rest}
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if default is dataclasses.MISSING else default,
            annotation=types[name],
        )
        for name, default in defaults.items()
    ]

    def given(**values: Any) -> None:
        mine = {each.name: values.pop(each.name) for each in shared}
        command(options(**mine), **values)

    given.__doc__, given.__name__ = command.__doc__, command.__name__
    given.__annotations__ = types
    vars(given)["__signature__"] = inspect.Signature(parameters)
    return given


def new_app(name: str, words: str) -> typer.Typer:
    """A command that is made of commands."""
    return typer.Typer(name=name, help=words, no_args_is_help=True)


def prices_of(new: float | None, out: float | None, cached: float | None) -> Prices | None:
    """What tokens cost, if anything was said of it."""
    if new is None and out is None and cached is None:
        return None
    return Prices(input=new or 0.0, output=out or 0.0, cached_input=cached)


def folder_of(given: Path | None) -> Path:
    """Where runs are kept."""
    return given or Path(os.environ.get("AGENTKIT_EVALS") or "eval-runs")


def store_of(folder: Path | None, name: str) -> Store:
    """The store of a run's name.

    Raises:
        typer.BadParameter: It is a path or nothing.
    """
    if Path(name).name != name or name in ("", ".", ".."):
        raise typer.BadParameter(f"{name!r} is no name of a run")
    return Store(folder_of(folder) / name)


def say(sentence: str) -> None:
    """Tell the person a sentence on standard error, beside what was asked for."""
    typer.echo(sentence, err=True)


def show(what: str | Table) -> None:
    """What is asked for."""
    if isinstance(what, str):
        typer.echo(what)
    else:
        Console().print(what)


def show_report(found: Report, as_json_: bool) -> None:
    """What a run came to, as it was asked for."""
    show(as_json(found) if as_json_ else as_table(found))


def end(command: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Runs a command; what went wrong becomes a sentence and an exit code."""
    try:
        code = anyio.run(command)
    except EvalError as error:
        say(f"agentkit eval: {error}")
        code = 2
    except AgentKitError as error:
        say(f"agentkit eval: {error}")
        code = 1
    except KeyboardInterrupt:
        say("agentkit eval: stopped; the same command with the same --name goes on")
        code = 130
    raise typer.Exit(code)
