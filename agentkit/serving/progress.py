"""One line that says what is going on, for work that takes minutes."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

Progress = Callable[[str], None]
"""Told a sentence now and then; never raises, never blocks for long."""

_TAIL_BYTES = 4096
_PLAIN_EVERY_SECONDS = 10.0


def last_line(log: Path) -> str:
    """The last line with something on it in a log that is still being written, or `""`."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            lines = file.read().decode("utf-8", errors="replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def progress_line(what: str, out: TextIO | None = None) -> Progress:
    """A `Progress` that shows elapsed seconds and a detail.

    A terminal sees one line rewritten in place; a file or a CI log gets a line every ten seconds.

    Args:
        what: The work, as in `starting vLLM`.
        out: Where to write; standard error unless given.
    """
    stream = out or sys.stderr
    live = stream.isatty()
    started = shown = time.monotonic()

    def show(detail: str) -> None:
        nonlocal shown
        now = time.monotonic()
        text = f"{what}: {now - started:.0f} s"
        if live:
            width = shutil.get_terminal_size().columns - 1
            stream.write("\r" + f"{text}  {detail}"[:width].ljust(width))
        elif now - shown >= _PLAIN_EVERY_SECONDS:
            shown = now
            stream.write(f"{text}  {detail[:120]}\n")
        stream.flush()

    return show
