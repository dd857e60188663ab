"""What commands must not change in a project, because something outside the sandbox runs it.

Three kinds count, wherever in the project they are:

- programs: the Python that runs this and its libraries, every virtual environment, helpers such as
  ripgrep, servers that this process starts, and what the loader of programs is told to use;
- modules: each folder of the project in which this Python looks for modules or has found one;
- git directories in every form, with the hooks and settings that they name.

They are searched for before every command, since a command, a person or a program may have made new
ones. They are closed in two ways. A `locked` path is read-only with all that is in it. A `sealed`
folder is one in which nothing is made, renamed, removed or changed, while folders in it stay
writable: this is for a missing name, for a link that could be exchanged, and for a project whose
own folder Python searches. The sandbox holds the folders on the way in place, so that none can be
exchanged as a whole (`sandbox`).
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.machinery import all_suffixes
from itertools import chain
from pathlib import Path

from agentkit import ToolError
from agentkit_tools.gitfiles import (
    links_in,
    named_in_settings,
    pointed_to,
    second_names,
    settings_of_everyone,
)
from agentkit_tools.paths import PROTECTED, Entry, Root, as_filed, is_environment, is_git_directory
from agentkit_tools.relied import (
    import_folders,
    linked_files,
    module_names,
    programs,
    started,
    trail,
)
from agentkit_tools.texts import spelled

_DEEPEST = 200  # levels of folders
_LONGEST_SETTINGS = 1 << 20  # bytes of a git configuration file
_IMPORTABLE = tuple(all_suffixes())


@dataclass(slots=True)
class Guarded:
    """What of a project is closed to commands; every key is a path relative to its root.

    Attributes:
        locked: Read-only with all that is in it → why.
        sealed: A folder whose own entries stay as they are → why.
        masked: Sockets and pipes at which a process outside may listen.
        git: Git directories → their device and inode.
    """

    locked: dict[str, str] = field(default_factory=dict)
    sealed: dict[str, str] = field(default_factory=dict)
    masked: set[str] = field(default_factory=set)
    git: dict[str, tuple[int, int]] = field(default_factory=dict)

    def covers(self, relative: str) -> bool:
        """Whether a path lies in something locked."""
        parts = relative.split("/")
        return any("/".join(parts[:n]) in self.locked for n in range(1, len(parts) + 1))

    def named(self) -> dict[str, str]:
        """The outermost closed paths → why, in order, as a person is told."""
        named = {
            spelled(path): why
            for path, why in self.locked.items()
            if not self.covers(posixpath.dirname(path) or ".")
        }
        for path, why in self.sealed.items():
            if path == ".":
                named["the files right in the project's folder"] = why
            elif not self.covers(path):
                named[f"{spelled(path)}/*"] = why
        return dict(sorted(named.items()))


def guarded(root: Root, *, environments: bool = True, before: Guarded | None = None) -> Guarded:
    """Searches a project for everything that commands must not change.

    Args:
        root: Root folder of the project.
        environments: False leaves virtual environments, and modules in them, open to commands.
        before: What was found before a command ran. A git directory or an environment that is not
            in it is searched too, since a command can put one git directory into another.
    """
    search = _Search(root, environments=environments, before=before)
    search.look_through()
    for path, why in chain(programs(), started(), import_folders()):
        if environments or not search.is_in_environment(path):
            search.rely_on(path, why)
    search.close_packages()
    return search.found


class _Search:
    """One search, which fills a `Guarded`."""

    def __init__(self, root: Root, *, environments: bool, before: Guarded | None) -> None:
        self._root = root
        self._before = before
        self._home = str(root.path)
        self._closes_environments = environments
        self._environments: list[str] = []
        self._code: list[str] = []  # folders with files that Python can import
        self._linked = dict.fromkeys(linked_files(), "a second name of what the agent imports")
        self._hooks: set[int] = set()  # inodes of what git runs and reads that have other names
        self.found = Guarded()

    def is_in_environment(self, path: str) -> bool:
        """Whether a path leads into a virtual environment of the project."""
        _, end = trail(path)
        inside = self._relative(end)
        return inside is not None and any(
            inside == found or inside.startswith(f"{found}/") for found in self._environments
        )

    def rely_on(self, path: str, why: str) -> None:
        """Closes the parts of an absolute path that lie in the project, links included."""
        links, end = trail(path)
        for link in links:
            if (inside := self._relative(link)) is not None:
                self.found.sealed.setdefault(posixpath.dirname(inside) or ".", why)
        inside = self._relative(end)
        if inside is None:
            return
        if inside == ".":
            self.found.sealed.setdefault(".", why)
        elif os.path.lexists(end):
            self.found.locked.setdefault(inside, why)
        else:
            self.found.sealed.setdefault(self._existing_folder(inside), f"{why} ({inside})")

    def _relative(self, path: str) -> str | None:
        if path == self._home:
            return "."
        prefix = self._home.rstrip("/") + "/"
        return path[len(prefix) :] if path.startswith(prefix) else None

    def _existing_folder(self, relative: str) -> str:
        """The innermost existing folder on the way to a missing path."""
        while relative and not os.path.isdir(f"{self._home}/{relative}"):
            relative = posixpath.dirname(relative)
        return relative or "."

    def close_packages(self) -> None:
        """Locks the folders in sealed ones that Python could import."""
        for folder in list(self.found.sealed):
            for name in folders_in(self._root, folder):
                path = _joined(folder, name)
                if _names_code(name) or self._holds_code(path):
                    self.found.locked.setdefault(path, "Python could import it")

    def _holds_code(self, folder: str) -> bool:
        return any(f"{found}/".startswith(f"{folder}/") for found in self._code)

    # --- the tree ------------------------------------------------------------------------------

    def look_through(self) -> None:
        """Walks the whole project, except for what is locked already."""
        self._walk()
        if self._hooks:  # another name may lie in a folder that the first walk has passed
            self._linked |= dict.fromkeys(self._hooks, "a second name of a file of git's")
            self._walk()

    def _walk(self) -> None:
        pending = ["."]
        while pending:
            folder = pending.pop()
            if folder.count("/") > _DEEPEST:
                self.found.locked.setdefault(folder, "too deep to be looked through")
                continue
            try:
                entries = self._look_into(folder)
            except FileNotFoundError:
                continue  # removed meanwhile
            except (OSError, ToolError):
                self._close_unreadable(folder)
                continue
            closed = self._is_closed(folder, entries)
            if not closed or (self._before is not None and folder not in self._before.locked):
                pending += self._deeper(folder, entries)

    def _look_into(self, folder: str) -> dict[str, int]:
        """The names in a folder → their types; locks second names of files that are relied on."""
        entries = self._root.entries(folder)
        for entry in entries:
            if entry.inode in self._linked and stat.S_ISREG(entry.kind):
                why = self._linked[entry.inode]
                self.found.locked.setdefault(_joined(folder, entry.name), why)
        if any(entry.name.endswith(_IMPORTABLE) for entry in entries):
            self._code.append(folder)
        return {entry.name: entry.kind for entry in entries}

    def _is_closed(self, folder: str, entries: Mapping[str, int]) -> bool:
        """Closes a folder if it is a git directory or environment; True if all of it is locked."""
        if is_git_directory(entries):
            self._close_git(folder, posixpath.dirname(folder))
        elif is_environment(entries):
            self._environments.append(folder)
            if not self._closes_environments:
                return False
            self._close_environment(folder, entries)
        else:
            return False
        return folder != "."

    def _close_environment(self, folder: str, entries: Mapping[str, int]) -> None:
        why = "a virtual environment"
        if folder != ".":
            self.found.locked.setdefault(folder, why)
            return
        self.found.sealed.setdefault(".", why)  # the project itself is one
        for name in entries:
            if as_filed(name) in _OF_ENVIRONMENTS:
                self.found.locked.setdefault(name, why)

    def _deeper(self, folder: str, entries: Mapping[str, int]) -> Iterator[str]:
        for name, mode in entries.items():
            path = _joined(folder, name)
            if as_filed(name) in PROTECTED:
                self._close_protected(path, folder, mode)
                if self._before is None or path in self._before.locked:
                    continue
            if stat.S_ISDIR(mode):
                yield path
            elif stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
                self.found.masked.add(path)

    def _close_protected(self, path: str, folder: str, mode: int) -> None:
        if as_filed(posixpath.basename(path)) != ".git":
            self.rely_on(f"{self._home}/{path}", "the agent's own folder")
        elif stat.S_ISREG(mode):
            self.found.locked.setdefault(path, "a pointer to a git directory")
            if pointer := pointed_to(self._text(path)):
                self._close_git_at(posixpath.join(self._home, folder, pointer), folder)
        else:
            self._close_git_at(f"{self._home}/{path}", folder)

    def _close_git_at(self, path: str, tree: str) -> None:
        """Closes the git directory at an absolute path, as far as that lies in the project."""
        self.rely_on(path, "a git directory")
        _, end = trail(path)
        if (inside := self._relative(end)) is not None and inside != ".":
            self._close_git(inside, tree)

    def _close_git(self, folder: str, tree: str) -> None:
        """Closes a git directory, and what its settings name.

        Args:
            folder: The git directory.
            tree: Its working tree.
        """
        if folder in self.found.git:
            return
        try:
            status = os.stat(f"{self._home}/{folder}")
        except OSError:
            return
        self.found.git[folder] = (status.st_dev, status.st_ino)
        if folder == ".":
            for entry in _entries(self._root, "."):
                if entry.name in _OF_GIT:
                    self.found.locked.setdefault(entry.name, "a git directory")
            self.found.sealed.setdefault(".", "a git directory")
        else:
            self.found.locked.setdefault(folder, "a git directory")
        self.found.masked.update(
            _joined(folder, entry.name)
            for entry in _entries(self._root, folder)
            if stat.S_ISSOCK(entry.kind)
        )
        here = posixpath.join(self._home, folder)
        if common := self._text(f"{folder}/commondir").strip():
            self._close_git_at(posixpath.join(here, common), tree)
        self._rely_on_folder(here, "a link of a git directory")
        self._rely_on_folder(f"{here}/hooks", "a hook of git")
        settings = [f"{here}/config", f"{here}/config.worktree", *settings_of_everyone()]
        for path in named_in_settings(settings, (here, posixpath.join(self._home, tree))):
            self._rely_on_folder(path, "named by git's settings")
            self.rely_on(path, "named by git's settings")

    def _rely_on_folder(self, folder: str, why: str) -> None:
        """Closes what the links in a folder lead to, and notes its files that have second names."""
        for link in links_in(folder):
            self.rely_on(link, why)
        self._hooks.update(second_names(folder))

    def _close_unreadable(self, folder: str) -> None:
        """Closes a folder that cannot be read; a command could make it readable again."""
        if folder == ".":
            self.found.sealed.setdefault(".", "it cannot be read")
            return
        why = "it cannot be read"
        try:
            os.close(self._root.open_path(folder))
        except (OSError, ToolError):
            folder = posixpath.dirname(folder)
        if folder:
            self.found.locked.setdefault(folder, why)
        else:
            self.found.sealed.setdefault(".", why)

    def _text(self, path: str) -> str:
        """The text of a small file; empty if it cannot be read."""
        if not os.path.lexists(f"{self._home}/{path}"):
            return ""  # `Root` would list every folder on the way, to find a name that looks alike
        try:
            return self._root.read(path, _LONGEST_SETTINGS).decode("utf-8", "surrogateescape")
        except (OSError, ToolError):
            return ""


_OF_ENVIRONMENTS = frozenset(
    {"bin", "lib", "lib64", "include", "share", "etc", "scripts", "pyvenv.cfg", "conda-meta"}
)
_OF_GIT = frozenset(
    {
        "HEAD",
        "config",
        "config.worktree",
        "hooks",
        "info",
        "objects",
        "refs",
        "modules",
        "worktrees",
    }
)


def folders_in(root: Root, folder: str) -> list[str]:
    """The names of the folders directly in a folder."""
    return [entry.name for entry in _entries(root, folder) if stat.S_ISDIR(entry.kind)]


def _joined(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _entries(root: Root, folder: str) -> Sequence[Entry]:
    """The entries of a folder; none if it cannot be read."""
    with suppress(OSError, ToolError):
        return root.entries(folder)
    return ()


def _names_code(name: str) -> bool:
    """Whether Python would import from a folder of that name, or has already."""
    return name.endswith((".egg-info", ".dist-info", ".egg")) or name in module_names()


def why_not_written(root: Root, relative: str) -> str | None:
    """Why even a tool that writes files must not write a path: it would run without a sandbox.

    A project's own code is allowed, even if the agent imports it: changing code is the work of such
    a tool, and the policy decides about that.

    Args:
        root: Root folder of the project.
        relative: The file, without links.
    """
    name = posixpath.basename(relative)
    if name.startswith(("sitecustomize.", "usercustomize.")):
        return "every Python runs it by itself"
    if name == "pyvenv.cfg":
        return "it tells Python where its libraries are"
    if any(part.endswith((".egg-info", ".dist-info")) for part in relative.split("/")):
        return "it says what Python is to load"
    here, new = str(root.path / relative), not os.path.lexists(root.path / relative)
    for path, why in programs():
        _, end = trail(path)
        inside = end != str(root.path) and Path(end).is_relative_to(root.path)
        if inside and (here == end or here.startswith(f"{end}/")):
            return why
    if new and name.partition(".")[0] in module_names():
        for folder, _ in import_folders():
            if trail(folder)[1] == posixpath.dirname(here):
                return "it would be imported instead of the module of that name"
    return None
