"""The files of a project as a person would name them: without ignored, generated and git's own."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from agentkit import ToolError
from agentkit_tools.paths import Root

__all__ = ["LEFT_OVER", "SKIPPED", "files_of"]

SKIPPED = frozenset(
    {
        ".git",
        ".agentkit",
        ".venv",
        "venv",
        "node_modules",
        "__pycache__",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
    }
)
"""Folders that nobody writes by hand, skipped also where no .gitignore says so."""

LEFT_OVER = ".agentkit.tmp"
"""End of the name of a file that is being written; a crash may leave one behind."""

_MOST_FILES = 100_000
_MOST_LEVELS = 40
_LARGEST_IGNORE = 100_000  # bytes of a .gitignore


class _Spec(Protocol):
    def check(self, name: str) -> bool | None:
        """True to leave a name out, False to keep it, None for no opinion."""
        ...


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    specs: tuple[tuple[str, _Spec], ...]
    """Each .gitignore on the way here, with the folder it stands in, the nearest last."""

    def ignores(self, path: str, *, folder: bool) -> bool:
        for base, spec in reversed(self.specs):
            name = path[len(base) :].lstrip("/")
            if (opinion := spec.check(f"{name}/" if folder else name)) is not None:
                return opinion
        return False


def files_of(root: Root, folder: str = ".") -> Iterator[str]:
    """Paths of regular files, relative to the root, in order; no link is followed.

    Args:
        root: Of the project.
        folder: Where to begin; the .gitignore files above it count too.

    Raises:
        ToolError: The folder lies outside or is none.
        FileNotFoundError: There is no such folder.
    """
    start = root.relative(folder)
    os.close(root.open_directory(start))
    parts = [] if start == "." else start.split("/")
    specs: tuple[tuple[str, _Spec], ...] = ()
    for depth in range(len(parts)):
        specs = _with_spec(root, "/".join(parts[:depth]), specs)
    return islice(_walk(root, _Folder("/".join(parts), specs), 0), _MOST_FILES)


def _walk(root: Root, folder: _Folder, level: int) -> Iterator[str]:
    here = _Folder(folder.path, _with_spec(root, folder.path, folder.specs))
    for name, mode in _entries(root, folder.path):
        path = posixpath.join(folder.path, name)
        if stat.S_ISDIR(mode):
            if name not in SKIPPED and level < _MOST_LEVELS and not here.ignores(path, folder=True):
                yield from _walk(root, _Folder(path, here.specs), level + 1)
        elif (
            stat.S_ISREG(mode)
            and not name.endswith(LEFT_OVER)
            and not here.ignores(path, folder=False)
        ):
            yield path


def _entries(root: Root, path: str) -> Sequence[tuple[str, int]]:
    try:
        descriptor = root.open_directory(path or ".")
    except (OSError, ToolError):
        return ()  # gone meanwhile, or not ours to read
    try:
        with os.scandir(descriptor) as found:
            entries = [(e.name, e.stat(follow_symlinks=False).st_mode) for e in found]
    except OSError:
        return ()
    finally:
        os.close(descriptor)
    return sorted((name, mode) for name, mode in entries if _is_text(name))


def _is_text(name: str) -> bool:
    """Whether a name can be shown to a model and come back; one that is no UTF-8 cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _with_spec(
    root: Root, folder: str, specs: tuple[tuple[str, _Spec], ...]
) -> tuple[tuple[str, _Spec], ...]:
    try:
        with os.fdopen(root.open(posixpath.join(folder, ".gitignore")), "rb") as file:
            text = file.read(_LARGEST_IGNORE).decode("utf-8", "replace")
    except (OSError, ToolError):
        return specs
    return (*specs, (folder, _GitIgnore(text)))


class _GitIgnore:
    """One .gitignore; without pathspec (extra `tools`) it has no opinion."""

    def __init__(self, text: str) -> None:
        try:
            from pathspec import GitIgnoreSpec  # noqa: PLC0415 - an optional extra
        except ModuleNotFoundError:
            self._spec = None
        else:
            self._spec = GitIgnoreSpec.from_lines(text.splitlines())

    def check(self, name: str) -> bool | None:
        """See `_Spec.check`."""
        return None if self._spec is None else self._spec.check_file(name).include
