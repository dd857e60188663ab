"""What git's own files name: other folders, and programs that git would start."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

_MOST_SETTINGS, _MOST_WORDS = 5_000, 10_000
"""What is looked at of a file that a command may have written: no honest one has more."""


def pointed_to(text: str) -> str | None:
    """Where a file named `.git` points, as it is written there; see gitrepository-layout(5)."""
    head, _, path = text.partition(":")
    return path.strip() or None if head.strip() == "gitdir" else None


def named_in_settings(text: str, bases: Sequence[str]) -> Iterator[str]:
    """The paths in a file of settings that decide what git runs; see git-config(1).

    Folders of hooks and included files count also where they are missing; of all other settings the
    words that are files: a filter, a driver or an alias may start them.

    Args:
        text: The file's text.
        bases: Absolute folders that a path may be relative to.
    """
    lines = (line.partition("=") for line in text.splitlines() if "=" in line)
    settings = list(islice(lines, _MOST_SETTINGS))
    for base in bases:
        for key, _, value in settings:
            if key.rpartition("]")[2].strip().lower() in ("path", "hookspath") and value.strip():
                yield posixpath.join(base, value.strip().strip('"'))
        for word in islice(_words(value for _, _, value in settings), _MOST_WORDS):
            if os.path.isfile(path := posixpath.join(base, word)):
                yield path


def _words(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        yield from filter(None, re.split(r"[\s\"';|&()<>!]+", value))
