"""The settings of commands: the options that several share, the user's configuration file, and how
a model, a project's tools, `module:object` and `FILE.py:NAME` are found.

```
an option of the command  >  a variable of the environment  >  the file  >  the default
```
The file is the user's own, outside of every project: who can write into a project must not choose
where its files are sent and what may be done there. So a file that lies in the project at hand is
not read, and no file holds a key. `agentkit config` shows each value and where it comes from.

What cannot be found is a `UsageError` that says how to mend it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import os
import sys
import tomllib
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, redirect_stdout
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Final, TypeAlias

import typer
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from agentkit.agent import Agent
from agentkit.cli.streams import own_line
from agentkit.errors import AgentKitError
from agentkit.messages import ModelSettings, ToolCall
from agentkit.models import Model, VLLMModel
from agentkit.policy import Preset
from agentkit.toolset import RunContext, Tool, Toolset, ToolSource
from agentkit.wording import listed

# --- the configuration file ----------------------------------------------------------------------

ADDRESS_LIKE: Final = "it should look like http://localhost:8000/v1"


class UsageError(AgentKitError):
    """The command was used wrongly; its text says how to mend it."""


def is_address(model: str) -> bool:
    """Whether a model is named by the address of its server."""
    return model.lower().startswith(("http://", "https://"))


def _model(model: str) -> str:
    if model != "tiny" and not is_address(model):
        raise ValueError(f"{model!r} is no address; {ADDRESS_LIKE}")
    return model


class UserConfig(BaseModel):
    """The settings of the file.

    Attributes:
        model: As `--model`.
        model_name: As `--model-name`.
        thinking: As `--thinking`.
        allow: As `--allow`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: Annotated[str, AfterValidator(_model)] | None = None
    model_name: str | None = None
    thinking: bool | None = None
    allow: Preset | None = None


def config_file() -> Path:
    """The path of the file, which need not exist: `AGENTKIT_CONFIG`, or `config.toml` in the user's
    configuration folder, `~/.config/agentkit` on Linux.
    """
    given = os.environ.get("AGENTKIT_CONFIG") or f"{typer.get_app_dir('agentkit')}/config.toml"
    return Path(os.path.expanduser(given))


