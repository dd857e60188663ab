"""What the commands share: options, folders, and how a command ends."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_type_hints

import anyio
import typer
from rich.console import Console
from rich.table import Table

from agentkit import AgentKitError
from agentkit.policy import Prices
from agentkit.wording import printable
from agentkit_evals.core import EvalError
from agentkit_evals.report import Report, as_json, as_table
from agentkit_evals.store import Store

Folder: TypeAlias = Annotated[
    Path | None,
    typer.Option("--folder", help="Where runs are kept. Default: AGENTKIT_EVALS, or ./eval-runs."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
RunName: TypeAlias = Annotated[str, typer.Argument(metavar="RUN", help="Its name; see `list`.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """The options for what tokens cost."""

    price_in: Annotated[
        float | None,
        typer.Option(min=0, help="Of a million prompt tokens; with it costs are shown."),
    ] = None
    price_out: Annotated[
        float | None, typer.Option(min=0, help="Of a million tokens of reply.")
    ] = None
    price_cached: Annotated[
        float | None, typer.Option(min=0, help="Of a million cached prompt tokens.")
    ] = None

    @property
    def prices(self) -> Prices | None:
        """The prices; None if none is given."""
        if self.price_in is None and self.price_out is None and self.price_cached is None:
            return None
        return Prices(
            input=self.price_in or 0.0,
            output=self.price_out or 0.0,
            cached_input=self.price_cached,
        )


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Makes a command of a function, in which each field of a parameter that is a dataclass is an
    option, so that options that several commands share are written once.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    options: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if not dataclasses.is_dataclass(kind):
            options.append(_option(parameter.name, kind, parameter.default))
            continue
        groups[parameter.name] = kind
        types = get_type_hints(kind, include_extras=True)
        options += [
            _option(each.name, types[each.name], each.default) for each in dataclasses.fields(kind)
        ]

    def given(**values: Any) -> None:
        made = {
            name: kind(**{each.name: values.pop(each.name) for each in dataclasses.fields(kind)})
            for name, kind in groups.items()
        }
        command(**made, **values)

    given.__doc__, given.__name__ = command.__doc__, command.__name__
    given.__annotations__ = {option.name: option.annotation for option in options}
    vars(given)["__signature__"] = inspect.Signature(options)
    return given


def _option(name: str, kind: Any, default: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if default is dataclasses.MISSING else default
    by_name = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, by_name, default=default, annotation=kind)


def new_app(name: str, words: str) -> typer.Typer:
    """A command that consists of subcommands."""
    return typer.Typer(name=name, help=words, no_args_is_help=True)


def folder_of(given: Path | None) -> Path:
    """The folder in which runs are kept."""
    return given or Path(os.environ.get("AGENTKIT_EVALS") or "eval-runs")


def store_of(folder: Path | None, name: str) -> Store:
    """The store of a run's name.

    Raises:
        typer.BadParameter: The name is a path or empty.
    """
    if Path(name).name != name or name in ("", ".", ".."):
        raise typer.BadParameter(f"{name!r} is no name of a run")
    return Store(folder_of(folder) / name)


def say(sentence: str) -> None:
    """Prints a sentence on standard error, apart from the command's output."""
    typer.echo(printable(sentence), err=True)


def show(what: str | Table) -> None:
    """Prints the command's output."""
    if isinstance(what, str):
        typer.echo(what)
    else:
        Console(markup=False, emoji=False).print(what)  # brackets in a name are its own


def show_report(found: Report, as_json_: bool) -> None:
    """Prints a report, as JSON or as a table."""
    show(as_json(found) if as_json_ else as_table(found))


def end(command: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Runs a command and exits; an error becomes a sentence and an exit code."""
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
