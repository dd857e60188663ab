"""A control group that caps the number of processes, where this process may make one.

RLIMIT_NPROC does that for everybody but root, whom the kernel does not hold to it; root, on the
other hand, may usually make control groups. See cgroups(7), "The pids controller". Where neither
works (root in a container without them), a command is still stopped once it has too many, but it
can have had many more for a moment.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_PLACES = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/pids"))
"""The top of the hierarchy of version 2, and of the one of version 1 that has this controller."""

_PATIENCE = 2.0  # seconds until the kernel has let go of ended processes


@contextmanager
def capped(processes: int) -> Generator[Sequence[str]]:
    """What to put before a command, so that it and what it starts are at most so many processes."""
    group = _made(processes) if os.geteuid() == 0 else None
    if group is None:
        yield ()
        return
    try:
        yield ("/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"))
    finally:
        _removed(group)


def _made(processes: int) -> Path | None:
    for place in _PLACES:
        group = place / f"agentkit-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            group.mkdir()
        except OSError:
            continue
        limit = group / "pids.max"
        with suppress(OSError):
            if limit.exists():  # else this is no such hierarchy, or no hierarchy at all
                limit.write_text(str(processes))
                return group
        _removed(group)
    return None


def _removed(group: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # busy
            time.sleep(0.005)
        else:
            return
