"""Commands under the names that they had before; each says what it is called now."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

P = ParamSpec("P")
T = TypeVar("T")


def moved(command: Callable[P, T], old: str, new: str) -> Callable[P, T]:
    """The command, which first says its new name on standard error.

    Args:
        command: What it does.
        old: As it was called, such as `agentkit resume`.
        new: As it is called now.
    """

    @functools.wraps(command)
    def under_its_old_name(*arguments: P.args, **options: P.kwargs) -> T:
        typer.echo(f"{old} is now {new}; the old name goes with the next version", err=True)
        return command(*arguments, **options)

    return under_its_old_name
