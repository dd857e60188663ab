"""Where another process finds a tool: the module and the name under which it is written."""

from __future__ import annotations

import importlib
import runpy
import sys
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any

from agentkit.errors import ToolDefinitionError
from agentkit.toolset import Tool, ToolOptions, make_tool

_MAIN = "__main__"


@dataclass(frozen=True, slots=True)
class Reference:
    """A tool's address. It comes from the program's own tools, never from a model's words.

    Attributes:
        module: To import.
        name: In the module; dots for what is inside a class.
        script: The file of a program's `__main__`, which no import finds.
    """

    module: str
    name: str
    script: str = ""


def reference_to(tool: Tool[..., Any]) -> Reference:
    """The address of a tool.

    Raises:
        ToolDefinitionError: Only this process has the function: it is a closure, a lambda or a
            method of an object.
    """
    function: Any = tool.function
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", "")
    found = _attribute(sys.modules.get(module), name)
    if found is None or (found.function if isinstance(found, Tool) else found) != function:
        raise ToolDefinitionError(
            f"{tool.place or tool.name}: cannot run in another process, which would not find it; "
            "define it at the top of a module, or route it to a LocalExecutor"
        )
    if module != _MAIN:
        return Reference(module, name)
    main = sys.modules[_MAIN]
    if spec := getattr(main, "__spec__", None):  # python -m package.module
        return Reference(spec.name, name)
    return Reference(module, name, getattr(main, "__file__", None) or "")


@cache
def load(reference: Reference) -> Tool[..., Any]:
    """The tool at an address, in the process that is to run it.

    Raises:
        ToolDefinitionError: There is none.
        ImportError: There is no such module.
    """
    module = _script(reference.script) if reference.script else None
    found = _attribute(module or importlib.import_module(reference.module), reference.name)
    if isinstance(found, Tool):
        return found
    if not callable(found):
        raise ToolDefinitionError(f"{reference.module}:{reference.name}: there is no tool here")
    made = make_tool(found, options=ToolOptions(strict=False))
    return replace(made, receiver=False)


@cache
def _script(path: str) -> ModuleType:
    """A program's main module, under a name that keeps `if __name__ == "__main__"` from running.

    As `multiprocessing` does with the start method `spawn`: also what the script's own classes
    are found by, so it stands in for `__main__`.
    """
    module = ModuleType("__mp_main__")
    module.__dict__.update(runpy.run_path(path, run_name="__mp_main__"))
    sys.modules[_MAIN] = sys.modules["__mp_main__"] = module
    return module


def _attribute(module: ModuleType | None, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
