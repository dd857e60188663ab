"""Every path a model names, opened beneath one root or not at all.

A `Root` holds one descriptor of the project's directory. Each path is made relative in plain text,
then opened by the kernel itself: by `openat2` with RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS and
RESOLVE_NO_SYMLINKS on Linux (openat2(2), kernel 5.6), elsewhere by a walk that opens one component
after the other with O_NOFOLLOW. There is no check that a race could get behind, and no comparison
of path prefixes.

A symbolic link is never followed by the kernel. For reading, its target is read and opened in the
same way, so a link inside the project works and one that leads out does not; for writing, a link
is refused and its target named, so that what a person approved is what is written.
"""

from __future__ import annotations

import errno
import os
import posixpath
import re
import stat
import unicodedata
from collections.abc import Callable, Container, Generator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from agentkit import ToolError
from agentkit_tools.beneath import has_openat2, openat2, walked
from agentkit_tools.folding import folded
from agentkit_tools.texts import spelled

PROTECTED = frozenset({".git", ".agentkit"})
"""Never written, at any depth: what git runs by itself (hooks, filters, fsmonitor) and what an
agent could use to change its own rules."""

_MOST_LINKS = 8
_O_PATH = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK)  # Linux: stands for a place only
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_FILE = os.O_RDONLY | os.O_NONBLOCK  # a pipe that nobody writes to is not waited for


class Entry(NamedTuple):
    """What stands in a directory.

    Attributes:
        name: Its name there.
        kind: The file type bits of its mode (`stat.S_IFMT`), without following a link; 0 if it was
            removed meanwhile.
        inode: Its inode number.
    """

    name: str
    kind: int
    inode: int


