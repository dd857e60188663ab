"""A small parent process, run as a script, that ends everything that it started.

- `python -I supervisor.py worker LIFELINE CHANNEL SYS_PATH` forks a worker, which serves calls from
  the socket CHANNEL. At the end every process is killed at once.
- `python -I supervisor.py command GRACE COMMAND...` runs a command, such as a model server; its own
  standard input is the lifeline. At the end processes are asked first (SIGTERM) and killed GRACE
  seconds later. vLLM is several processes, and an engine core that loses its API server may go on
  holding its memory.

Then it only watches. The end comes when the lifeline closes, because the owner closed it or is
gone (`kill -9` included), when the child ends, or, for a command, by a SIGTERM to the supervisor.
It exits with the child's code, once no descendant is left. If the supervisor itself is killed, the
kernel signals the child (PR_SET_PDEATHSIG): SIGKILL for a worker, SIGTERM for a command, on which
vLLM ends its workers.

On Linux it is the reaper of every orphan below it (PR_SET_CHILD_SUBREAPER, prctl(2)): a process
that changed its session or was forked twice is still its descendant and is still found. Elsewhere
only the child's process group can be. The standard library alone: it must start in milliseconds,
is forked from before anything heavy is imported, and runs no code of a tool.
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
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PAUSE = 0.002
"""Seconds for a killed process to be gone."""
_GRACE_PAUSE = 0.1
"""Seconds between looks at processes that were asked to end: a server takes seconds for it."""


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
    """Kills and reaps the descendants of this process until none is left; cheap without any."""
    while True:
        try:  # whether any child is left, without collecting it
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        for pid in descendants(os.getpid()) if sys.platform == "linux" else ():
            _signal(os.kill, pid, signal.SIGKILL)
        _reap()
        time.sleep(_PAUSE)


def _reap() -> dict[int, int]:
    """Collects the children that ended, orphans too; their status by process id."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while (pair := os.waitpid(-1, os.WNOHANG))[0]:
            ended[pair[0]] = pair[1]
    return ended


def _signal(send: Callable[[int, int], None], target: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        send(target, number)


# --- what is started -----------------------------------------------------------------------------


def _work(lifeline: int, channel: int, path: str) -> None:
    """The worker: the program's own modules are found as in the process that started it."""
    os.close(lifeline)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    sys.path[:] = json.loads(path)
    from agentkit.executors.process import serve  # noqa: PLC0415 - not for the supervisor

    serve(channel)


def _started(command: list[str]) -> int:
    """The process of a command, in a session of its own, with nothing to read."""
    import subprocess  # noqa: PLC0415 - a worker starts sooner without

    process = subprocess.Popen(  # noqa: S603 - the owner's own command
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509 - one thread
    )
    process.returncode = 0  # `_reap` collects it, not its object
    return process.pid


# --- what is watched -----------------------------------------------------------------------------


def _watch(child: int, lifeline: int, asked: list[int]) -> int | None:
    """Waits until the child ends, the owner closes the lifeline, or a signal asks for the end.

    Returns:
        The child's status; None if it has not ended.
    """
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    while child not in (ended := _reap()):
        if asked:
            return None
        ready = select.select([lifeline, woken], [], [])[0]
        if lifeline in ready and not os.read(lifeline, 1):
            return None
        if woken in ready:
            os.read(woken, 64)
    return ended[child]


def _end_with_grace(child: int, status: int | None, grace: float) -> int:
    """Asks all processes of a command to end, then forces them; the command's own status."""
    _signal(os.killpg, child, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while left := _left_of(child):
        if time.monotonic() > deadline:
            _signal(os.killpg, child, signal.SIGKILL)
            for pid in left:
                _signal(os.kill, pid, signal.SIGKILL)
        time.sleep(_GRACE_PAUSE)
        status = _reap().get(child, status)
    return os.waitpid(child, 0)[1] if status is None else status


def _left_of(child: int) -> set[int]:
    """The living processes of a command."""
    if sys.platform == "linux":
        return descendants(os.getpid())
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, 0)
        return {child}
    return set()


def main(arguments: list[str]) -> int:
    """Runs a worker or a command to its end.

    Args:
        arguments: `worker`, the numbers of two open files and the worker's `sys.path` as JSON; or
            `command`, the seconds between SIGTERM and SIGKILL, and a command line.

    Returns:
        The child's exit code; 128 + the signal that ended it, as in a shell.
    """
    kind, *rest = arguments
    # Only the owner decides when it is over: a Ctrl-C in the terminal reaches the owner too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    adopt_orphans()
    if kind == "command":
        asked: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
        child = _started(rest[1:])
        status = _watch(child, sys.stdin.fileno(), asked)
        status = _end_with_grace(child, status, float(rest[0]))
    else:
        lifeline, channel = int(rest[0]), int(rest[1])
        child = os.fork()
        if child == 0:
            _work(lifeline, channel, rest[2])
            return 0
        os.close(channel)
        status = _watch(child, lifeline, [])
        if status is None:
            _signal(os.killpg, child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]  # its own code, if it was ending by itself already
        end_descendants()
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
