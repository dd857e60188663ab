"""Files of a project: list, read, write, edit.

In: paths and texts that a model made up. Out: short text. Every path goes through `Root`; a write
is a new file moved into place, so that a crash leaves the old content or the new, a hard link to
something outside is cut rather than written through, and nothing special is ever opened.
"""

from __future__ import annotations

import errno
import os
import posixpath
import secrets
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter

from agentkit import ToolContext, ToolError, Toolset, tool
from agentkit.toolset import Happened, Label, Probe
from agentkit.wording import pluralize
from agentkit_tools.differences import difference
from agentkit_tools.edits import Edit, applied, is_done
from agentkit_tools.guarded import why_not_written
from agentkit_tools.paths import Root
from agentkit_tools.texts import (
    LINE_END,
    Decoded,
    NotTextError,
    decoded,
    lines_of,
    named,
    numbered,
    spelled,
)
from agentkit_tools.tree import LEFT_OVER, files_of, missing

LARGEST: Final = 10_000_000  # bytes of a file that is read or edited
_SHOWN_ENTRIES = 60
_SHOWN_LINES = 200
_SHOWN_COLUMNS = 500
_READS: frozenset[Label] = frozenset({"reads_private", "reads_untrusted"})
_WRITES: frozenset[Label] = frozenset({"writes"})
_EDITS: Final = TypeAdapter(list[Edit])
_MARK = "user.agentkit.call"
"""Extended attribute of a written file: the key of the call that wrote it. It comes into place with
the content, so that after a crash the file itself says whether the call took effect."""


class ProjectFiles(Toolset):
    """Tools that list, read, write and edit the files of a directory.

    Args:
        root: The directory; nothing outside it can be reached.

    Raises:
        NotADirectoryError: There is no such directory.
    """

    def __init__(self, root: str | Path | Root) -> None:
        files = _Files(Root.of(root))
        reads = tool(effect="pure", labels=_READS)

        def writes(probe: Probe) -> Any:
            return tool(
                effect="probed", labels=_WRITES, lock=files.lock, target=files.target, probe=probe
            )

        super().__init__(
            [
                reads(files.list_files),
                reads(files.read_file),
                writes(files.written)(files.write_file),
                writes(files.edited)(files.edit_file),
            ]
        )


def preview(project: Path, name: str, arguments: Mapping[str, Any]) -> str:
    """Shows a person who is asked about a call of these tools what it would change.

    Returns:
        A diff; why the call will be refused; or nothing if neither can be known.
    """
    if name not in ("edit_file", "write_file"):
        return ""
    try:
        return _Files(Root(project)).change(name, arguments)
    except ToolError as refusal:
        return f"it will be refused: {refusal}"
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return ""  # arguments that fit no tool: they are shown as they are, and refused


