"""Finding suites: those that come along, those that are installed, and files of your own."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Final, TypeAlias, cast

from agentkit.wording import listed
from agentkit_evals.bfcl import bfcl_suite
from agentkit_evals.core import EvalError, Suite
from agentkit_evals.modules import module_named
from agentkit_evals.own import context_suite, faults_suite, schema_suite, tiny_suite
from agentkit_evals.project import project_suite

SuiteFactory: TypeAlias = Callable[..., Suite]
"""Makes a suite; takes the split, if one is given."""

SUITES: Final[dict[str, SuiteFactory]] = {
    "bfcl": bfcl_suite,
    "context": context_suite,
    "faults": faults_suite,
    "project": project_suite,
    "schema": schema_suite,
    "tiny": tiny_suite,
}
"""The suites that come along. Packages add theirs by the entry point group `agentkit.suites`."""


def load_suite(target: str) -> Suite:
    """The suite of a name, a module or a file.

    Args:
        target: `bfcl`, `bfcl:multi_turn_miss_param`, `package.module:suite` or `file.py:suite`,
            where `suite` is a suite or a function that makes one.

    Raises:
        EvalError: There is no such suite, or its own code failed.
    """
    try:
        suite = _made(target)
    except EvalError:
        raise
    except Exception as error:  # raised by the code of the suite
        raise EvalError(
            f"the suite {target} cannot be made: {type(error).__name__}: {error}"
        ) from error
    if missing := [name for name in _MEMBERS if not hasattr(suite, name)]:
        raise EvalError(
            f"{target} is no suite: its type {type(suite).__name__} has no {listed(missing)}; name "
            "a TaskSuite, or a function that returns one"
        )
    return cast("Suite", suite)


_MEMBERS: Final = ("name", "cases", "about", "open", "aclose")
"""The members of the protocol `Suite`."""


def _made(target: str) -> Any:
    """What a target names, made by its function if it is one."""
    name, _, rest = target.partition(":")
    factory = SUITES.get(name)
    if factory is None and (installed := list(entry_points(group="agentkit.suites", name=name))):
        factory = cast("SuiteFactory", installed[0].load())
    if factory is not None:
        return factory(*filter(None, [rest]))
    try:
        module = module_named(name)
    except EvalError as error:
        if name.endswith(".py"):
            raise
        raise EvalError(
            f"no suite {target!r} ({error}); there are {', '.join(SUITES)}, and you can name your "
            "own as module:object or file.py:object"
        ) from None
    found: Any = getattr(module, rest or "suite", None)
    if found is None:
        raise EvalError(f"{name} has no {rest or 'suite'!r}")
    return found() if callable(found) else found
