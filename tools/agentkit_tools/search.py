"""Search in a project: text and file names, without what .gitignore leaves out.

ripgrep searches where it is installed, Python otherwise, with the same results for plain text.
What is shown is read again beneath the root: ripgrep walks by itself, and what it says decides
only which lines are looked at.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
import subprocess
import threading
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import TypeAlias

from agentkit import ToolError, Toolset, tool
from agentkit.toolset import Label
from agentkit_tools.edits import lines_of
from agentkit_tools.helpers import RIPGREP, found
from agentkit_tools.paths import Root
from agentkit_tools.tree import LEFT_OVER, SKIPPED, files_of

__all__ = ["Search"]

_LABELS: frozenset[Label] = frozenset({"reads_private", "reads_untrusted"})
_LARGEST = 2_000_000  # bytes of a file that is searched
_MOST_FOUND = 1_000
_SHOWN_RESULTS = 40
_SHOWN_COLUMNS = 160
_SECONDS = 20.0
_LONGEST = 4_000  # characters of what is searched for

_Place: TypeAlias = tuple[str, int]
"""A file and a line in it, from 1."""


class Search(Toolset):
    """Tools that search the files of a directory.

    Args:
        root: The directory; nothing outside it can be reached.
        ripgrep: Search with the program `rg`, where there is one that no command can have put
            there (`helpers`); False searches in Python.

    Raises:
        NotADirectoryError: There is no such directory.
    """

    def __init__(self, root: str | Path | Root, *, ripgrep: bool = True) -> None:
        opened = Root.of(root)
        search = _Search(opened, found(RIPGREP, opened.path) if ripgrep else None)
        reads = tool(effect="pure", labels=_LABELS, timeout=2 * _SECONDS)
        super().__init__([reads(search.search_text), reads(search.find_files)])


class _Search:
    def __init__(self, root: Root, ripgrep: str | None) -> None:
        self._root = root
        self._ripgrep = ripgrep

    def search_text(self, text: str, folder: str = ".", regex: bool = False) -> str:
        """Search the project's files for a piece of text.

        Args:
            text: The exact text to look for, within one line.
            folder: Search only in this folder or file.
            regex: The text is a regular expression.
        """
        if not text.strip():
            raise ToolError("the text to look for is empty.")
        if "\n" in text.strip("\n"):
            raise ToolError("search for one line at a time.")
        if "\0" in text:
            raise ToolError("the text holds a zero byte.")
        if len(text) > _LONGEST:
            raise ToolError(f"the text is longer than {_LONGEST:,} characters; search for a part.")
        if regex and self._ripgrep is None:
            raise ToolError("regular expressions need ripgrep, which is not installed here.")
        text = text.strip("\n")
        start = self._start(folder)
        every = (
            self._by_ripgrep(text, start, regex) if self._ripgrep else self._by_hand(text, start)
        )
        places = list(islice(every, _MOST_FOUND + 1))
        return _listing(self._lines(places[:_SHOWN_RESULTS]), len(places), "result")

    def find_files(self, name: str) -> str:
        """Find files by name.

        Args:
            name: Part of the path, or a pattern with * as in "*.py".
        """
        wanted = name.strip().removeprefix("./")
        if not wanted:
            raise ToolError("the name to look for is empty.")
        if len(wanted) > _LONGEST:
            raise ToolError(f"the name is longer than {_LONGEST:,} characters.")
        if not any(c in wanted for c in "*?["):
            wanted = f"*{wanted}*"
        pattern = re.compile(fnmatch.translate(f"*/{wanted}".casefold()))
        names = [path for path in files_of(self._root) if pattern.match(f"/{path}".casefold())]
        return _listing(names[:_SHOWN_RESULTS], len(names), "file")

    def _start(self, folder: str) -> str:
        """Where to begin, which must be there."""
        relative = self._root.relative(folder)
        try:
            os.close(self._root.open_any(relative))
        except FileNotFoundError:
            raise ToolError(f'there is no "{folder}" in the project.') from None
        return relative

    def _lines(self, places: Iterable[_Place]) -> Iterator[str]:
        """The places with their lines, read beneath the root."""
        for path, group in groupby(places, key=lambda place: place[0]):
            lines = lines_of(self._text(path) or "")
            for _, number in group:
                if number <= len(lines):
                    yield f"{path}:{number}: {lines[number - 1].strip()[:_SHOWN_COLUMNS]}"

    def _text(self, path: str) -> str | None:
        """The text of a file; None for one that is large, binary, or not ours to read."""
        try:
            with os.fdopen(self._root.open(path), "rb") as file:
                content = file.read(_LARGEST + 1)
        except (OSError, ToolError):
            return None
        binary = b"\0" in content or len(content) > _LARGEST
        return None if binary else content.decode("utf-8", "replace")

    def _by_hand(self, text: str, start: str) -> Iterator[_Place]:
        for path in self._files(start):
            content = self._text(path) or ""
            if text in content:
                for number, line in enumerate(lines_of(content), 1):
                    if text in line:
                        yield path, number

    def _files(self, start: str) -> Iterable[str]:
        try:
            return files_of(self._root, start)
        except ToolError:
            return [start]  # a file

    def _by_ripgrep(self, text: str, start: str, regex: bool) -> Iterator[_Place]:
        assert self._ripgrep is not None, "asked by the caller"
        command = [self._ripgrep, *_RIPGREP, *([] if regex else ["--fixed-strings"])]
        command += [f"--glob=!**/{name}/**" for name in sorted(SKIPPED)]
        command.append(f"--glob=!*{LEFT_OVER}")
        with subprocess.Popen(  # noqa: S603 - a fixed program; what the model says comes after --
            [*command, "--", text, f"./{start}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.defpath},
            cwd=self._root.path,
        ) as process:
            assert process.stdout is not None, "it was started with pipes"
            assert process.stderr is not None, "it was started with pipes"
            clock = threading.Timer(_SECONDS, process.kill)
            clock.start()
            try:
                yield from _places(process.stdout)
                said = process.stderr.read(_LARGEST).decode("utf-8", "replace")
                if process.wait() == _NOT_UNDERSTOOD and "regex" in said:
                    why = said.strip().splitlines()[-1][:_SHOWN_COLUMNS]
                    raise ToolError(f"the regular expression is wrong: {why}.")
            finally:
                clock.cancel()
                process.kill()


_NOT_UNDERSTOOD = 2
_RIPGREP = (
    *("--no-config", "--no-messages", "--no-heading", "--with-filename", "--line-number", "--null"),
    *("--color=never", "--hidden", "--no-require-git", "--no-ignore-global", "--no-ignore-parent"),
    *("--sort=path", f"--max-filesize={_LARGEST}", "--only-matching", "--replace="),
    *("--max-count=200", "--no-mmap", "--regex-size-limit=300K", "--dfa-size-limit=10M"),
)
"""One short line for each match: the path, a zero byte, the number of the line, a colon."""


def _places(output: Iterable[bytes]) -> Iterator[_Place]:
    last: _Place | None = None
    for line in output:
        path, _, rest = line.partition(b"\0")
        number = rest.partition(b":")[0]
        try:
            place = (posixpath.normpath(path.decode()), int(number))
        except ValueError:
            continue  # a name that is no UTF-8
        if place != last:
            yield place
        last = place


def _listing(shown: Iterable[str], count: int, what: str) -> str:
    """The first under their number."""
    lines = list(shown)
    many = f"more than {_MOST_FOUND}" if count > _MOST_FOUND else str(count)
    head = f"1 {what}" if count == 1 else f"{many} {what}s"
    if count > len(lines):
        head += f", first {len(lines)} shown"
    return "\n".join([head, *lines])
