"""Keeps one worker process and lets nothing of it live on. Run as a script.

`python -I supervisor.py LIFELINE CHANNEL SYS_PATH`: it forks the worker, which serves calls from
the socket CHANNEL, and then only watches. When the pipe LIFELINE closes, because the executor wants
it so or because its process is gone (`kill -9` included), or when the worker ends, it kills every
descendant and exits with the worker's code when none is left.

On Linux it is the reaper of every orphan below it (PR_SET_CHILD_SUBREAPER, prctl(2)): a process
that changed its session or was forked twice is still its descendant and is still found. Elsewhere
only the worker's process group can be. The standard library alone: it is forked from before
anything heavy is imported, and runs no code of a tool.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PAUSE = 0.002
"""Seconds for a killed process to be gone."""


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def adopt_orphans() -> None:
    """Makes this process the parent of every orphan below it (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants(root: int) -> set[int]:
    """The living processes below `root` (Linux); zombies hold nothing and are left out."""
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="latin-1") as stat:
            # The command's name may hold spaces and brackets: fields start after the last ")".
            state, parent = stat.read().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(name)] = int(parent)
    found: set[int] = set()
    frontier = {root}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found


def end_descendants() -> None:
    """Kills and reaps all that is below this process, until nothing is: cheap if nothing is."""
    while _has_children():
        for pid in descendants(os.getpid()) if sys.platform == "linux" else ():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(_PAUSE)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reap() -> dict[int, int]:
    """Who ended, with their status."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while (pair := os.waitpid(-1, os.WNOHANG))[0]:
            ended[pair[0]] = pair[1]
    return ended


def _work(channel: int, path: str) -> None:
    """The worker: the program's own modules are found as in the process that started it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    sys.path[:] = json.loads(path)
    from agentkit.executors.remote import serve  # noqa: PLC0415 - not for the supervisor

    serve(channel)


def _watch(worker: int, lifeline: int, woken: int) -> int:
    """Waits for the end of the worker or of whoever holds the lifeline; the worker's status."""
    while worker not in (ended := _reap()):
        if lifeline in select.select([lifeline, woken], [], [])[0]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(worker, signal.SIGKILL)
            return os.waitpid(worker, 0)[1]  # its own code, if it was ending by itself already
        os.read(woken, 64)
    return ended[worker]


def main(arguments: list[str]) -> int:
    """Runs one worker to its end.

    Args:
        arguments: Numbers of two open files, and the worker's `sys.path` as JSON.

    Returns:
        The worker's exit code; 128 + the signal that ended it.
    """
    lifeline, channel = int(arguments[0]), int(arguments[1])
    # Only the executor decides when it is over: a Ctrl-C in the terminal is not meant for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    adopt_orphans()
    worker = os.fork()
    if worker == 0:
        os.close(lifeline)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _work(channel, arguments[2])
        return 0
    os.close(channel)
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    code = os.waitstatus_to_exitcode(_watch(worker, lifeline, woken))
    end_descendants()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
