from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from agentkit.cli.terminal import Waiting

SHOWN, ERASED = "waiting for the model, 12 s", "\x1b[2K"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def waited(file: io.StringIO) -> str:
    """What a stream was sent until the end of a wait that began 12 seconds before it was shown."""
    waiting = Waiting(Console(file=file, width=80))
    waiting.begin(time.monotonic() - 12.1)
    waiting.end()
    waiting.end()
    return file.getvalue()


@pytest.fixture(autouse=True)
def _any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_a_terminal_is_told_the_seconds_and_nothing_stays_of_it() -> None:
    text = waited(Terminal())
    assert SHOWN in text
    assert ERASED in text[text.rindex(SHOWN) :]


def test_a_stream_that_is_no_terminal_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited(io.StringIO()) == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert waited(io.StringIO()) == ""


def test_a_terminal_that_cannot_erase_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert waited(Terminal()) == ""
