"""What the agent's own process executes or imports on this machine, outside any sandbox.

In: nothing but this process. Out: paths, each with the reason why it counts. Nothing here knows a
project; `guarded` finds out which of these paths lead through one.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import site
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from agentkit.toolset.options import launched
from agentkit.trace import runs_directory

_MOST_LINKS = 40  # as the kernel has it, path_resolution(7)


def trail(path: str) -> tuple[list[str], str]:
    """Follows a path as the kernel would.

    Returns:
        Every link on the way, and where the way ends: absolute paths that go through no link. The
        end need not exist.
    """
    pending = os.path.join(os.getcwd(), path).split("/")[::-1]
    links: list[str] = []
    here = ""
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = posixpath.dirname(here).rstrip("/")
            continue
        here = f"{here}/{name}"
        try:
            target = os.readlink(here)
        except OSError:
            continue  # no link, or nothing
        if len(links) == _MOST_LINKS:
            break
        links.append(here)
        pending += target.split("/")[::-1]
        here = "" if target.startswith("/") else posixpath.dirname(here).rstrip("/")
    return links, here or "/"


_LOADER = ("LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT", "GCONV_PATH", "OPENSSL_CONF")
"""Environment variables by which ld.so(8) and Python's libraries find code."""


def programs() -> Iterator[tuple[str, str]]:
    """Paths of programs that run outside, and why they count."""
    for prefix in dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix)):
        for path in (prefix, f"{prefix}/bin", f"{prefix}/lib"):  # the project may be the prefix
            yield path, "the Python that runs the agent"
    yield sys.executable, "the Python that runs the agent"
    for name in _LOADER:
        for path in re.split(r"[:;\s]+", os.environ.get(name, "")):
            if path:
                yield path, f"named by {name}"
    for path in filter(os.path.isdir, os.get_exec_path()):
        yield path, "a folder of PATH"
    if (runs := runs_directory()) is not None:
        yield str(runs), "records of runs"


def started() -> Iterator[tuple[str, str]]:
    """Paths of what this process starts outside the sandbox, such as MCP servers."""
    for launch in launched():
        for path in _launched_files(launch.command, launch.folder):
            yield path, f"started outside the sandbox ({launch.command[0]})"


def _launched_files(command: tuple[str, ...], folder: str) -> Iterator[str]:
    """The files that a command line names, and the folders in which scripts look around."""
    if (program := shutil.which(command[0], path=os.environ.get("PATH"))) is not None:
        yield os.path.join(folder, program)
    for word in command:
        path = os.path.join(folder, word.rpartition("=")[2])
        if os.path.isfile(path):
            yield path
            if path.endswith(_SCRIPTS):
                yield posixpath.dirname(path)
                yield from _node_modules(posixpath.dirname(path))
    yield from _node_modules(folder)


def _node_modules(folder: str) -> Iterator[str]:
    """Where Node.js looks for packages from a folder on; see its documentation of modules."""
    while folder != (folder := posixpath.dirname(above := folder)):
        if os.path.isdir(path := f"{above}/node_modules"):
            yield path


_SCRIPTS = (".py", ".js", ".mjs", ".cjs", ".ts", ".rb", ".pl", ".sh")


def import_folders() -> Iterator[tuple[str, str]]:
    """The folders where this Python looks for modules and where it found the loaded ones."""
    folders: dict[str, str] = {}
    for entry in sys.path:
        folders.setdefault(entry or os.getcwd(), "Python looks for modules here")
    if site.ENABLE_USER_SITE:
        folders.setdefault(site.getusersitepackages(), "Python looks for modules here")
    if sys.pycache_prefix:
        folders.setdefault(sys.pycache_prefix, "compiled modules")
    for name, module in list(sys.modules.items()):
        content = getattr(module, "__dict__", {})
        for folder in _folders_of(name, content):
            folders.setdefault(folder, f"the agent imports {_known_as(name, content)} from here")
    for folder in _named_by_finders():
        folders.setdefault(folder, "installed for editing")
    return iter(folders.items())


def _known_as(name: str, module: Mapping[str, object]) -> str:
    """The name by which a person knows a module; its file's, if it was loaded by path."""
    file = posixpath.basename(str(module.get("__file__", "")))
    by_path = "." not in name and not file.startswith((f"{name}.", "__init__."))
    return file if by_path and file else name.partition(".")[0]


def _folders_of(name: str, module: Mapping[str, object]) -> Iterator[str]:
    """The folders of a loaded module and its packages, up to the entry of `sys.path`."""
    file, depth = module.get("__file__"), name.count(".")
    if isinstance(file, str):
        if posixpath.basename(file).startswith("__init__."):
            depth += 1
        yield from _upwards(posixpath.dirname(os.path.join(os.getcwd(), file)), depth)
    elif "__path__" in module:  # a package without a file of its own
        for folder in _texts(module["__path__"]):
            yield from _upwards(folder, depth + 1)


def _named_by_finders() -> Iterator[str]:
    """Folders that the finders of editable installs in `sys.meta_path` name.

    Each build tool keeps them elsewhere: setuptools in its module, editables in a class,
    scikit-build-core in an object. So all absolute paths in any of these are taken.
    """
    for finder in sys.meta_path:
        own = finder if isinstance(finder, type) else type(finder)
        if own.__module__.partition(".")[0].lstrip("_") in ("frozen_importlib", "importlib"):
            continue
        module = sys.modules.get(own.__module__)
        for holder in (finder, own, module):
            for value in list(getattr(holder, "__dict__", {}).values()):
                for path in _texts(value, levels=3):
                    if os.path.isabs(path):
                        yield posixpath.dirname(path) if os.path.isfile(path) else path


def _texts(found: object, levels: int = 1) -> Iterator[str]:
    """The strings and paths in a value, and in its items down to so many levels."""
    if isinstance(found, str | Path):
        yield str(found)
    elif levels and isinstance(found, Mapping):
        for item in list(found.values()):
            yield from _texts(item, levels - 1)
    elif levels and isinstance(found, Iterable) and not isinstance(found, bytes | Iterator):
        for item in found:
            yield from _texts(item, levels - 1)


def _upwards(folder: str, levels: int) -> Iterator[str]:
    yield folder
    for _ in range(levels):
        yield (folder := posixpath.dirname(folder))


def linked_files() -> frozenset[int]:
    """Inodes of loaded files and of started programs that have more than one hard link.

    Some tools install by hard links, and another name may lie anywhere, also where commands write.
    """
    found: set[int] = set()
    for module in list(sys.modules.values()):
        for attribute in ("__file__", "__cached__"):
            file = getattr(module, "__dict__", {}).get(attribute)
            if isinstance(file, str):
                found.update(_linked(file))
    for launch in launched():
        found.update(_linked(os.path.join(launch.folder, launch.command[0])))
    return frozenset(found)


@cache
def _linked(file: str) -> tuple[int, ...]:
    with suppress(OSError):
        status = os.stat(file)
        return (status.st_ino,) if status.st_nlink > 1 else ()
    return ()


def module_names() -> frozenset[str]:
    """The top-level names that this Python has imported or may import."""
    loaded = {name.partition(".")[0] for name in list(sys.modules)}
    return frozenset({"__pycache__", *loaded}) | _findable_names(tuple(sys.path))


@cache
def _findable_names(path: tuple[str, ...]) -> frozenset[str]:
    names = {"sitecustomize", "usercustomize", *sys.stdlib_module_names}
    for folder in map(Path, path):
        if folder.name in ("site-packages", "dist-packages"):
            with suppress(OSError):
                names |= {entry.partition(".")[0] for entry in os.listdir(folder)}
    return frozenset(names)