def read_config(file: Path) -> UserConfig:
    """Reads the file; without one, nothing is set.

    Raises:
        UsageError: It cannot be read, or holds something that is no setting.
    """
    try:
        return UserConfig.model_validate(tomllib.loads(file.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        return UserConfig()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; mend it, or set AGENTKIT_CONFIG") from None
    except ValidationError as error:
        raise UsageError(f"{file}: {_first_mistake(error)}") from None
    except (ValueError, RecursionError) as error:  # no TOML, or no UTF-8
        raise UsageError(f'{file} is no TOML: {error}. Write lines such as allow = "ask"') from None


def _first_mistake(error: ValidationError) -> str:
    """The first mistake in the file, and what would be right."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    if "key" in name.lower() and first["type"] == "extra_forbidden":
        return f"`{name}` does not belong into a file: set AGENTKIT_API_KEY"
    if first["type"] == "extra_forbidden":
        return f"there is no setting `{name}`; there are {listed(UserConfig.model_fields)}"
    message = first["msg"].removeprefix("Value error, ")
    return f"`{name}`: {message[:1].lower()}{message[1:]}"


def is_inside(file: Path, project: Path) -> bool:
    """Whether a file lies in a project, with links followed."""
    # Of os.path, for it takes links that lead back to themselves.
    return Path(os.path.realpath(file)).is_relative_to(os.path.realpath(project))


def use_config(context: typer.Context, project: Path) -> Path:
    """Makes the file's settings the defaults of a command's options.

    A callback of `--project`, which is parsed before the options that the file may set.
    """
    if context.resilient_parsing:  # a shell asks for completions
        return project
    file = config_file()
    if is_inside(file, project):
        if file.exists():
            typer.echo(f"agentkit: {file} lies in the project, so it is not read", err=True)
        return project
    if not file.exists() and (named := os.environ.get("AGENTKIT_CONFIG")):
        typer.echo(f"agentkit: AGENTKIT_CONFIG names {named}, which is not there", err=True)
    try:
        settings = read_config(file).model_dump(exclude_none=True)
    except UsageError as error:
        typer.echo(f"agentkit: {error}", err=True)
        raise typer.Exit(2) from None
    context.default_map = {**(context.default_map or {}), **settings}
    return project


def is_explicit(context: typer.Context, name: str) -> bool:
    """Whether an option is given on the command line, not by a variable or the file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def config_lines(context: typer.Context, values: Mapping[str, object]) -> Iterator[str]:
    """Yields a line for the file, then one for each setting with its value and where it comes from.

    Args:
        context: The context of a command that has options of these names.
        values: Name → value.
    """
    file = config_file()
    yield f"file: {file}{'' if file.exists() else ' (there is none)'}"
    variables = {p.name: p.envvar for p in context.command.params if p.name in values}
    for name, value in values.items():
        source = context.get_parameter_source(name)
        origin = {
            "COMMANDLINE": "this command line",
            "ENVIRONMENT": str(variables[name]),
            "DEFAULT_MAP": "the file",
        }.get(source.name if source else "", f"the default; or {variables[name]}")
        yield f"{name} = {_toml(value)}  ({origin})"


def _toml(value: object) -> str:
    """A value as a person writes it into the file; a dash for none."""
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


# --- options -------------------------------------------------------------------------------------
# Every option that the configuration file or the environment may give has its variable here.


def _at_home(place: str | None) -> str | None:
    """A path as a shell would give it: none expands the `~` of `--journal=~/runs.db`."""
    return os.path.expanduser(place) if place else place


def _finite(number: float | None) -> float | None:
    if number is not None and math.isinf(number):
        raise typer.BadParameter("infinity is no temperature")
    return number


RunName: TypeAlias = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, the path of its file, or `last`.")
]
Allow: TypeAlias = Annotated[
    Preset,
    typer.Option(
        envvar="AGENTKIT_ALLOW",
        help="read-only: tools that read. ask: also tools that write and run commands in a "
        "sandbox, each call decided by you. auto-edit: writes without asking. full: asks only "
        "before private data could be sent to strangers.",
    ),
]
Project: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--project",
        "-p",
        help="The directory to work over.",
        is_eager=True,  # what else may be read depends on it
        callback=use_config,
    ),
]
_MODEL = "Address of a vLLM server, or tiny for the demonstration model."
_NAME = "Served name; default: the server's first."
ModelUrl: TypeAlias = Annotated[
    str | None, typer.Option("--model", "-m", envvar="AGENTKIT_BASE_URL", help=_MODEL)
]
ModelName: TypeAlias = Annotated[str | None, typer.Option(envvar="AGENTKIT_MODEL_NAME", help=_NAME)]
OtherModelUrl: TypeAlias = Annotated[str | None, typer.Option("--model", "-m", help=_MODEL)]
"""Replaces what is recorded, so no variable may set it."""
OtherModelName: TypeAlias = Annotated[str | None, typer.Option("--model-name", help=_NAME)]
Thinking: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--thinking/--no-thinking", envvar="AGENTKIT_THINKING", help="Let the model think first."
    ),
]
AgentName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--agent",
        "-a",
        metavar="FILE:NAME",
        help="An agent of your own: a Python file, or a module, and the name of an Agent in it or "
        "of a function that returns one; NAME is `agent` by default. What it is to do is what its "
        "code says; only options of this command go before that.",
    ),
]
McpFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--mcp",
        metavar="FILE",
        help="A JSON file with mcpServers: their tools are offered as well. What they do is not "
        "known, so --allow ask lets you decide on each call.",
    ),
]
Temperature: TypeAlias = Annotated[
    float | None, typer.Option(min=0, callback=_finite, help="0 is greedy.")
]
Seed: TypeAlias = Annotated[int | None, typer.Option(help="The same seed, the same reply.")]
MaxTokens: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Most tokens of a reply.")]
MaxSteps: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Most model calls; over a project 30 by default.")
]
JournalPlace: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--journal",
        envvar="AGENTKIT_JOURNAL",
        metavar="FILE|URL",
        callback=_at_home,
        help="Where runs are kept, so that they can be resumed: a file, or postgresql://... for a "
        "server that many machines share. Default: journal.db beside the run files.",
        show_envvar=True,
    ),
]


# --- the model, and installed tools --------------------------------------------------------------


