"""Search in a project: text and file names, without what .gitignore leaves out.

ripgrep searches where it is installed, Python otherwise, with the same results for plain text.
What is shown is read again beneath the root: ripgrep opens files by itself, so its output only
decides which lines are read. Files that are no plain UTF-8 are read as the other tools read them
(`agentkit_tools.texts`). A text that is found nowhere as it is written is looked for by how it
looks, under the foldings of `agentkit_tools.folding`.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from heapq import merge
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple, TypeAlias

from agentkit import ToolError, Toolset, tool
from agentkit.toolset import Label
from agentkit.wording import pluralize
from agentkit_tools.differences import window
from agentkit_tools.folding import Folding, find, folded
from agentkit_tools.helpers import RIPGREP, found
from agentkit_tools.paths import Root
from agentkit_tools.texts import NotTextError, decoded, lines_of, spelled, visible
from agentkit_tools.tree import LEFT_OVER, SKIPPED, files_of

_LABELS: frozenset[Label] = frozenset({"reads_private", "reads_untrusted"})
_LARGEST = 10_000_000  # bytes of a file that is searched, as of one that is read or edited
_MOST_FOUND = 1_000
_SHOWN_RESULTS = 40
_SHOWN_COLUMNS = 160
_LONGEST = 4_000  # characters of what is searched for


class _Place(NamedTuple):
    """Where something was found: a file, a line from 1, and how many bytes precede it there."""

    path: str
    number: int
    column: int


_Finder: TypeAlias = Callable[[str], int]
"""Line → the position of what is searched for in it, or -1."""


class Search(Toolset):
    """Tools that search the files of a directory.

    Args:
        root: The directory; nothing outside it can be reached.
        ripgrep: Search with the program `rg`, where there is one that no command can have put
            there (`helpers`); False searches in Python.
        seconds: The most that one search may take.

    Raises:
        NotADirectoryError: There is no such directory.
    """

    def __init__(
        self, root: str | Path | Root, *, ripgrep: bool = True, seconds: float = 20.0
    ) -> None:
        opened = Root.of(root)
        search = _Search(opened, found(RIPGREP, opened.path) if ripgrep else None, seconds)
        reads = tool(effect="pure", labels=_LABELS, timeout=2 * seconds)
        super().__init__([reads(search.search_text), reads(search.find_files)])


class _Search:
    def __init__(self, root: Root, ripgrep: str | None, seconds: float) -> None:
        self._root = root
        self._ripgrep = ripgrep
        self._seconds = seconds

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
        places = list(islice(self._exact(text, start, regex), _MOST_FOUND + 1))
        note = ""
        if not places and not regex:
            places = list(islice(self._alike(text, start), _MOST_FOUND + 1))
            note = " spelled otherwise" if places else ""
        return _listing(self._lines(places[:_SHOWN_RESULTS]), len(places), "result", note)

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
        pattern = re.compile(fnmatch.translate(folded(f"*/{wanted}").casefold()))
        names = [
            path
            for path in map(spelled, files_of(self._root))
            if pattern.match(folded(f"/{path}").casefold())
        ]
        return _listing(names[:_SHOWN_RESULTS], len(names), "file")

    def _start(self, folder: str) -> str:
        """The folder or file to begin at, relative to the root.

        Raises:
            ToolError: There is none.
        """
        relative = self._root.relative(folder)
        try:
            os.close(self._root.open_any(relative))
        except FileNotFoundError:
            raise ToolError(f'there is no "{folder}" in the project.') from None
        return relative

    def _lines(self, places: Iterable[_Place]) -> Iterator[str]:
        """Yields a line of the answer for each place."""
        for path, group in groupby(places, key=lambda place: place.path):
            lines = lines_of(self._text(path) or "")
            for _, number, column in group:
                if number <= len(lines):
                    line = lines[number - 1].rstrip()
                    before = len(line.encode(errors="replace")[:column].decode(errors="replace"))
                    shown = line.lstrip()
                    place = max(before - (len(line) - len(shown)), 0)
                    yield f"{spelled(path)}:{number}: {window(shown, place)}"

    def _text(self, path: str) -> str | None:
        """The text of a file; None if it is too large, binary or not readable."""
        try:
            content = self._root.read(path, _LARGEST + 1)
            return decoded(content).text if len(content) <= _LARGEST else None
        except (OSError, ToolError, NotTextError):
            return None

    def _exact(self, text: str, start: str, regex: bool) -> Iterator[_Place]:
        """Yields where the text is, exactly as it is written."""
        finder = _finder_of(text, regex)
        if self._ripgrep is None:
            return self._by_hand(finder, self._files(start))
        odd = self._listed(_ODD, start)
        plain = (p for p in self._by_ripgrep(text, start, regex) if p.path not in odd)
        return merge(plain, self._by_hand(finder, sorted(odd)), key=_order)

    def _alike(self, text: str, start: str) -> Iterator[_Place]:
        """Yields where something is that looks like the text."""
        wanted = folded(text, Folding.BLANKS).strip()
        if not wanted:
            return iter(())
        finder = partial(find, wanted)
        if self._ripgrep is None:
            return self._by_hand(finder, self._files(start))
        odd = self._listed(_ODD, start) | self._listed(_BEYOND_ASCII, start)
        pattern = r"[ \t\f\v]+".join(map(re.escape, wanted.split(" ")))
        plain = (p for p in self._by_ripgrep(pattern, start, True) if p.path not in odd)
        return merge(plain, self._by_hand(finder, sorted(odd)), key=_order)

    def _by_hand(self, finder: _Finder, paths: Iterable[str]) -> Iterator[_Place]:
        end = time.monotonic() + self._seconds
        for path in paths:
            if time.monotonic() > end:
                raise self._stopped()
            for number, line in enumerate(lines_of(self._text(path) or ""), 1):
                if (found := finder(line)) >= 0:
                    yield _Place(path, number, len(line[:found].encode(errors="replace")))

    def _files(self, start: str) -> Iterable[str]:
        try:
            return files_of(self._root, start)
        except ToolError:
            return [start]  # a file

    def _listed(self, how: Sequence[str], start: str) -> set[str]:
        """The files that ripgrep lists."""
        output = b"".join(self._run([*_EVERY, *how, f"./{start}"]))
        paths = filter(None, output.split(b"\0"))  # a zero byte ends each
        return {posixpath.normpath(os.fsdecode(path)) for path in paths}

    def _by_ripgrep(self, text: str, start: str, regex: bool) -> Iterator[_Place]:
        fixed = [] if regex else ["--fixed-strings"]
        return _places(self._run([*_EVERY, *_RIPGREP, *fixed, "--", text, f"./{start}"]))

    def _run(self, arguments: Sequence[str]) -> Iterator[bytes]:
        """What ripgrep prints, in pieces that end with a line's end.

        Raises:
            ToolError: The expression is wrong, or ripgrep did not come to its end.
        """
        assert self._ripgrep is not None, "checked by the caller"
        command = [self._ripgrep, *(f"--glob=!**/{name}/**" for name in sorted(SKIPPED))]
        command.append(f"--glob=!*{LEFT_OVER}")
        with subprocess.Popen(  # noqa: S603 - a fixed program; what the model says comes after --
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.defpath},
            cwd=self._root.path,
        ) as process:
            assert process.stdout is not None, "it was started with pipes"
            assert process.stderr is not None, "it was started with pipes"
            clock = threading.Timer(self._seconds, process.kill)
            clock.start()
            try:
                yield from process.stdout
                errors = process.stderr.read(_LARGEST).decode("utf-8", "replace")
                code = process.wait()
                if code < 0:  # a signal ended it: the clock's, or one of the system short of memory
                    raise self._stopped()
                if code == _NOT_UNDERSTOOD and "regex" in errors:
                    why = errors.strip().splitlines()[-1][:_SHOWN_COLUMNS]
                    raise ToolError(f"the regular expression is wrong: {why}.")
            finally:
                clock.cancel()
                process.kill()

    def _stopped(self) -> ToolError:
        return ToolError(
            f"the search was stopped: one may take {pluralize(self._seconds, 'second')}. "
            "Search in a smaller folder."
        )


_NOT_UNDERSTOOD = 2
_EVERY = (
    *("--no-config", "--no-messages", "--color=never", "--hidden", "--no-require-git", "--null"),
    *("--no-ignore-global", "--no-ignore-parent", "--sort=path", f"--max-filesize={_LARGEST}"),
    *("--no-mmap", "--regex-size-limit=300K", "--dfa-size-limit=10M"),
)
_RIPGREP = (
    *("--no-heading", "--with-filename", "--line-number", "--column"),
    *("--only-matching", "--replace="),
)
"""One short line for each match: the path, a zero byte, the numbers of line and column, a colon."""

_LISTS = ("--files-with-matches", "--text", "--encoding=none")
_ODD = (*_LISTS, "--invert-match", "--", r"^[^\x00\r]*\r?$")
"""Lists files with a line that is no UTF-8, or has a zero byte or a lone carriage return."""
_BEYOND_ASCII = (*_LISTS, "--", r"[^\x00-\x7f]")


def _finder_of(text: str, regex: bool) -> _Finder:
    if not regex:
        return lambda line: line.find(text)
    try:
        import re2  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        return lambda _line: -1
    options = re2.Options()
    options.log_errors = False
    try:
        search = re2.compile(text, options=options).search
    except re2.error:
        return lambda _line: -1  # ripgrep says what is wrong

    def finder(line: str) -> int:
        found = search(visible(line.rstrip("\r\n")))
        return -1 if found is None else int(found.start())

    return finder


def _order(place: _Place) -> list[str]:
    return place.path.split("/")


def _places(output: Iterable[bytes]) -> Iterator[_Place]:
    last: tuple[str, int] | None = None
    begun = b""  # of a path that holds ends of lines
    for line in output:
        path, ended, rest = (begun + line).partition(b"\0")
        begun = b"" if ended else path
        if not ended:
            continue
        number, _, rest = rest.partition(b":")
        column = rest.partition(b":")[0]
        place = _Place(posixpath.normpath(os.fsdecode(path)), int(number), int(column) - 1)
        if place[:2] != last:
            yield place
        last = place[:2]


def _listing(shown: Iterable[str], count: int, noun: str, note: str = "") -> str:
    """A heading with the number of all results, above those that are shown."""
    lines = list(shown)
    head = f"more than {_MOST_FOUND} {noun}s" if count > _MOST_FOUND else pluralize(count, noun)
    head += note
    if count > len(lines):
        head += f", first {len(lines)} shown"
    return "\n".join([head, *lines])