class _Files:
    def __init__(self, root: Root) -> None:
        self._root = root

    def list_files(self, folder: str = ".") -> str:
        """List the files of a folder; of a small one, with all folders inside.

        Args:
            folder: Folder inside the project; "." is the top.
        """
        try:
            os.close(self._root.open_directory(folder))
        except FileNotFoundError:
            raise missing("folder", folder, files_of(self._root)) from None
        names = list(files_of(self._root, folder))
        if len(names) > _SHOWN_ENTRIES:
            return _by_folder(names, self._root.relative(folder))
        return "\n".join([pluralize(len(names), "file"), *map(spelled, names)])

    def read_file(
        self,
        path: str,
        first_line: Annotated[int, Field(ge=1)] = 1,
        last_line: Annotated[int | None, Field(ge=1)] = None,
    ) -> str:
        """Read a text file of the project, at most 200 lines at a time.

        Args:
            path: Path of the file inside the project.
            first_line: Number of the first line to show.
            last_line: Number of the last line to show.
        """
        found = self._text(path)
        lines = lines_of(found.text)
        if first_line > max(len(lines), 1):
            raise ToolError(f'"{path}" has only {pluralize(len(lines), "line")}.')
        if last_line is not None and last_line < first_line:
            raise ToolError(f"last_line {last_line} comes before first_line {first_line}.")
        last = min(last_line or len(lines), len(lines), first_line + _SHOWN_LINES - 1)
        body = numbered(lines[first_line - 1 : last], first_line, _SHOWN_COLUMNS)
        if first_line > 1 or last < len(lines):
            more = f"; go on with first_line={last + 1}" if last < len(lines) else ""
            body.append(f"(lines {first_line} to {last} of {len(lines)}{more})")
        if found.note:
            body.append(f"({found.note})")
        return "\n".join(body) if body else "(the file is empty)"

    def write_file(self, context: ToolContext[Any], path: str, content: str) -> str:
        """Write a whole file, new or instead of the old one.

        Args:
            context: Context of the call.
            path: Path of the file inside the project.
            content: All of its text.
        """
        self._refuse_programs(path)
        there = self._content(path)
        new = _as_before(content, there)
        with self._root.parent(path, create=True) as (folder, name):
            _replace(folder, name, new.content, context.idempotency_key)
        done = f"Wrote {self._shown(path)}, {pluralize(len(lines_of(content)), 'line')}"
        if there is None:
            return f"{done}, a new file."
        had = f"it had {len(lines_of(new.old.text))}" if new.old else _what_was(there)
        return f"{done}; {had}{new.note}."

    def lock(self, arguments: Mapping[str, Any]) -> str:
        """The same lock for each way to write the path of a file."""
        return f"path:{self.target(arguments)}"

    def target(self, arguments: Mapping[str, Any]) -> str:
        """The file that a call would write, or why it is refused, as a person is asked about it."""
        try:
            return self._shown(arguments["path"])
        except ToolError as refusal:
            return str(refusal)

    def written(self, arguments: Mapping[str, Any], _context: ToolContext[Any]) -> Happened | None:
        """Whether a write took effect before a crash: the file has its content."""
        there = self._content(arguments["path"])
        if there is None or _as_before(arguments["content"], there).content != there:
            return None
        lines = pluralize(len(lines_of(arguments["content"])), "line")
        return Happened(f"Wrote {self._shown(arguments['path'])}, {lines}.")

    def edit_file(self, context: ToolContext[Any], path: str, edits: list[Edit]) -> str:
        """Replace pieces of a text file. Each old text must be in the file exactly once.

        Args:
            context: Context of the call.
            path: Path of the file inside the project.
            edits: The replacements; all are done, or none.
        """
        before = self._text(path)
        shown = self._shown(path)
        self._refuse_programs(path)
        try:
            changed = applied(before.text, edits, shown)
        except ToolError as refusal:
            if before.note:
                raise ToolError(f"{refusal}\n({before.note})") from None
            raise
        with self._root.parent(path) as (folder, name):
            content, there = _encoded(before, changed, shown), before.encode(before.text)
            _replace(folder, name, content, context.idempotency_key, there)
        note = f"\n({before.note})" if before.note else ""
        return f"Edited {shown}:\n{difference(before.text, changed)}{note}"

    def edited(self, arguments: Mapping[str, Any], context: ToolContext[Any]) -> Happened | None:
        """Whether an edit took effect before a crash: the file has the mark of the call.

        Raises:
            ToolError: There is no mark, and the text could be from before or after.
        """
        path, edits = arguments["path"], arguments["edits"]
        happened = Happened(f"Edited {self._shown(path)}.")
        if self._mark(path) == context.idempotency_key:
            return happened
        done = is_done(self._text(path).text, edits)
        if done is None:
            raise ToolError(f"Read {path} to see whether the edit is in it.")
        return happened if done else None

    def change(self, name: str, arguments: Mapping[str, Any]) -> str:
        """What a call would change, as a diff.

        Raises:
            ToolError: It would be refused.
        """
        path = arguments["path"]
        if name == "edit_file":
            before = self._text(path).text
            edits = _EDITS.validate_python(arguments["edits"])
            return difference(before, applied(before, edits, path))
        there = self._content(path)
        new = _as_before(arguments["content"], there)
        if there is not None and new.old is None:
            return ""  # what is there is no text
        return difference(new.old.text if new.old else "", arguments["content"])

    def _refuse_programs(self, path: str) -> None:
        relative = self._root.relative(path)
        if (why := why_not_written(self._root, relative)) is not None:
            raise ToolError(f'"{spelled(relative)}" is not written here: {why}.')

    def _shown(self, path: str) -> str:
        return spelled(self._root.relative(path))

    def _mark(self, path: str) -> str | None:
        try:
            descriptor = self._root.open(path)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor), suppress(OSError, AttributeError):
            return os.getxattr(descriptor, _MARK).decode("ascii", "replace")
        return None

    def _content(self, path: str) -> bytes | None:
        """The content of a file, at most `LARGEST` + 1 bytes; None if there is no file."""
        try:
            return self._root.read(path, LARGEST + 1)
        except FileNotFoundError:
            return None

    def _text(self, path: str) -> Decoded:
        content = self._content(path)
        if content is None:
            raise missing("file", path, files_of(self._root))
        if len(content) > LARGEST:
            raise ToolError(f'"{path}" is larger than {LARGEST:,} bytes, too large for this tool.')
        try:
            return decoded(content)
        except NotTextError as error:
            raise ToolError(f'"{path}" is not a text file: {error}.') from None


