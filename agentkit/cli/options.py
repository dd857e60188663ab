"""What commands are told: options that several share, and what is meant by a model, a project's
tools, `module:object` or `FILE.py:NAME`.

Whatever cannot be found is a `UsageError` whose text says how to mend it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypeAlias

import typer

from agentkit.agent import Agent
from agentkit.errors import AgentKitError
from agentkit.messages import ModelSettings
from agentkit.models import Model, VLLMModel
from agentkit.policy import Preset
from agentkit.toolset import RunContext, Tool, Toolset, ToolSource

RunName: TypeAlias = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, the path of its file, or `last`.")
]
Allow: TypeAlias = Annotated[
    Preset,
    typer.Option(
        help="read-only: tools that read. ask: also tools that write and run commands in a "
        "sandbox, each call decided by you. auto-edit: writes without asking. full: asks only "
        "before private data could be sent to strangers."
    ),
]
Project: TypeAlias = Annotated[
    Path, typer.Option("--project", "-p", help="The directory to work over.")
]
ModelUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Address of a vLLM server, or tiny for the demonstration model. "
        "Default: AGENTKIT_BASE_URL.",
    ),
]
ModelName: TypeAlias = Annotated[
    str | None, typer.Option(help="Served name; default: the server's first.")
]
Thinking: TypeAlias = Annotated[
    bool | None, typer.Option("--thinking/--no-thinking", help="Let the model think first.")
]
Temperature: TypeAlias = Annotated[float | None, typer.Option(min=0, help="0 is greedy.")]
Seed: TypeAlias = Annotated[int | None, typer.Option(help="The same seed, the same reply.")]
MaxTokens: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Most tokens of a reply.")]
MaxSteps: TypeAlias = Annotated[int, typer.Option(min=1, help="Most model calls.")]
JournalFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        help="File in which runs are kept, so that they can be resumed. "
        "Default: journal.db beside the run files.",
    ),
]


# --- the model, and installed tools --------------------------------------------------------------


class UsageError(AgentKitError):
    """The command was used wrongly; its text says how to mend it."""


def choose_model(model: str | None, name: str | None, allow: Preset = "read-only") -> Model:
    """The model of `--model`.

    Args:
        model: A server's address, or `tiny` for the bundled demonstration model; default:
            `AGENTKIT_BASE_URL`.
        name: The served name.
        allow: What it is to do; the demonstration model only reads.

    Raises:
        UsageError: No model is given: there is no silent default; or it cannot do that.
    """
    if not model and not os.environ.get("AGENTKIT_BASE_URL"):
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
        # A demonstration is the same twice.
        return EmbeddedModel(settings=ModelSettings(temperature=0.0))
    address = model or os.environ["AGENTKIT_BASE_URL"]
    if not address.startswith(("http://", "https://")):
        said = f"--model {address}" if model else f"AGENTKIT_BASE_URL={address}"
        raise UsageError(f"{said}: not an address; it should look like http://localhost:8000/v1")
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


def start_notices(directory: Path, allow: Preset) -> list[str]:
    """What a person is told before the tools of `project_tools` work, one line each.

    Args:
        directory: The project.
        allow: With `read-only` there is nothing to tell.
    """
    if allow == "read-only":
        return []
    found = entry_points(group="agentkit.notices", name="workspace")
    return [line for entry in found for line in entry.load()(directory)]


# --- tools and agents by name --------------------------------------------------------------------


def find_source(target: str) -> ToolSource:
    """The tools that `module:object` names; of a bare module, all tools defined in it.

    Args:
        target: The object may be a toolset, a source of one, a tool, a function, or several of
            the latter two. The module may be a Python file; a name is searched in the working
            directory first, as `python -m` does.

    Raises:
        UsageError: There is no such module or object, or it holds no tools.
        ToolDefinitionError: A function cannot be a tool.
    """
    name, _, attribute = target.partition(":")
    module = _named(name)
    found: Any = module
    for part in filter(None, attribute.split(".")):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(f"{name} has no {attribute!r}") from None
    return _source(found, target)


def find_agent(target: str, model: Model, project: Path) -> Agent[Any, Any]:
    """The agent that `file.py:name` or `module:name` names; the name is `agent` by default.

    Args:
        target: It may name an agent, or a function `(model, project) -> Agent`.
        model: For such a function.
        project: For such a function: the directory that the agent works on.

    Raises:
        UsageError: There is no such agent.
    """
    path, _, name = target.partition(":")
    module = _named(path)
    found: Any = getattr(module, name or "agent", None)
    if callable(found) and not isinstance(found, Agent):
        try:
            found = found(model, project)
        except Exception as error:
            raise UsageError(f"{target} raised {type(error).__name__}: {error}") from error
    if not isinstance(found, Agent):
        raise UsageError(
            f"{path} has no agent {name or 'agent'!r}: "
            "name an Agent, or a function (model, project) -> Agent"
        )
    return found


def load_file(file: Path) -> ModuleType:
    """A module from its file, run as an import would run it.

    Raises:
        UsageError: There is no such file, or it cannot be imported.
    """
    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    spec = importlib.util.spec_from_file_location(f"agentkit_loaded_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script that runs when it is imported
        raise UsageError(f"importing {file} raised {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.parent))
    return module


def _named(name: str) -> ModuleType:
    return load_file(Path(name)) if name.endswith(".py") else _module(name)


def _module(name: str) -> ModuleType:
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
        raise UsageError(f"importing {name} raised {type(error).__name__}: {error}") from error


def _source(found: Any, target: str) -> ToolSource:
    if isinstance(found, ToolSource):
        return found
    if isinstance(found, ModuleType):
        found = [value for value in vars(found).values() if isinstance(value, Tool)]
    if isinstance(found, Tool) or (callable(found) and not isinstance(found, type)):
        found = [found]
    if isinstance(found, Iterable):
        tools: list[Tool[..., Any] | Callable[..., Any]] = list(found)
        if tools and all(callable(item) for item in tools):
            return Toolset(tools)
    raise UsageError(f"{target} holds no tools: name a toolset, a function, or a list of them")


@asynccontextmanager
async def opened(target: str) -> AsyncGenerator[Toolset, None]:
    """The tools of a target, for as long as a command runs. Their `deps` are None."""
    async with find_source(target).for_run(RunContext(None, "command-line")) as toolset:
        yield toolset