def choose_model(model: str | None, name: str | None, allow: Preset = "read-only") -> Model:
    """The model of `--model`.

    Args:
        model: A server's address, or `tiny` for the bundled demonstration model.
        name: The served name.
        allow: What the agent may do; the demonstration model only reads.

    Raises:
        UsageError: No model is given, since there is no silent default; or it only reads.
    """
    if not model:
        raise UsageError(
            "no model given. Name your vLLM server, --model http://localhost:8000/v1, "
            "or set AGENTKIT_BASE_URL; --model tiny is the bundled demonstration model"
        )
    if model == "tiny":
        if allow != "read-only":
            raise UsageError(
                f"--model tiny only reads; --allow {allow} needs a Gemma 4 that you serve"
            )
        try:
            from agentkit.models.embedded import EmbeddedModel  # noqa: PLC0415 - an optional extra
        except ImportError as error:  # its own text names what is missing, and the extra
            raise UsageError(f"--model tiny: {error}") from None
        # So that a demonstration gives the same each time.
        return EmbeddedModel(settings=ModelSettings(temperature=0.0))
    if not is_address(model):
        variable = model == os.environ.get("AGENTKIT_BASE_URL")
        given = f"AGENTKIT_BASE_URL={model}" if variable else f"--model {model}"
        raise UsageError(f"{given}: not an address; {ADDRESS_LIKE}")
    return VLLMModel(model, name)


def project_tools(directory: Path, allow: Preset = "read-only") -> list[Tool[..., Any]]:
    """The installed tools over a directory (entry point group `agentkit.toolsets`).

    Args:
        directory: The project.
        allow: `read-only` takes the tools that only read (entry point `project`), otherwise all
            (entry point `workspace`).

    Raises:
        UsageError: The directory is missing, or no such tools are installed.
        AgentKitError: There is no sandbox for the tools that need one.
    """
    name = "project" if allow == "read-only" else "workspace"
    found = entry_points(group="agentkit.toolsets", name=name)
    if not found:
        raise UsageError("no project tools are installed; install agentkit with its tools")
    make: Callable[[Path], Iterable[Tool[..., Any]]] = next(iter(found)).load()
    try:
        return list(make(directory))
    except NotADirectoryError as error:
        raise UsageError(f"--project: {error}") from None


def start_notices(directory: Path) -> list[str]:
    """What a person should know before tools run commands over a directory, a line each: which of
    its files, such as code that this process imports, are read-only to commands.
    """
    found = entry_points(group="agentkit.notices", name="workspace")
    return [line for entry in found for line in entry.load()(directory)]


def preview_of(directory: Path) -> Callable[[ToolCall], str]:
    """Makes a function that shows what a call of `project_tools` would change, as a diff."""
    found = [entry.load() for entry in entry_points(group="agentkit.previews", name="workspace")]
    return lambda call: next(
        (text for show in found if (text := show(directory, call.name, call.arguments))), ""
    )


# --- tools and agents by name --------------------------------------------------------------------


def path_and_name(target: str) -> tuple[str, str]:
    """Splits `FILE.py:NAME` or `module:name`; the path of a file may hold colons itself."""
    path, colon, name = target.rpartition(":")
    if colon and path.endswith(".py"):
        return path, name
    if target.endswith(".py"):
        return target, ""
    path, _, name = target.partition(":")
    return path, name


def find_source(target: str) -> ToolSource:
    """The tools that `module:object` names; of a bare module, all tools defined in it.

    Args:
        target: The object may be a toolset, a source of one, a tool, a function, or a list of tools
            and functions. The module may be a Python file; a module is looked for in the working
            directory first, as `python -m` does.

    Raises:
        UsageError: There is no such module or object, or it holds no tools.
        ToolDefinitionError: A function cannot be a tool.
    """
    name, attribute = path_and_name(target)
    module = _imported(name)
    found: Any = module
    for part in filter(None, attribute.split(".")):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(f"{name} has no {attribute!r}") from None
    return _source(found, target)


