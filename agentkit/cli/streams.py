"""What every command needs: output that takes any character, private files, a log file, and the
message for an unexpected exception.
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

from agentkit.errors import first_error
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
"""ASCII for agentkit's own marks, and for the characters that models use most."""


def take_any_character() -> None:
    """Makes standard output and error take every character, whatever their encoding; one that the
    encoding lacks is escaped as in JSON.
    """
    codecs.register_error("agentkit", _spelled)
    codecs.register(_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if ascii_only else None, errors="agentkit")


def mend_size_of_terminal() -> None:
    """Forgets a size of 0, which some programs set, and sets that of a dumb terminal, for which
    rich would not ask but assume 80 columns.
    """
    for name in ("COLUMNS", "LINES"):  # rich would print nothing where there are 0 columns
        if not os.environ.get(name, "").strip("0"):
            os.environ.pop(name, None)
    if os.environ.get("TERM") in ("dumb", "unknown"):
        with suppress(OSError, ValueError, AttributeError):  # no terminal, or a stream is closed
            size = os.get_terminal_size(sys.stderr.fileno())
            os.environ.setdefault("COLUMNS", str(size.columns))
            os.environ.setdefault("LINES", str(size.lines))


_ASCII: Final = "agentkit_ascii"


def _ascii(name: str) -> codecs.CodecInfo | None:
    """ASCII under another name: a stream named ASCII, click takes for a wrong configuration, and
    writes UTF-8 to it.
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
    """A character in ASCII: a similar mark, or its UTF-16 units as in JSON."""
    ours = character.translate(_SPELLED)
    if ours.isascii():
        return ours
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def log_file() -> Path | None:
    """The file that `log_to_file` writes; None if it does not exist."""
    runs = runs_directory()
    file = _log_file(runs) if runs is not None else None
    return file if file is not None and file.is_file() else None


def _log_file(runs: Path) -> Path:
    return runs.parent / "agentkit.log"


_LARGEST_LOG = 1_000_000  # bytes


def log_to_file() -> Path | None:
    """Sends agentkit's log to `agentkit.log` beside the folder of runs instead of the screen.

    A traceback helps a person who looks for a fault, and disturbs everybody else.

    Returns:
        The file; None if no runs are kept, it cannot be written, or the program has a handler.
    """
    logger = logging.getLogger("agentkit")
    if logger.handlers:  # those of a program that calls the command
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


def write_private(target: Path, content: bytes) -> None:
    """Writes a whole file that only its owner may read, since it holds all that was said.

    Raises:
        OSError: It cannot be written.
    """
    # Buffered: a raw file takes a part of the content, and no error, where the disk is full.
    with io.BufferedWriter(open_private(target)) as file:
        file.truncate(0)
        file.write(content)


# --- unexpected exceptions -----------------------------------------------------------------------

_OURS: Final = frozenset({"agentkit", "agentkit_tools", "agentkit_evals"})
_INSTALLED: Final = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


def unexpected(error: BaseException, log: Path | None) -> str:
    """Logs an exception with its traceback, and returns a message for a person.

    Args:
        error: An exception or a group.
        log: The log file, to be named in the message; None without one.
    """
    get_logger().error("the command failed", exc_info=error)
    error = first_error(error)
    place = own_line(error)
    blame = f" ({place})" if place else ". This is a fault of agentkit"
    where = f"; the traceback is in {log}" if log else ""
    return f"{type(error).__name__}: {error}{blame}{where}"


def own_line(error: BaseException) -> str:
    """The innermost line of code that is neither agentkit's nor installed; empty without one."""
    place = ""
    for frame, line in walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        ours = frame.f_globals.get("__name__", "").partition(".")[0] in _OURS
        if not ours and not file.startswith(("<", *_INSTALLED)):
            place = f"{file}, line {line}"
    return place
