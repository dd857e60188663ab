"""The script `agentkit`: what is to be done before the package is imported, and after a command.

Before: the import takes a second, on a busy machine several, in which Ctrl-C shall end the command
as it does later; and a standard stream may be closed. After: Python would wait for the threads of
tools that were given up, at Ctrl-C or at a timeout, and nothing can stop a thread.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType

_GRACE = 2.0  # seconds in which the threads of tools may come to their end


def main() -> None:
    """Runs the command and ends the process."""
    _open_closed_streams()
    try:
        code = _exit_code()
        _wait_for_threads()
    except KeyboardInterrupt:  # of a person who does not wait
        code = 130
        _say("agentkit: stopped")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader is gone, or it is closed
            stream.flush()
    if _threads():
        os._exit(code)
    sys.exit(code)


def _exit_code() -> int:
    # Not by a KeyboardInterrupt: of one in a class body, Python 3.11 makes another error.
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop_at_once)
    try:
        from agentkit.cli import main as command  # noqa: PLC0415 - Ctrl-C may come meanwhile

        signal.signal(signal.SIGINT, before)
        command()
    except SystemExit as end:
        if isinstance(end.code, str):
            _say(end.code)
            return 1
        return int(end.code or 0)
    return 0


def _stop_at_once(_number: int, _frame: FrameType | None) -> None:
    """Ends the process; nothing was begun yet."""
    _say("agentkit: stopped")
    os._exit(130)


def _say(line: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")


def _open_closed_streams() -> None:
    """Gives each standard stream that is closed an empty one in its place.

    Otherwise the next file that is opened, such as a journal, gets its number, and what a child
    process or a library writes to standard error goes there.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - stays open


def _threads() -> list[threading.Thread]:
    """The threads for which Python would wait."""
    here = threading.current_thread()
    return [thread for thread in threading.enumerate() if thread is not here and not thread.daemon]


def _wait_for_threads() -> None:
    until = time.monotonic() + _GRACE
    for thread in _threads():
        thread.join(max(0.0, until - time.monotonic()))
