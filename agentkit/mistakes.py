"""What people type first who come from another framework, and what it is called here.

A wrong name of an argument is refused where it is written, with the right one. In: a function or a
class, and a table from names that are not its own to what to write instead. Out: the same thing,
with the same signature for type checkers, whose `TypeError` says so. Right calls pass untouched.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import json
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type[Any])

DISTRIBUTION: Final = "agentkit-gemma"
"""The name on package indexes."""


def explains(name: str, instead: Mapping[str, str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a function so that arguments it does not have are refused with a remedy.

    Args:
        name: What the function is called in messages: `Agent`.
        instead: By the name of an argument of others: what to write here.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known = [p for p in inspect.signature(function).parameters if p != "self"]

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def later(*args: P.args, **kwargs: P.kwargs) -> Any:
                try:
                    begun = function(*args, **kwargs)
                except TypeError:
                    _refuse_unknown(name, known, kwargs, instead)
                    raise
                return await cast("Any", begun)

            return cast("Callable[P, R]", later)

        @functools.wraps(function)
        def now(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except TypeError:
                _refuse_unknown(name, known, kwargs, instead)
                raise

        return now

    return decorate


def explains_init(name: str, instead: Mapping[str, str]) -> Callable[[C], C]:
    """The same for the constructor of a class."""

    def decorate(kind: C) -> C:
        kind.__init__ = explains(name, instead)(kind.__init__)
        return kind

    return decorate


def _refuse_unknown(
    name: str, known: list[str], given: Mapping[str, object], instead: Mapping[str, str]
) -> None:
    for argument in given:
        if argument in known:
            continue
        remedy = instead.get(argument)
        if remedy is None:
            close = difflib.get_close_matches(argument, known, 1)
            remedy = f"did you mean {close[0]}=?" if close else f"there are {', '.join(known)}"
        raise TypeError(f"{name} has no argument {argument}=; {remedy}") from None


def install(extra: str) -> str:
    """The command that brings an extra's packages, for the way in which agentkit is installed."""
    root = Path(__file__).parents[1]
    if (root / "pyproject.toml").is_file() and (root / "agentkit").is_dir():
        return f"pip install -e '{root}[{extra}]'"
    try:
        found = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        found = {}
    url = found.get("url", "")
    if not url or "dir_info" in found:
        return f"pip install '{DISTRIBUTION}[{extra}]'"
    return f"pip install '{DISTRIBUTION}[{extra}] @ {url}'"
