"""Which programs this process starts outside of any sandbox, such as MCP servers.

Whoever starts one says so here, and whoever lets a model run commands keeps those commands from
changing it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Launch:
    """A program and its arguments.

    Attributes:
        command: The program, as a path or as a name on PATH, and its arguments.
        folder: Where it runs.
    """

    command: tuple[str, ...]
    folder: str


_LAUNCHED: set[Launch] = set()


def note_launch(command: Sequence[str], folder: str | Path | None = None) -> None:
    """Notes that this process starts a program, now or later.

    Args:
        command: The program and its arguments.
        folder: Where it runs; None for the working directory.
    """
    _LAUNCHED.add(Launch(tuple(command), os.path.abspath(folder or os.getcwd())))


def launched() -> tuple[Launch, ...]:
    """Everything noted since this process began."""
    return tuple(_LAUNCHED)
