"""Finding tools by `module:object`, as the command line names them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from agentkit.agent import Agent
from agentkit.cli.choose import UsageError
from agentkit.errors import AgentKitError
from agentkit.models import Model
from agentkit.toolset import RunContext, Tool, Toolset, ToolSource


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