def find_agent(
    target: str, model: Callable[[], Model], project: Path, *, other_model: bool = False
) -> Agent[Any, Any]:
    """The agent that `file.py:name` or `module:name` names; the name is `agent` by default.

    Args:
        target: The name of an agent, or of a function that returns one and takes nothing, a model,
            or a model and the project.
        model: Makes the model, for a function that takes one.
        project: The directory that the agent works on, for a function that takes it.
        other_model: Whether the model replaces the agent's own one.

    Raises:
        UsageError: There is no such agent.
    """
    path, name = path_and_name(target)
    module = _imported(path)
    found: Any = getattr(module, name or "agent", None)
    if callable(found) and not isinstance(found, Agent):
        count = _parameters_of(found, target)
        arguments = (model(), project)[:count] if count else ()  # no model is made in vain
        found = _called(found, arguments, target)
        other_model = other_model and not count
    if not isinstance(found, Agent):
        agents = [name for name, value in vars(module).items() if isinstance(value, Agent)]
        right = "name an Agent, or a function (model, project) -> Agent"
        there = f"there is {listed(agents)}" if agents else right
        raise UsageError(f"{path} has no agent {name or 'agent'!r}: {there}")
    return found.override(model=model()) if other_model else found


def _parameters_of(function: Callable[..., Any], target: str) -> int:
    """How many of the arguments model and project a function takes."""
    for count in (2, 1, 0):
        try:
            inspect.signature(function).bind(*[None] * count)
        except TypeError:
            continue
        except ValueError:  # a builtin without a signature
            break
        return count
    raise UsageError(
        f"{target} cannot be called: give it no parameters, or a model, or a model and a project"
    )


def _called(function: Callable[..., Any], arguments: Sequence[Any], target: str) -> Any:
    try:
        found = function(*arguments)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{target} raised {_described(error)}") from error
    if inspect.iscoroutine(found):
        found.close()
        raise UsageError(f"{target} is async; make it a plain function that returns an Agent")
    return found


def _described(error: BaseException) -> str:
    """An exception of the user's code, with the place where it was raised."""
    if isinstance(error, SyntaxError):  # bytes that are no text have no line
        where = f" ({error.filename}, line {error.lineno})" if error.filename else ""
        return f"{type(error).__name__}: {error.msg}{where}"
    where = f" ({place})" if (place := own_line(error)) else ""
    told = f"{type(error).__name__}: {error}{where}"
    if isinstance(error, SystemExit) or "running event loop" in str(error):
        told += '; what runs an agent goes below `if __name__ == "__main__":`'
    return told


def load_file(file: Path) -> ModuleType:
    """Loads a module from its file, as an import would.

    Raises:
        UsageError: There is no such file, or it cannot be imported.
    """
    if not file.is_file():
        raise UsageError(f"there is no file {file}; write it as FILE.py:NAME, from this directory")
    spec = importlib.util.spec_from_file_location(f"agentkit_loaded_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script that runs when it is imported
        raise UsageError(f"importing {file} raised {_described(error)}") from error
    finally:
        sys.path.remove(str(file.parent))
    return module


def _imported(name: str) -> ModuleType:
    """A module by its path or name; its output while it is imported goes to standard error."""
    with redirect_stdout(sys.stderr):
        return load_file(Path(name)) if name.endswith(".py") else _module(name)


def _module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{name!r} is no Python file and no module; write it as FILE.py:NAME")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except AgentKitError:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"{name} imports {error.name}, which is not installed") from error
        raise UsageError(f"there is no module {name!r} here; write it as module:object") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"importing {name} raised {_described(error)}") from error


def _source(found: Any, target: str) -> ToolSource:
    if isinstance(found, ToolSource):
        return found
    if isinstance(found, ModuleType):
        tools_there = [value for value in vars(found).values() if isinstance(value, Tool)]
        found = dict.fromkeys(tools_there)  # one may have two names
    if isinstance(found, Tool) or (callable(found) and not isinstance(found, type)):
        found = [found]
    if isinstance(found, Iterable):
        tools: list[Tool[..., Any] | Callable[..., Any]] = list(found)
        if tools and all(callable(item) for item in tools):
            return Toolset(tools)
    raise UsageError(f"{target} holds no tools: name a toolset, a function, or a list of them")


@asynccontextmanager
async def opened(target: str) -> AsyncGenerator[Toolset, None]:
    """Opens the tools of a target for the length of a block; their `deps` are None."""
    async with find_source(target).for_run(RunContext(None, "command-line")) as toolset:
        yield toolset
