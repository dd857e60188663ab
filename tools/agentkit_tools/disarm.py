"""Takes out of git directories that a command made what git would run by itself.

No command can change a git directory that existed before it. One that the command makes, by
`git init` or by hand, may contain anything, and the next call of git there would run it: hooks,
and programs that settings name (`core.fsmonitor`, filters, `core.sshCommand`; git-config(1)). So
after a command, the hooks and settings of new git directories are renamed, unless they are as
`git init` and `git clone` write them.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import suppress

from agentkit import ToolError
from agentkit_tools.guarded import Guarded
from agentkit_tools.paths import Root

ASIDE = ".made-by-a-command"
"""End of the name under which something is set aside."""

_LONGEST = 100_000  # bytes of settings that are looked at
_SECTION = re.compile(r'\[(\w+)(?:\s+"[^"\\\n]*")?\]')
_SETTING = re.compile(r"(\w+)\s*=\s*([^\\\n]*)")
_HARMLESS = frozenset(
    {
        *("core.repositoryformatversion", "core.filemode", "core.bare", "core.logallrefupdates"),
        *("core.ignorecase", "core.precomposeunicode", "core.symlinks", "core.autocrlf"),
        *("remote.url", "remote.fetch", "branch.remote", "branch.merge", "branch.rebase"),
        *("user.name", "user.email", "init.defaultbranch", "pull.rebase", "push.default"),
        *("extensions.objectformat", "extensions.refstorage"),
    }
)
"""Settings that make git run nothing."""


def disarmed(root: Root, before: Guarded, after: Guarded) -> list[str]:
    """Sets aside what git would run in new git directories.

    Args:
        root: Root folder of the project.
        before: What was found before the command.
        after: What is found now that none of its processes is left.

    Returns:
        The old names of the paths that were set aside.
    """
    known = set(before.git.values())
    new = [folder for folder, identity in sorted(after.git.items()) if identity not in known]
    return [path for folder in new for path in _disarmed(root, folder)]


def _disarmed(root: Root, folder: str) -> Iterator[str]:
    for name in ("config", "config.worktree"):
        path = posixpath.normpath(f"{folder}/{name}")
        if _is_there(root, path) and not _is_harmless(root, path):
            yield _set_aside(root, path)
    hooks = posixpath.normpath(f"{folder}/hooks")
    if _is_there(root, hooks) and _has_hooks(root, hooks):
        yield _set_aside(root, hooks)


def _is_there(root: Root, path: str) -> bool:
    return os.path.lexists(root.path / path)


def _has_hooks(root: Root, path: str) -> bool:
    """Whether a folder holds more than the samples that `git init` writes."""
    try:
        descriptor = root.open_path(path)  # a link is not followed, and so set aside
        os.close(descriptor)
        descriptor = root.open_directory(path)
    except (OSError, ToolError):
        return True
    try:
        return any(not name.endswith(".sample") for name in os.listdir(descriptor))
    finally:
        os.close(descriptor)


def _is_harmless(root: Root, path: str) -> bool:
    try:
        with os.fdopen(root.open_any(path), "rb") as file:
            content = file.read(_LONGEST + 1)
        return len(content) <= _LONGEST and all(_settings_are_harmless(content.decode("utf-8")))
    except (OSError, ToolError, UnicodeDecodeError):
        return False


def _settings_are_harmless(text: str) -> Iterator[bool]:
    """Yields for each setting whether it is harmless; a line that is not understood is not."""
    section = ""
    for line in map(str.strip, text.split("\n")):
        if not line or line[0] in "#;":
            continue
        if header := _SECTION.fullmatch(line):
            section = header[1].lower()
        elif setting := _SETTING.fullmatch(line):
            name = f"{section}.{setting[1].lower()}"
            address = setting[2].replace('"', "")  # git takes quotes out wherever they stand
            yield name in _HARMLESS and (name != "remote.url" or "::" not in address)
        else:
            yield False


def _set_aside(root: Root, path: str) -> str:
    folder, name = posixpath.split(path)
    descriptor = root.open_directory(folder or ".")
    try:
        with suppress(OSError):
            os.fchmod(descriptor, 0o700)  # a command may have taken our own permission away
        aside, number = f"{name}{ASIDE}", 0
        while os.path.lexists(root.path / folder / aside):
            number += 1
            aside = f"{name}{ASIDE}-{number}"
        os.rename(name, aside, src_dir_fd=descriptor, dst_dir_fd=descriptor)
    finally:
        os.close(descriptor)
    return path