def _by_folder(names: Sequence[str], folder: str) -> str:
    """The files directly in a folder, and the number of files in each of its folders."""
    counts: dict[str, int] = {}
    for name in names:
        head, slash, _ = posixpath.relpath(name, folder).partition("/")
        counts[head + slash] = counts.get(head + slash, 0) + 1
    shown = [
        f"{spelled(name)} ({pluralize(count, 'file')})" if name.endswith("/") else spelled(name)
        for name, count in counts.items()
    ]
    head = f"{len(names)} files"
    if len(shown) > _SHOWN_ENTRIES:
        head += f", first {_SHOWN_ENTRIES} of {len(shown)} entries shown"
    return "\n".join([head, *shown[:_SHOWN_ENTRIES]])


# --- writing -----------------------------------------------------------------------------------


def _encoded(before: Decoded, changed: str, path: str) -> bytes:
    """Encodes a changed text as its file was, and makes sure that it would be read the same.

    Raises:
        ToolError: The encoding lacks a character, or would not be recognised any more.
    """
    try:
        content = before.encode(changed)
    except UnicodeEncodeError as error:
        character = changed[error.start]
        raise ToolError(
            f'"{character}" ({named(character)}) cannot be written: {path} is in {before.name}. '
            "Nothing was changed. Leave it out, or write the whole file anew, which makes it UTF-8."
        ) from None
    if before.sure != "unknown" and decoded(content).text != changed:
        raise ToolError(
            f"after this edit nobody could tell any more that {path} is in {before.name}. Nothing "
            "was changed. Write the whole file anew, which makes it UTF-8."
        )
    return content


@dataclass(frozen=True, slots=True)
class _Written:
    """What is to be written in place of a file.

    Attributes:
        content: The bytes.
        old: The text that was there; None if there was none.
        note: What happens to the file's encoding and line ends, as the end of a sentence.
    """

    content: bytes
    old: Decoded | None = None
    note: str = ""


def _as_before(content: str, there: bytes | None) -> _Written:
    r"""A whole new content, with the byte-order mark and the line ends that the file has.

    A file without a mark becomes UTF-8. Its line ends are kept if all are the same, and only where
    the new content has `\n` alone.
    """
    old: Decoded | None = None
    if there is not None and len(there) <= LARGEST:
        with suppress(NotTextError):
            old = decoded(there)
    if old is None:
        return _Written(content.encode("utf-8", "replace"))
    ends = set(LINE_END.findall(old.text))
    note = ""
    if len(ends) == 1 and ends != {"\n"} and "\r" not in content:
        content = content.replace("\n", *ends)
        note = f", and its line ends ({_END_NAMES[ends.pop()]}) are kept"
    if old.mark:
        with suppress(UnicodeEncodeError):
            made = old.encode(content.removeprefix("\ufeff"))
            return _Written(made, old, f"{note}; it is {old.name} as before")
    if old.encoding != "utf-8" and not (old.sure == "unknown" and content.isascii()):
        note += f"; it was in {old.name} and is UTF-8 now"
    return _Written(content.encode("utf-8", "replace"), old, note)


_END_NAMES = {"\r\n": "CRLF", "\r": "CR"}


def _what_was(there: bytes) -> str:
    return f"it was larger than {LARGEST:,} bytes" if len(there) > LARGEST else "it was no text"


def _replace(folder: int, name: str, content: bytes, key: str, there: bytes | None = None) -> None:
    """Puts a new file in place of the old one at once; it is on the disk when this returns.

    Args:
        folder: A descriptor of its folder.
        name: Its name there.
        content: What it shall hold.
        key: The key of the call that writes it.
        there: What the old one must still hold; None for whatever it is.

    Raises:
        ToolError: It cannot be written, or was changed by somebody else.
    """
    beside = f".{name[:100]}.{secrets.token_hex(6)}{LEFT_OVER}"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(beside, flags, 0o666, dir_fd=folder)
        with os.fdopen(descriptor, "wb") as file:
            with suppress(FileNotFoundError):
                _take_over(descriptor, os.stat(name, dir_fd=folder, follow_symlinks=False))
            with suppress(OSError, AttributeError):  # not every file system and system has them
                os.setxattr(descriptor, _MARK, key.encode())
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        if there is not None and _held(folder, name, len(there) + 1) != there:
            raise OSError(errno.ESTALE, "it was changed meanwhile; read it again")
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    except OSError as error:
        with suppress(OSError):
            os.unlink(beside, dir_fd=folder)
        raise ToolError(f'"{name}" cannot be written: {error.strerror}.') from None


def _held(folder: int, name: str, most: int) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
        return file.read(most)


def _take_over(descriptor: int, old: os.stat_result) -> None:
    """Mode and, where that is allowed, owner of the file that is replaced; no set-uid bits."""
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode) & 0o777)
    with suppress(PermissionError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