class Root:
    """A directory, and nothing outside it.

    Args:
        path: The directory. It is opened once; moving it away later changes nothing.
        walk: Open component by component even if the kernel has `openat2`: for tests.

    Attributes:
        path: The directory, by a path without links.
        descriptor: The directory, open as long as this object lives.

    Raises:
        NotADirectoryError: There is no such directory.
    """

    def __init__(self, path: str | Path, *, walk: bool = False) -> None:
        try:
            self.path = Path(path).resolve(strict=True)
            self.descriptor = os.open(self.path, _DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError, RuntimeError):  # of a link to itself, until Python 3.12
            raise NotADirectoryError(f"there is no directory {str(path)!r}") from None
        self._open_beneath = walked if walk or not has_openat2(self.descriptor) else openat2

    @classmethod
    def of(cls, root: str | Path | Root) -> Root:
        """Returns a root unchanged, and makes one of a path."""
        return root if isinstance(root, Root) else cls(root)

    def __del__(self) -> None:
        try:  # noqa: SIM105 - when Python ends, `suppress` can be gone before the last root is
            os.close(self.descriptor)
        except (AttributeError, OSError):
            pass

    def relative(self, path: str) -> str:
        """Makes a path that a model wrote relative to the root, without `.` and `..`.

        An absolute path may go through any name of the root, such as the link by which it was
        opened. A name that does not exist, but looks like exactly one that does (a decomposed
        accent, a narrow space: `agentkit_tools.folding`), is spelled as that one; and so is one as
        the tools show it (`texts.spelled`).

        Raises:
            ToolError: It is no path, or lies outside.
        """
        if "\0" in path or not _is_name(path):
            raise ToolError(f"{_short(path)} is not a path.")
        text = path if path and self._has(path) else path.strip() or "."
        text = self._as_meant(text)
        if posixpath.isabs(text):
            text = self._within(posixpath.normpath(text))
        text = posixpath.normpath(text)
        if text == ".." or text.startswith("../"):
            raise self._outside(path)
        return self._as_spelled(text)

    def _as_meant(self, path: str) -> str:
        """Removes quotes around a path and expands `~`, unless the project has such a name.

        Raises:
            ToolError: Only a shell or another system would read it as a path.
        """
        while path[0] in "\"'`" and path[-1] == path[0] and not self._has(path):
            path = path[1:-1].strip() or "."
        slashed = path.replace("\\", "/")
        if (
            slashed != path
            and not self._has(self._as_spelled(path))
            and self._has(posixpath.dirname(slashed))
        ):
            raise ToolError(f"{_short(path)} is no path here: write {_short(slashed)}.")
        first = path.split("/", 1)[0]
        if not _SHELL_PATH.match(path) or self._has(first):
            return path
        if first == "~" and posixpath.isabs(expanded := posixpath.expanduser(path)):
            return expanded
        raise ToolError(
            f"{_short(path)} is no path here: write it as it is named in the project, such as "
            "docs/notes.md."
        )

    def _has(self, name: str) -> bool:
        """Whether the root holds something of that name."""
        try:
            os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except OSError:
            return False
        return True

    def _within(self, path: str) -> str:
        """An absolute path relative to the root, also if it names the root through links."""
        inside = posixpath.relpath(path, self.path)
        if inside != ".." and not inside.startswith("../"):
            return inside
        own = os.fstat(self.descriptor)
        for above in (PurePosixPath(path), *PurePosixPath(path).parents):
            with suppress(OSError):
                if os.path.samestat(os.stat(above), own):
                    return str(PurePosixPath(path).relative_to(above))
        return inside

    def _as_spelled(self, relative: str) -> str:
        """The path with each missing name replaced by the one in its folder that looks alike."""
        try:
            with self._opening(relative, _O_PATH):
                return relative
        except FileNotFoundError:
            pass
        except OSError:
            return relative  # whoever opens the path meets the same error
        parts = relative.split("/")
        for depth, name in enumerate(parts):
            try:
                with self._opening("/".join(parts[:depth])) as folder:
                    names = os.listdir(folder)
            except OSError:
                break
            if name in names:
                continue
            wanted = folded(name)
            alike = [each for each in names if spelled(each) == name] or [
                each for each in names if folded(each) == wanted
            ]
            if len(alike) != 1:
                break
            parts[depth] = alike[0]
        return "/".join(parts)

    def open(self, path: str) -> int:
        """A descriptor for reading a regular file; the caller closes it.

        Raises:
            ToolError: It lies outside, or is no regular file.
            FileNotFoundError: There is no such file.
        """
        return self._opened(path, _FILE, stat.S_ISREG)

    def read(self, path: str, most: int) -> bytes:
        """At most the first `most` bytes of a regular file.

        Raises:
            ToolError: It lies outside, or is no regular file.
            FileNotFoundError: There is no such file.
        """
        with os.fdopen(self.open(path), "rb") as file:
            return file.read(most)

    def open_directory(self, path: str) -> int:
        """A descriptor of a directory; the caller closes it.

        Raises:
            ToolError: It lies outside, or is no directory.
            FileNotFoundError: There is no such directory.
        """
        return self._opened(path, _DIRECTORY, stat.S_ISDIR)

    def entries(self, path: str) -> list[Entry]:
        """The entries of a directory, in the order of the file system.

        Raises:
            ToolError: It lies outside, or is no directory.
            OSError: There is no such directory, or it cannot be read.
        """
        descriptor = self.open_directory(path)
        try:
            with os.scandir(descriptor) as found:
                return [Entry(each.name, _kind_of(each), each.inode()) for each in found]
        finally:
            os.close(descriptor)

    def open_any(self, path: str) -> int:
        """A descriptor of a regular file or directory; no link is followed.

        Raises:
            ToolError: It lies outside, is a link or something special.
            FileNotFoundError: There is nothing of that name.
        """
        descriptor = self._no_link(self.relative(path), _FILE)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return descriptor
        os.close(descriptor)
        raise ToolError(f"{_short(path)} is {_kind_name(mode)}.")

    def open_path(self, path: str) -> int:
        """A descriptor opened with `O_PATH`: enough to mount the place, even if it is not readable.

        Raises:
            ToolError: It lies outside, or is a link.
            FileNotFoundError: There is nothing of that name.
        """
        return self._no_link(self.relative(path), os.O_PATH)

    @contextmanager
    def parent(self, path: str, *, create: bool = False) -> Generator[tuple[int, str]]:
        """Opens the directory of a file to be written: yields its descriptor and the file's name.

        Args:
            path: Path of the file, which need not exist.
            create: Make missing directories.

        Raises:
            ToolError: The path is protected, goes through a link or lies outside.
            FileNotFoundError: A directory is missing.
        """
        relative = self.relative(path)
        if relative == ".":
            raise ToolError(f"{_short(path)} is the project's directory, not a file.")
        if is_protected(relative):
            raise ToolError(f"{_short(path)} is protected: git's own files are not written here.")
        folder, name = posixpath.split(relative)
        self._refuse_closed(folder, path)
        descriptor = (
            self._make_folders(folder) if create else self._no_link(folder or ".", _DIRECTORY)
        )
        try:
            self._refuse_special(descriptor, name, relative)
            yield descriptor, name
        finally:
            os.close(descriptor)

    @contextmanager
    def _opening(self, relative: str, flags: int = _DIRECTORY) -> Generator[int]:
        """Opens a relative path for as long as the block runs; the errors are the kernel's."""
        descriptor = self._open_beneath(self.descriptor, relative or ".", flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _opened(self, path: str, flags: int, wanted: Callable[[int], bool]) -> int:
        relative = self.relative(path)
        for _ in range(_MOST_LINKS):
            try:
                descriptor = self._open_beneath(self.descriptor, relative, flags)
            except OSError as error:
                link = self._first_link(relative) if error.errno in _LINK_ERRORS else None
                if link is None and flags == _DIRECTORY and self._is_file(relative):
                    raise ToolError(
                        f"{_short(path)} is a file, not a folder: read it instead."
                    ) from None
                if link is None:
                    raise self._refusal(error, path) from None
                relative = self._behind(relative, link, path)
            else:
                mode = os.fstat(descriptor).st_mode
                if wanted(mode):
                    return descriptor
                os.close(descriptor)
                raise ToolError(f"{_short(path)} is {_kind_name(mode)}.")
        raise ToolError(f"{_short(path)} is a link that leads in circles.")

    def _no_link(self, relative: str, flags: int) -> int:
        try:
            return self._open_beneath(self.descriptor, relative, flags)
        except OSError as error:
            if error.errno in _LINK_ERRORS and (link := self._first_link(relative)) is not None:
                raise self._link_refused(link) from None
            raise self._refusal(error, relative) from None

    def _make_folders(self, folder: str) -> int:
        """Opens a directory, making each component that is missing."""
        descriptor = os.dup(self.descriptor)
        done = ""
        for part in filter(None, folder.split("/")):
            done = posixpath.join(done, part)
            try:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=descriptor)
                deeper = self._no_link(done, _DIRECTORY)
            except OSError as error:
                raise self._refusal(error, done) from None
            finally:
                os.close(descriptor)
            descriptor = deeper
        return descriptor

    def _refuse_closed(self, folder: str, path: str) -> None:
        """Refuses a folder that lies in a git directory or an environment, whatever its name."""
        parts = folder.split("/") if folder else []
        for depth in range(len(parts) + 1):
            above = "/".join(parts[:depth])
            try:
                with self._opening(above) as descriptor:
                    names = frozenset(os.listdir(descriptor))
            except OSError:
                return  # missing, and so is all below; other errors come back when it is opened
            if is_git_directory(names):
                kind = "in a git directory"
            elif is_environment(names) and (above or parts[:1] in (["bin"], ["lib"])):
                kind = "in a virtual environment"
            else:
                continue
            raise ToolError(f"{_short(path)} is {kind}, which is not written here.")

    def _refuse_special(self, descriptor: int, name: str, relative: str) -> None:
        try:
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._refusal(error, relative) from None
        if stat.S_ISLNK(mode):
            raise self._link_refused(relative)
        if not stat.S_ISREG(mode):
            raise ToolError(f"{_short(relative)} is {_kind_name(mode)}, not a file.")

    def _is_file(self, relative: str) -> bool:
        """Whether a path is a file; it only chooses the words of a refusal."""
        with suppress(OSError), self._opening(relative, _FILE) as descriptor:
            return stat.S_ISREG(os.fstat(descriptor).st_mode)
        return False

    def _first_link(self, relative: str) -> str | None:
        """The path up to its first symbolic link; a hint, never a permission."""
        done = ""
        for part in relative.split("/"):
            folder, done = done, posixpath.join(done, part)
            try:
                with self._opening(folder) as descriptor:
                    found = os.stat(part, dir_fd=descriptor, follow_symlinks=False)
            except OSError:
                return None
            if stat.S_ISLNK(found.st_mode):
                return done
        return None

    def _target(self, link: str) -> str | None:
        """Where a link leads, relative to the root; None if it leads out or is no link any more."""
        folder, name = posixpath.split(link)
        with suppress(OSError, ToolError), self._opening(folder) as descriptor:
            return self.relative(posixpath.join(folder, os.readlink(name, dir_fd=descriptor)))
        return None

    def _behind(self, relative: str, link: str, asked: str) -> str:
        target = self._target(link)
        if target is None:
            raise self._outside(asked)
        return posixpath.normpath(posixpath.join(target, relative[len(link) :].lstrip("/")))

    def _link_refused(self, link: str) -> ToolError:
        target = self._target(link)
        leads = "out of the project" if target is None else f"to {_short(target)}: write there"
        return ToolError(f"{_short(link)} is a link that leads {leads}.")

    def _outside(self, path: str) -> ToolError:
        return ToolError(f"the path {_short(path)} is outside the project.")

    def _refusal(self, error: OSError, path: str) -> Exception:
        """The kernel's error in words for a model; a missing file stays a FileNotFoundError."""
        if isinstance(error, FileNotFoundError):
            return FileNotFoundError(path)
        if error.errno in (errno.EXDEV, errno.EAGAIN):
            return self._outside(path)
        if error.errno == errno.ENXIO:
            return ToolError(f"{_short(path)} is a socket.")
        if error.errno in _LINK_ERRORS:  # swapped while it was looked at
            return ToolError(f"{_short(path)} goes through something that is no directory.")
        return ToolError(f"{_short(path)}: {os.strerror(error.errno or errno.EIO)}.")


