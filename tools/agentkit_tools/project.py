"""Reading a project directory: find, search, list, read. Nothing here writes.

In: paths and names that a model made up. Out: short text, the same for the same files. A path is
opened beneath the directory or not at all (`agentkit_tools.paths`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from agentkit import Tool, ToolError, tool
from agentkit_tools.differences import window
from agentkit_tools.folding import Folding, fold, folded
from agentkit_tools.paths import Root
from agentkit_tools.texts import NotTextError, decoded, lines_of, visible
from agentkit_tools.tree import closest, files_of

_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "dist", "build", "target"})
"""Folders of generated files, which drown what a reader looks for; hidden ones are skipped too."""

_LARGEST = 1_000_000  # bytes of a file that is searched or read
_SHOWN_RESULTS = 10
_SHOWN_ENTRIES = 40
_SHOWN_LINES = 60
_SHOWN_COLUMNS = 120
_LONGEST_LINE = 1_000  # characters that are read of a line: a minified file is one line


_DEFINES = (
    r"^\s*(?:(?:export|default|public|private|protected|static|abstract|final|pub(?:\([^)]*\))?"
    r"|async|extern|inline|unsafe|const|mut)\s+)*"
    r"(?:(?:def|class|function\*?|func(?:\s*\([^)]*\))?|fn|struct|enum|interface|trait|type|const"
    r"|let|var|mod|macro_rules!)\s+{name}(?!\w)"  # a Go receiver may stand before it
    r"|{name}\s*\([^()]*\)\s*\{\s*$"  # a method of a JavaScript class
    r"|{name}\s*(?::[^=]+)?=[^=])"
)


def project_reader(root: str | Path | Root) -> list[Tool[..., str]]:
    """Read-only tools over a directory.

    Args:
        root: The directory; nothing outside it can be reached.

    Raises:
        NotADirectoryError: There is no such directory.
    """
    reader = _Reader(Root.of(root))
    pure = tool(effect="pure", labels={"reads_private", "reads_untrusted"})
    return [
        pure(reader.find_definition),
        pure(reader.search_text),
        pure(reader.list_files),
        pure(reader.read_file),
    ]


class _Reader:
    def __init__(self, root: Root) -> None:
        self._root = root

    def find_definition(self, name: str) -> str:
        """Find where a function, class or constant is defined.

        Args:
            name: Exact name, without parentheses.
        """
        name = name.strip().removesuffix("()")
        if not name:
            raise ToolError("the name to look for is empty.")
        if len(name) > _LONGEST_LINE:
            raise ToolError(f"the name to look for is longer than {_LONGEST_LINE:,} characters.")
        pattern = re.compile(_DEFINES.replace("{name}", re.escape(name)))

        def defines(line: str) -> int:
            found = pattern.search(line)
            return -1 if found is None else found.start()

        return _listing(self._matching(defines))

    def search_text(self, text: str) -> str:
        """Search the project's files for a piece of text.

        Args:
            text: The exact text to look for.
        """
        if not text.strip():
            raise ToolError("the text to look for is empty.")
        found = list(self._matching(lambda line: line.find(text)))
        if not found and (wanted := folded(text, Folding.BLANKS).strip()):
            found = list(self._matching(partial(_looking, wanted)))
        return _listing(found)

    def list_files(self, folder: str = ".") -> str:
        """List the files of a folder.

        Args:
            folder: Folder inside the project; "." is the top.
        """
        try:
            descriptor = self._root.open_directory(folder)
        except FileNotFoundError:
            raise ToolError(self._missing("folder", folder)) from None
        try:
            with os.scandir(descriptor) as found:
                entries = sorted((entry.name, _is_folder(entry)) for entry in found)
        finally:
            os.close(descriptor)
        names = [f"{name}/" if folds else name for name, folds in entries if not _is_skipped(name)]
        shown = names[:_SHOWN_ENTRIES]
        head = "1 entry" if len(names) == 1 else f"{len(names)} entries"
        if len(shown) < len(names):
            head += f", first {len(shown)} shown"
        return "\n".join([head, *shown])

    def read_file(self, path: str) -> str:
        """Read a text file of the project.

        Args:
            path: Path of the file inside the project.
        """
        try:
            text = _read(self._root.open(path))
        except FileNotFoundError:
            raise ToolError(self._missing("file", path)) from None
        if text is None:
            raise ToolError(f'"{path}" is not a text file of at most {_LARGEST:,} bytes.')
        lines = lines_of(text)
        body = [
            f"{number:4}| {_at_most(visible(line.rstrip()), _LONGEST_LINE)}"
            for number, line in enumerate(lines[:_SHOWN_LINES], 1)
        ]
        if len(lines) > _SHOWN_LINES:
            body.append(f"({_SHOWN_LINES} of {len(lines)} lines shown)")
        return "\n".join(body)

    def _missing(self, kind: str, path: str) -> str:
        known = list(self._files())
        if kind == "folder":
            known = sorted({str(Path(name).parent) for name in known})
        text = f'no {kind} "{_at_most(path, _SHOWN_COLUMNS)}" in the project.'
        close = closest(path, known)
        return f'{text} Did you mean "{close}"?' if close else text

    def _files(self) -> Iterator[str]:
        for path in files_of(self._root):
            if not any(map(_is_skipped, path.split("/"))):
                yield path

    def _matching(self, finder: Callable[[str], int]) -> Iterator[str]:
        """The lines in which something is found, with the place in sight."""
        for path in self._files():
            for number, line in enumerate(self._lines(path), 1):
                if (found := finder(line)) >= 0:
                    shown = line.lstrip()
                    place = max(found - (len(line) - len(shown)), 0)
                    yield f"{path}:{number}: {window(shown.rstrip(), place, _SHOWN_COLUMNS)}"

    def _lines(self, path: str) -> list[str]:
        try:
            text = _read(self._root.open(path))
        except (OSError, ToolError):
            return []  # gone meanwhile, or not ours to read
        return lines_of(text or "")


def _looking(wanted: str, line: str) -> int:
    """Where a line holds something that looks like a folded text."""
    there = fold(line, Folding.BLANKS)
    found = there.text.find(wanted)
    return -1 if found < 0 else there.begin(found) or 0


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in circles
        return False


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED


def _read(descriptor: int) -> str | None:
    """The text of an open file, which is closed; None for one that is large or binary."""
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_size > _LARGEST:
            return None
        content = file.read(_LARGEST + 1)
    try:
        return decoded(content).text
    except NotTextError:
        return None


def _at_most(line: str, columns: int) -> str:
    return line if len(line) <= columns else f"{line[:columns]}… ({len(line)} characters)"


def _listing(found: Iterable[str]) -> str:
    """The first matches under their number."""
    every = iter(found)
    shown = list(islice(every, _SHOWN_RESULTS))
    number = len(shown) + sum(1 for _ in every)
    head = "1 result" if number == 1 else f"{number} results"
    if number > len(shown):
        head += f", first {len(shown)} shown"
    return "\n".join([head, *shown])
