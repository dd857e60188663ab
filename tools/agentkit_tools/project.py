"""Reading a project directory: find, search, list, read. Nothing here writes.

In: paths and names that a model made up. Out: short text, the same for the same files. A path is
opened beneath the directory or not at all (`agentkit_tools.paths`).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

from agentkit import Tool, ToolError, tool
from agentkit.wording import pluralize
from agentkit_tools.differences import window
from agentkit_tools.folding import Folding, find, folded
from agentkit_tools.paths import Root
from agentkit_tools.texts import NotTextError, decoded, lines_of, numbered, spelled
from agentkit_tools.tree import files_of, missing

_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "dist", "build", "target"})
"""Folders of generated files, whose matches would hide all others; hidden ones are skipped too."""

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

        return _listing(self._matching(defines, self._files()))

    def search_text(self, text: str, folder: str = ".") -> str:
        """Search the project's files for a piece of text.

        Args:
            text: The exact text to look for.
            folder: Where to look; "." is everywhere.
        """
        if not text.strip():
            raise ToolError("the text to look for is empty.")
        try:
            paths = list(self._files(folder))
        except FileNotFoundError:
            raise missing("folder", folder, self._files()) from None
        found = list(self._matching(lambda line: line.find(text), paths))
        if not found and (wanted := folded(text, Folding.BLANKS).strip()):
            found = list(self._matching(partial(find, wanted), paths))
        return _listing(found)

    def list_files(self, folder: str = ".") -> str:
        """List the files of a folder.

        Args:
            folder: Folder inside the project; "." is the top.
        """
        try:
            descriptor = self._root.open_directory(folder)
        except FileNotFoundError:
            raise missing("folder", folder, self._files()) from None
        try:
            with os.scandir(descriptor) as found:
                entries = sorted((entry.name, _is_folder(entry)) for entry in found)
        finally:
            os.close(descriptor)
        names = [f"{name}/" if folds else name for name, folds in entries if not _is_skipped(name)]
        shown = [spelled(name) for name in names[:_SHOWN_ENTRIES]]
        head = "1 entry" if len(names) == 1 else f"{len(names)} entries"
        if names:
            head += f" ({_by_kind(names)})"
        if len(shown) < len(names):
            head += f", first {len(shown)} shown"
        return "\n".join([head, *shown])

    def read_file(self, path: str, line: int = 1) -> str:
        """Read a text file of the project.

        Args:
            path: Path of the file inside the project.
            line: First line to read; -1 is the last one.
        """
        try:
            text = self._text(path)
        except FileNotFoundError:
            raise missing("file", path, self._files()) from None
        if text is None:
            raise ToolError(f'"{path}" is not a text file of at most {_LARGEST:,} bytes.')
        lines = lines_of(text)
        first = max(line if line >= 0 else len(lines) + 1 + line, 1)
        head = pluralize(len(lines), "line")
        if first > max(len(lines), 1):
            raise ToolError(f'"{path}" has {head}.')
        shown = lines[first - 1 : first - 1 + _SHOWN_LINES]
        if len(shown) < len(lines):
            head += f", {first} to {first - 1 + len(shown)} shown"
        return "\n".join([head, *numbered(shown, first, _LONGEST_LINE)])

    def _files(self, folder: str = ".") -> Iterator[str]:
        for path in files_of(self._root, folder):
            if not any(map(_is_skipped, path.split("/"))):
                yield path

    def _matching(self, finder: Callable[[str], int], paths: Iterable[str]) -> Iterator[str]:
        """Yields the lines in which `finder` finds something, cut around the place."""
        for path in paths:
            try:
                text = self._text(path)
            except (OSError, ToolError):
                continue  # removed meanwhile, or not readable
            for number, line in enumerate(lines_of(text or ""), 1):
                if (found := finder(line)) >= 0:
                    shown = line.lstrip()
                    place = max(found - (len(line) - len(shown)), 0)
                    shown = window(shown.rstrip(), place, _SHOWN_COLUMNS)
                    yield f"{spelled(path)}:{number}: {shown}"

    def _text(self, path: str) -> str | None:
        """The text of a file; None if it is too large or binary."""
        content = self._root.read(path, _LARGEST + 1)
        with suppress(NotTextError):
            return decoded(content).text if len(content) <= _LARGEST else None
        return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in circles
        return False


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED


def _by_kind(names: Iterable[str]) -> str:
    """How many entries of each kind, folders first: `2 folders, 7 .py, 1 other`."""
    kinds = Counter("/" if name.endswith("/") else Path(name).suffix for name in names)
    folders, others = kinds.pop("/", 0), kinds.pop("", 0)
    counted = [pluralize(folders, "folder")] if folders else []
    counted += [f"{number} {suffix}" for suffix, number in kinds.most_common()]
    return ", ".join(counted + ([pluralize(others, "other")] if others else []))


def _listing(found: Iterable[str]) -> str:
    """A heading with the number of all matches, above the first of them."""
    matches = iter(found)
    shown = list(islice(matches, _SHOWN_RESULTS))
    number = len(shown) + sum(1 for _ in matches)
    head = pluralize(number, "result")
    if number > len(shown):
        head += f", first {len(shown)} shown"
    return "\n".join([head, *shown])
