"""The files of a project that a person works on: no ignored ones, no generated ones, not git's."""

from __future__ import annotations

import difflib
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Protocol

from agentkit import ToolError
from agentkit_tools.paths import Entry, Root
from agentkit_tools.texts import at_most, spelled, visible

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
"""Folders that nobody writes by hand; they are skipped even if no .gitignore names them."""

LEFT_OVER = ".agentkit.tmp"
"""How the name of a temporary file ends that is being written; a crash may leave one behind."""

_MOST_FILES = 100_000
_IGNORE = ".gitignore"
_LARGEST_IGNORE = 32_768
"""Bytes of a .gitignore that are read, up to the last whole line: so rules that were written to be
slow take tenths of a second at most."""


class _Spec(Protocol):
    def check(self, name: str) -> bool | None:
        """True to leave a name out, False to keep it, None for no opinion."""
        ...


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    specs: tuple[tuple[str, _Spec], ...]
    """The folder of each .gitignore from the root down to here, with its rules."""

    def ignores(self, path: str, *, folder: bool) -> bool:
        for base, spec in reversed(self.specs):
            name = path[len(base) :].lstrip("/")
            if (opinion := spec.check(f"{name}/" if folder else name)) is not None:
                return opinion
        return False


def files_of(root: Root, folder: str = ".") -> Iterator[str]:
    """Yields paths of regular files, relative to the root, in order; no link is followed.

    Args:
        root: Root folder of the project.
        folder: Where to begin; the .gitignore files above it apply too.

    Raises:
        ToolError: The path lies outside or is no folder.
        FileNotFoundError: There is no such folder.
    """
    start = root.relative(folder)
    os.close(root.open_directory(start))
    parts = [] if start == "." else start.split("/")
    specs: tuple[tuple[str, _Spec], ...] = ()
    for depth in range(len(parts)):
        specs = _with_spec(root, "/".join(parts[:depth]), specs)
    return islice(_walk(root, _Folder("/".join(parts), specs)), _MOST_FILES)


def _walk(root: Root, start: _Folder) -> Iterator[str]:
    """Yields the files below a folder; how deep it is, only the length of a path bounds."""
    open_ = [_looked_into(root, start)]
    while open_:
        here, entries = open_[-1]
        for name, kind, _ in entries:
            path = posixpath.join(here.path, name)
            if stat.S_ISDIR(kind):
                if name not in SKIPPED and not here.ignores(path, folder=True):
                    open_.append(_looked_into(root, _Folder(path, here.specs)))
                    break
            elif (
                stat.S_ISREG(kind)
                and not name.endswith(LEFT_OVER)
                and not here.ignores(path, folder=False)
            ):
                yield path
        else:
            open_.pop()


def _looked_into(root: Root, folder: _Folder) -> tuple[_Folder, Iterator[Entry]]:
    """The folder with its own .gitignore, and its entries."""
    entries, specs = _entries(root, folder.path), folder.specs
    if any(entry.name == _IGNORE for entry in entries):
        specs = _with_spec(root, folder.path, specs)
    return _Folder(folder.path, specs), iter(entries)


def _entries(root: Root, path: str) -> Sequence[Entry]:
    """The entries of a folder, in order."""
    try:
        found = root.entries(path or ".")
    except (OSError, ToolError):
        return ()  # removed meanwhile, or not readable
    return sorted(found)


def _with_spec(
    root: Root, folder: str, specs: tuple[tuple[str, _Spec], ...]
) -> tuple[tuple[str, _Spec], ...]:
    try:
        read = root.read(posixpath.join(folder, _IGNORE), _LARGEST_IGNORE)
    except (OSError, ToolError):
        return specs
    if len(read) == _LARGEST_IGNORE:
        read = read[: read.rfind(b"\n") + 1]
    return (*specs, (folder, _GitIgnore(read.decode("utf-8", "replace"))))


class _GitIgnore:
    """One .gitignore; without pathspec and RE2 (extra `tools`) it has no opinion.

    Its patterns are a stranger's, so they are matched by RE2, in time linear in the path: Python's
    `re` would try `*a*a*a*a*b` against a long name for hours, and nothing could stop it.
    """

    def __init__(self, text: str) -> None:
        rules = list(_rules(text))
        self._sets = [
            made
            for at in range(0, len(rules), _PATTERNS)
            for made in _compiled(rules[at : at + _PATTERNS])
        ]

    def check(self, name: str) -> bool | None:
        """See `_Spec.check`."""
        opinions = (each.opinion(name) for each in reversed(self._sets))
        return next((opinion for opinion in opinions if opinion is not None), None)


_LONGEST_PATTERN = 4_096  # characters: a path of Linux is no longer (PATH_MAX)
_PATTERNS = 100  # that RE2 is given as one set: it refuses sets whose programs are too large
_MEMORY = 2 << 20  # bytes for the program of a set and what it learns


@dataclass(frozen=True, slots=True)
class _Set:
    """Rules that RE2 looks for at once.

    Attributes:
        patterns: A compiled `re2.Set`.
        leaves_out: Whether each rule leaves out a name that it matches.
    """

    patterns: Any
    leaves_out: Sequence[bool]

    def opinion(self, name: str) -> bool | None:
        """What the last matching rule says; None if none matches."""
        found: Sequence[int] = self.patterns.Match(visible(name))
        return self.leaves_out[max(found)] if found else None


def _rules(text: str) -> Iterator[tuple[str, bool]]:
    """Yields each line as a regular expression, and whether it leaves out the names it matches."""
    try:
        from pathspec.patterns.gitignore.spec import (  # noqa: PLC0415 - an optional extra
            GitIgnoreSpecPattern,
        )
    except ModuleNotFoundError:
        return
    for line in text.splitlines():
        if len(line) > _LONGEST_PATTERN:
            continue
        with suppress(ValueError):  # not a valid pattern: ignored, as git does
            expression, leaves_out = GitIgnoreSpecPattern.pattern_to_regex(line)
            if isinstance(expression, str) and leaves_out is not None:
                yield expression, leaves_out


def _compiled(rules: Sequence[tuple[str, bool]]) -> list[_Set]:
    """Compiles the rules into sets; a rule that RE2 refuses even alone is ignored."""
    try:
        import re2  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        return []
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    made = re2.Set.SearchSet(options)
    try:
        for expression, _ in rules:
            made.Add(expression)
        made.Compile()
    except re2.error:
        if len(rules) == 1:
            return []
        half = len(rules) // 2
        return [*_compiled(rules[:half]), *_compiled(rules[half:])]
    return [_Set(made, [leaves_out for _, leaves_out in rules])]


def missing(kind: Literal["file", "folder"], path: str, files: Iterable[str]) -> ToolError:
    """The error for a path that does not exist, with the one that was probably meant.

    Args:
        kind: What was looked for.
        path: The path as the model wrote it.
        files: Existing paths; only the first are compared, since comparing is slow.
    """
    files = map(spelled, files)
    if kind == "folder":
        files = dict.fromkeys(posixpath.dirname(name) or "." for name in files)
    close = difflib.get_close_matches(path[:_LONGEST_NAME], list(islice(files, _COMPARED)), n=1)
    hint = f' Did you mean "{close[0]}"?' if close else ""
    return ToolError(f'no {kind} "{at_most(path, _LONGEST_NAME)}" in the project.{hint}')


_COMPARED = 2_000
_LONGEST_NAME = 200  # characters
