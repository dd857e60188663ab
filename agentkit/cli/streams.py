"""What surrounds every command: output that takes any character, a file for what is logged, and
what is said of an exception that nobody expected.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from traceback import walk_tb
from typing import Final

from agentkit.redaction import get_logger
from agentkit.trace import runs_directory
from agentkit.trace.library import open_private

_SPELLED: Final = str.maketrans(
    {
        "→": "->",
        "←": "<-",
        "↻": "retry:",
        "⚒": "*",
        "▤": "#",
        "⋮": ":",
        "│": "|",
        "─": "-",
        "…": "...",
        "·": "-",
        "—": "-",
        "\u2019": "'",
        "\u2018": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u203a": ">",
        "�": "?",
    }
)
"""What our own marks, and the commonest of models, look like where there is only ASCII."""


def take_any_character() -> None:
    """Makes standard output and error take every character, whatever their encoding: what it does
    not have is spelled, as JSON would spell it.
    """
    codecs.register_error("agentkit", _spelled)
    codecs.register(_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if ascii_only else None, errors="agentkit")


def tell_width_of_dumb_terminal() -> None:
    """Rich asks no terminal that only prints how wide it is, and takes it for 80 columns."""
    if os.environ.get("TERM") in ("dumb", "unknown"):
        with suppress(OSError, ValueError, AttributeError):  # no terminal, or a stream is closed
            size = os.get_terminal_size(sys.stderr.fileno())
            os.environ.setdefault("COLUMNS", str(size.columns))
            os.environ.setdefault("LINES", str(size.lines))


_ASCII: Final = "agentkit_ascii"


def _ascii(name: str) -> codecs.CodecInfo | None:
    """ASCII under a name of ours: where a stream says ASCII, click takes that for a mistake of the
    system's and writes UTF-8.
    """
    if name != _ASCII:
        return None
    known = codecs.lookup("ascii")
    return codecs.CodecInfo(
        known.encode,
        known.decode,
        known.streamreader,
        known.streamwriter,
        known.incrementalencoder,
        known.incrementaldecoder,
        name=_ASCII,
    )


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(map(_spelling, text)), error.end


def _spelling(character: str) -> str:
    """In ASCII: the mark's like, or UTF-16 units as in JSON."""
    ours = character.translate(_SPELLED)
    if ours.isascii():
        return ours
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def log_file() -> Path | None:
    """Where `log_to_file` writes; None where there is no such file."""
    runs = runs_directory()
    file = _log_file(runs) if runs is not None else None
    return file if file is not None and file.is_file() else None


def _log_file(runs: Path) -> Path:
    return runs.parent / "agentkit.log"


_LARGEST_LOG = 1_000_000  # bytes


def log_to_file() -> Path | None:
    """Sends what agentkit logs to `agentkit.log` beside the folder of runs, and not to the screen;
    None where no runs are kept, or the file cannot be written.

    A traceback is of use to whoever looks for a fault, and in the way of everybody else.
    """
    logger = logging.getLogger("agentkit")
    if logger.handlers:  # a program that calls the command has its own
        return None
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    if (runs := runs_directory()) is None:
        return None
    file = _log_file(runs)
    with suppress(OSError):
        runs.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if file.exists() and file.stat().st_size > _LARGEST_LOG:
            os.replace(file, file.with_name("agentkit.log.1"))
        raw = open_private(file)
        handler = logging.StreamHandler(io.TextIOWrapper(raw, "utf-8", errors="backslashreplace"))
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        return file
    return None


# --- exceptions that nobody expected -------------------------------------------------------------

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
