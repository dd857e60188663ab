"""Modules that the command line names: of the path, of the working directory, or in a file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from agentkit_evals.core import EvalError


def module_named(name: str) -> ModuleType:
    """The module of a name, or of a Python file.

    Args:
        name: A module's, or a file's if it ends with `.py`. A module is searched in the working
            directory too, as `python -m` does.

    Raises:
        EvalError: There is none, or it cannot be imported.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return _from_file(Path(name).absolute()) if name.endswith(".py") else _imported(name)
    except EvalError:
        raise
    except (Exception, SystemExit) as error:  # a script that runs when it is imported
        raise EvalError(f"importing {name} raised {type(error).__name__}: {error}") from error


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise EvalError(str(error)) from None


def _from_file(path: Path) -> ModuleType:
    name = f"agentkit_suite_{path.stem}"
    if (known := sys.modules.get(name)) is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise EvalError(f"there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: its dataclasses look themselves up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
