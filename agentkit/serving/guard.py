"""A small parent process that lets nothing of a server outlive its owner.

Run as a script: `python guard.py GRACE_SECONDS COMMAND...`. It starts COMMAND in a session of
its own and ends it when its own standard input closes, which happens however the owner ends:
by asking, by an exception, by Ctrl-C or by `kill -9`; a SIGTERM to the guard does the same. It
exits only when no descendant is left, with COMMAND's own exit code. Should the guard itself be
killed, the kernel sends COMMAND a SIGTERM (PR_SET_PDEATHSIG), on which vLLM ends its workers.

vLLM is several processes, and an engine core that loses its API server may go on holding its
memory. So on Linux the guard declares itself the reaper of every orphan below it
(PR_SET_CHILD_SUBREAPER, prctl(2)): a worker that changed its session is still its child and is
still found. The standard library alone: it must start in milliseconds and import nothing that
could fail.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.1


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _end_with_guard() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _parents() -> dict[int, int]:
    """Every process and its parent; zombies are left out, for they hold nothing."""
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="latin-1") as stat:
            # The command's name may hold spaces and brackets: the fields start after the last ")".
            state, parent = stat.read().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(name)] = int(parent)
    return parents


def descendants(root: int) -> set[int]:
    """The living processes below `root` (Linux)."""
    parents = _parents()
    found: set[int] = set()
    frontier = {root}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found


def _alive(leader: int) -> set[int]:
    if sys.platform == "linux":
        return descendants(os.getpid())
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, 0)
        return {leader}
    return set()


def _signal(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
    if number is signal.SIGKILL:
        for pid in _alive(leader):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def _reap(child: subprocess.Popen[bytes]) -> None:
    """Collect whoever ended, the orphans handed to us too: zombies would keep their ids."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child.pid:
                child.returncode = os.waitstatus_to_exitcode(ended[1])


def _end(child: subprocess.Popen[bytes], grace: float) -> None:
    """Ask, then force, then wait until nothing is left."""
    _signal(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while _alive(child.pid):
        if time.monotonic() > deadline:
            _signal(child.pid, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
        _reap(child)


def main(arguments: list[str]) -> int:
    """Run a command until it ends or standard input closes.

    Args:
        arguments: Seconds between SIGTERM and SIGKILL, then the command.

    Returns:
        The command's exit code; negative signal numbers become 128 + number as in a shell.
    """
    # Only the owner decides when it is over: a Ctrl-C in the terminal reaches the owner too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    grace = float(arguments[0])
    child = subprocess.Popen(  # noqa: S603  the owner's own command
        arguments[1:],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_end_with_guard,  # noqa: PLW1509  this process has one thread
    )
    while child.poll() is None and not asked:
        readable, _, _ = select.select([sys.stdin], [], [], _POLL_SECONDS)
        if readable and not os.read(sys.stdin.fileno(), 1):
            break
    _end(child, grace)
    code = child.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
