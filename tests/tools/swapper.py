"""Swaps a folder and a file for links that lead out of the project, and back, for ever."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def swap(name: str) -> None:
    """There, gone, a link, gone, and there again."""
    with suppress(OSError):  # whatever the other side has just put in its place
        os.rename(name, f"{name}-aside")
        os.rename(f"{name}-link", name)
        os.rename(name, f"{name}-link")
        os.rename(f"{name}-aside", name)


def put_back(name: str) -> None:
    """After a write has landed between the renames."""
    if not os.path.lexists(f"{name}-link"):
        with suppress(OSError):
            os.symlink("../outside" if name == "dir" else "../outside/file", f"{name}-link")
    if os.path.lexists(f"{name}-aside"):
        with suppress(OSError):
            os.rename(f"{name}-aside", name)


def main() -> None:
    """Swaps."""
    os.chdir(sys.argv[1])
    while True:
        for name in ("dir", "file"):
            swap(name)
            put_back(name)


if __name__ == "__main__":
    main()
