"""A terminal that is not there: a program runs in it, keys go in, and what stands on the screen can
be read. pexpect makes the terminal, pyte draws what is written to it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Self

import pexpect
import pyte

_PATIENCE = 60.0  # seconds until something must stand on the screen, on a busy machine
ALT_ENTER = "\x1b\r"
CTRL_C, CTRL_D, CTRL_U, TAB, ENTER, UP = "\x03", "\x04", "\x15", "\t", "\r", "\x1b[A"


class _Screen(pyte.HistoryScreen):
    """Answers when it is asked where the cursor is, as terminals do."""

    answer: Callable[[str], object] = staticmethod(lambda _text: None)

    def write_process_input(self, data: str) -> None:
        self.answer(data)


class Terminal:
    """`agentkit` in a terminal.

    Args:
        arguments: Of the command.
        env: The whole environment.
        columns: Of the terminal.
    """

    def __init__(
        self, arguments: list[str], env: Mapping[str, str], columns: int = 120, rows: int = 40
    ) -> None:
        self._screen = _Screen(columns, rows, history=10_000, ratio=0.5)
        self._stream = pyte.ByteStream(self._screen)
        self._process = pexpect.spawn(
            sys.executable,
            ["-m", "agentkit", *arguments],
            env=dict(env),
            dimensions=(rows, columns),
        )
        self._process.delaybeforesend = None
        self._screen.answer = self._process.send
        self.raw = b""
        self._seen: list[str] = []
        self._drawn: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.close(force=True)

    def press(self, keys: str) -> None:
        """Sends keys as a terminal does."""
        self._process.send(keys)

    def type(self, line: str) -> None:
        """A line and Enter."""
        self.press(line + ENTER)

    @property
    def lines(self) -> list[str]:
        """What stands on the screen, without blanks at the ends."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def all(self) -> str:
        """What went by as well."""
        if self._drawn is None:
            rows = self._screen.history.top
            columns = range(self._screen.columns)
            gone = ("".join(row[x].data for x in columns).rstrip() for row in rows)
            self._drawn = "\n".join([*gone, *self.lines])
        return self._drawn

    def until(self, *texts: str) -> str:
        """Waits until all of these stand on the screen or went by; what is to be seen then."""
        end = time.monotonic() + _PATIENCE
        while not all(text in self.all for text in texts):
            assert time.monotonic() < end, f"{texts} never came:\n{self.all}"
            self._read(0.2)
        return self.all

    def until_new(self, *texts: str) -> str:
        """Waits until all of these stand in what has changed since the last call, wherever the
        terminal breaks its lines; all that is to be seen then.
        """
        end = time.monotonic() + _PATIENCE
        wanted = ["".join(text.split()) for text in texts]
        while not self._has_changed_to(wanted):
            assert time.monotonic() < end, f"{texts} never came:\n{self.all}"
            self._read(0.2)
        self._seen = self.all.split("\n")
        return self.all

    def _has_changed_to(self, wanted: list[str]) -> bool:
        """Whether all of it stands in what is another than at the last call, without blanks."""
        lines = self.all.split("\n")
        pairs = enumerate(zip(lines, self._seen, strict=False))
        shorter = min(len(lines), len(self._seen))
        same = next((at for at, (now, then) in pairs if now != then), shorter)
        changed = "".join("".join(lines[same:]).split())
        return all(text in changed for text in wanted)

    def until_gone(self, text: str) -> None:
        """Waits until this stands on the screen no more."""
        end = time.monotonic() + _PATIENCE
        while text in "\n".join(self.lines):
            assert time.monotonic() < end, f"{text} stays:\n{self.all}"
            self._read(0.2)

    def until_it_ends(self) -> int:
        """Waits for the program; its exit code."""
        end = time.monotonic() + _PATIENCE
        while self._process.isalive():
            assert time.monotonic() < end, f"it does not end:\n{self.all}"
            self._read(0.2)
        self._read(0.1)
        self._process.close()
        return int(self._process.exitstatus or 0)

    def _read(self, seconds: float) -> None:
        with suppress(pexpect.TIMEOUT, pexpect.EOF):
            read: bytes = self._process.read_nonblocking(65_536, seconds)
            self.raw += read
            self._stream.feed(read)
            self._drawn = None
