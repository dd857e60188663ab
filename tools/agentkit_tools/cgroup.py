"""A control group that caps the number of processes, where this process may make one.

RLIMIT_NPROC does that for every user except root, to whom the kernel does not apply it; root may
usually make control groups instead. See cgroups(7), "The pids controller". Where neither works
(root in a container without them), a command is still stopped once it has too many processes, but
for a moment it may have had many more.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_PLACES = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/pids"))
"""The top of the hierarchy of version 2, and of version 1's hierarchy for this controller."""

_PATIENCE = 2.0  # seconds until the kernel has let go of ended processes


@contextmanager
def capped(processes: int) -> Generator[Sequence[str]]:
    """Yields a prefix for a command that limits it and its children to so many processes."""
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
            if limit.exists():  # otherwise this hierarchy lacks the controller, or is none
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
