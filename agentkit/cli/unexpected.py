"""What is said of an exception that nobody expected: in code that an agent brings, or in ours.

In: the exception, however deep in groups of task groups. Out: one sentence with its kind, its text
and, where it was raised in code of the user's, the line. The traceback is in the log.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from traceback import walk_tb
from typing import Final

from agentkit.logs import get_logger

_OURS: Final = frozenset({"agentkit", "agentkit_tools", "agentkit_evals"})
_INSTALLED: Final = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


def leaf_of(error: BaseException) -> BaseException:
    """The first exception of a group, however deep it lies; one that is no group is its own."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def unexpected(error: BaseException, log: Path | None) -> str:
    """Logs an exception with its traceback; what to tell a person.

    Args:
        error: It, or a group of such.
        log: Where the log is, to be named; None where there is none.
    """
    get_logger().error("the command failed", exc_info=error)
    error = leaf_of(error)
    place = _own_line(error)
    blame = f" ({place})" if place else ". This is a fault of agentkit"
    where = f"; the traceback is in {log}" if log else ""
    return f"{type(error).__name__}: {error}{blame}{where}"


def _own_line(error: BaseException) -> str:
    """The innermost line of code that is neither ours nor installed; empty where there is none."""
    place = ""
    for frame, line in walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        ours = frame.f_globals.get("__name__", "").partition(".")[0] in _OURS
        if not ours and not file.startswith(("<", *_INSTALLED)):
            place = f"{file}, line {line}"
    return place