_SHELL_PATH = re.compile(r"~(?:/|\Z)|\$(?:[A-Z_]+|\{\w+\})(?:/|\Z)|%\w+%|[A-Za-z]:[\\/]|\w+://")
"""A path that begins with a home, a variable, a drive or a scheme."""
_LONGEST_PATH = 4096  # PATH_MAX
_LINK_ERRORS = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)
"""The errors of O_NOFOLLOW and RESOLVE_NO_SYMLINKS for a link: ELOOP, ENOTDIR where a directory
was asked for, EMLINK on some BSDs."""


def _is_name(text: str) -> bool:
    try:
        return len(os.fsencode(text)) <= _LONGEST_PATH
    except UnicodeEncodeError:
        return False


def is_protected(relative: str) -> bool:
    """Whether a relative path goes through a protected name.

    Names are compared as on file systems that fold them: without case, and without the invisible
    characters that HFS+ ignores (CVE-2014-9390).
    """
    return any(as_filed(part) in PROTECTED for part in relative.split("/"))


def is_git_directory(names: Container[str]) -> bool:
    """Whether git would take a folder for a repository, by what is in it (gitrepository-layout(5)).

    This covers bare repositories, the targets of `.git` files, and those of linked working trees.
    """
    return "HEAD" in names and ("commondir" in names or ("objects" in names and "refs" in names))


def is_environment(names: Container[str]) -> bool:
    """Whether a folder is a Python environment (venv or conda), by what is in it."""
    return "pyvenv.cfg" in names or "conda-meta" in names


def as_filed(name: str) -> str:
    """A name as a file system that folds names compares it."""
    normal = unicodedata.normalize("NFKC", name)
    return "".join(c for c in normal if unicodedata.category(c) != "Cf").casefold().rstrip(". ")


def _short(path: str) -> str:
    shown = spelled(path if len(path) <= 100 else f"{path[:100]}…")
    return f'"{shown}"'


def _kind_of(entry: os.DirEntry[str]) -> int:
    """The type of an entry; most file systems give it with the name, without a further call."""
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    if entry.is_symlink():
        return stat.S_IFLNK
    try:
        return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return 0


def _kind_name(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFREG: "a file",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")
