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


def explains(
    name: str, instead: Mapping[str, str], options: type | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates a function so that arguments it does not have are refused with a remedy.

    Args:
        name: What the function is called in messages: `Agent`.
        instead: What to write here, by the name that others have for it.
        options: Where the function takes `**options: Unpack[...]`, the `TypedDict` of them: its
            keys are arguments like the others, and Python does not check them itself.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = _spelled_out(inspect.signature(function), options)
        parameters = signature.parameters.values()
        by_name = (p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY)
        known = dict.fromkeys(name for name in by_name if name != "self")

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def later(*args: P.args, **kwargs: P.kwargs) -> Any:
                _refuse_unknown(name, known, kwargs, instead)
                return await cast("Any", function(*args, **kwargs))

            wrapper: Any = later
        else:

            @functools.wraps(function)
            def now(*args: P.args, **kwargs: P.kwargs) -> R:
                _refuse_unknown(name, known, kwargs, instead)
                return function(*args, **kwargs)

            wrapper = now
        wrapper.__signature__ = signature
        return cast("Callable[P, R]", wrapper)

    return decorate


def explains_init(name: str, instead: Mapping[str, str]) -> Callable[[C], C]:
    """The same for the constructor of a class."""

    def decorate(kind: C) -> C:
        kind.__init__ = explains(name, instead)(kind.__init__)
        return kind

    return decorate


def explains_attributes(name: str, instead: Mapping[str, str]) -> Callable[[C], C]:
    """Decorates a class so that an attribute it does not have is refused with a remedy.

    Args:
        name: What the class is called in messages.
        instead: What to write here, by the name that others have for it.
    """

    def missing(self: object, attribute: str) -> Any:
        remedy = f"; {instead[attribute]}" if attribute in instead else ""
        raise AttributeError(f"{name} has no {attribute}{remedy}", name=attribute, obj=self)

    def decorate(kind: C) -> C:
        kind.__getattr__ = missing
        return kind

    return decorate


def _spelled_out(signature: inspect.Signature, options: type | None) -> inspect.Signature:
    """The signature with each option in the place of `**options`; `...` stands for its default."""
    if options is None:
        return signature
    kept = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for key, hint in options.__annotations__.items():
        annotation = getattr(hint, "__forward_arg__", hint)
        kept.append(
            inspect.Parameter(
                key, inspect.Parameter.KEYWORD_ONLY, default=..., annotation=annotation
            )
        )
    return signature.replace(parameters=kept)


def _refuse_unknown(
    name: str, known: Mapping[str, None], given: Mapping[str, object], instead: Mapping[str, str]
) -> None:
    for argument in given:
        if argument in known:
            continue
        remedy = instead.get(argument)
        if remedy is None:
            close = difflib.get_close_matches(argument, known, 1)
            remedy = f"did you mean {close[0]}=?" if close else f"there are {', '.join(known)}"
        raise TypeError(f"{name} has no argument {argument}=; {remedy}")


def wrong_value(
    name: str, value: object, remedy: str, kind: type[Exception] = TypeError
) -> Exception:
    """What to raise of an argument whose value is of another kind.

    Args:
        name: The argument's.
        value: What was given; a long one is told by its type.
        remedy: What to write instead.
        kind: The exception's type.
    """
    shown = repr(value)
    return kind(
        f"{name} is {shown if len(shown) <= _SHOWN else f'a {type(value).__name__}'}; {remedy}"
    )


_SHOWN: Final = 60  # characters of a wrong value


def check_kinds(
    given: Mapping[str, object], kinds: Mapping[str, tuple[tuple[type, ...], str]]
) -> None:
    """Refuses values of another kind than their argument's; None is of every kind.

    Args:
        given: Values, by the argument's name.
        kinds: The types that an argument takes, and what to write. True and False are numbers only
            where `bool` is among the types.

    Raises:
        TypeError: One of them is of another kind.
    """
    for name, (types, remedy) in kinds.items():
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise wrong_value(name, value, remedy)


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
