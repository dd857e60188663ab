"""What git's own files name: other folders, and programs that git would start.

In: paths of git directories and of their settings. Out: paths that decide what git runs, as they
are named there. Nothing here knows a project; `guarded` asks which of the paths lead through one.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice

_MOST_SETTINGS, _MOST_WORDS, _MOST_FILES = 5_000, 10_000, 20
"""How much of files is read that a command may have written: no honest ones have more."""
_LONGEST = 1 << 20  # bytes of a file of settings


def pointed_to(text: str) -> str | None:
    """The path that a file named `.git` points to, unchanged; see gitrepository-layout(5)."""
    head, _, path = text.partition(":")
    return path.strip() or None if head.strip() == "gitdir" else None


def links_in(folder: str) -> Iterator[str]:
    """The links directly in a folder: people keep hooks and settings elsewhere and link to them."""
    with suppress(OSError, ValueError), os.scandir(folder) as found:
        yield from [each.path for each in found if each.is_symlink()]


def second_names(folder: str) -> Iterator[int]:
    """Inodes of the files directly in a folder that have another name, which may lie anywhere."""
    with suppress(OSError, ValueError), os.scandir(folder) as found:
        files = [each.stat(follow_symlinks=False) for each in found]
        yield from [f.st_ino for f in files if stat.S_ISREG(f.st_mode) and f.st_nlink > 1]


def settings_of_everyone() -> list[str]:
    """The configuration files that apply to every repository of this user; see git-config(1)."""
    own = os.environ.get("GIT_CONFIG_GLOBAL")
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    files = [own] if own else [f"{home}/git/config", "~/.gitconfig"]
    return [os.environ.get("GIT_CONFIG_SYSTEM") or "/etc/gitconfig", *map(_expanded, files)]


def named_in_settings(files: Sequence[str], bases: Sequence[str]) -> Iterator[str]:
    """The paths in configuration files that decide what git runs; see git-config(1).

    Included files are read too. They, folders of hooks, and paths in settings that name a program
    are yielded even if they do not exist. From every other setting, the words that are existing
    files are yielded, since git may start them.

    Args:
        files: Absolute paths of the files.
        bases: Absolute folders that a path may be relative to.
    """
    pending, left = list(dict.fromkeys(files)), _MOST_WORDS
    for file in pending:  # grows by the files that are included
        for name, value in islice(settings_in(_text(file)), _MOST_SETTINGS):
            if name in _FOLDERS:
                yield from (posixpath.join(base, _expanded(value)) for base in bases)
            elif name in _INCLUDES and value:
                included = posixpath.join(posixpath.dirname(file), _expanded(value))
                yield included
                if included not in pending and len(pending) < _MOST_FILES:
                    pending.append(included)
            else:
                words = [word for word in _BETWEEN.split(value) if word][:left]
                left -= len(words)
                yield from _paths(words, bases, starts=_starts_programs(name, value))


_FOLDERS = frozenset({"core.hookspath", "init.templatedir"})
_INCLUDES = frozenset({"include.path", "includeif.path"})
_PROGRAMS = frozenset(
    {
        *("core.fsmonitor", "core.sshcommand", "core.editor", "core.pager", "core.askpass"),
        *("core.gitproxy", "core.alternaterefscommand", "filter.clean", "filter.smudge"),
        *("filter.process", "diff.external", "diff.command", "diff.textconv", "merge.driver"),
        *("mergetool.cmd", "mergetool.path", "difftool.cmd", "difftool.path", "gpg.program"),
        *("gpg.defaultkeycommand", "credential.helper", "sequence.editor", "trailer.cmd"),
        *("trailer.command", "interactive.difffilter", "uploadpack.packobjectshook"),
        *("remote.uploadpack", "remote.receivepack", "tar.command", "sendemail.sendmailcmd"),
    }
)
"""Settings whose value is a command line."""


def _starts_programs(name: str, value: str) -> bool:
    """Whether git takes a setting's value for a command line."""
    return name in _PROGRAMS or (
        value.startswith("!") and name.startswith(("alias.", "submodule."))
    )


_HEADER = re.compile(r'\[([\w-]+)(?:\.[^\]\s]*|\s+"(?:[^"\\\n]|\\.)*")?\s*\]')
_SETTING = re.compile(
    r"""([A-Za-z][\w-]*)[ \t]*                                    # its name
        (?:=((?:[^\\"#;\n]|\\[\s\S]|"(?:[^"\\\n]|\\[\s\S])*+")*+))?  # and value""",
    re.VERBOSE,
)
_ELSE = re.compile(r"[^\n]*\n?")
_ESCAPE = re.compile(r'\\([\s\S])|"')
_ESCAPED = {"n": "\n", "t": "\t", "b": "\b", "\n": ""}


def settings_in(text: str) -> Iterator[tuple[str, str]]:
    """The settings in a git configuration, each as a lower-case `section.name` and its value.

    Quotes, escapes, continued lines and comments are read as git reads them; a line that git
    refuses is skipped.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    section, at = "", 0
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif found := _HEADER.match(text, at):
            section, at = found[1].lower(), found.end()
        elif found := _SETTING.match(text, at):
            yield f"{section}.{found[1].lower()}", _read(found[2] or "")
            at = found.end()
        else:
            at = found.end() if (found := _ELSE.match(text, at)) else len(text)


def _read(value: str) -> str:
    """A value without quotes, escapes and the blanks around it: `my" hooks" ` is `my hooks`."""
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1] or "", found[1] or ""), value).strip()


_BETWEEN = re.compile(r"[\s\"'=;|&()<>!]+")


def _paths(words: Sequence[str], bases: Sequence[str], *, starts: bool) -> Iterator[str]:
    """The words that are existing files or, if a program `starts`, any path, existing or not."""
    for word in words:
        path = _expanded(os.path.expandvars(word))
        missing = starts and "/" in path and path[0] != "-" and "%" not in path
        for base in bases:
            there = posixpath.join(base, path)
            if missing or os.path.isfile(there):
                yield there


def _expanded(path: str) -> str:
    """A path as git and shells read it, where it begins with `~`."""
    return posixpath.expanduser(path)


def _text(path: str) -> str:
    """The text of a file; empty if there is none that can be read."""
    with suppress(OSError, ValueError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return file.read(_LONGEST).decode("utf-8", "surrogateescape")
    return ""
