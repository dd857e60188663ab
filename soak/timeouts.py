"""300 calls with trees of processes, ended by a timeout, a cancellation at a random moment or the
agent's death by SIGKILL: no process is left, whatever session or parent it has chosen.
"""

from __future__ import annotations

import sys

from soak.proof import prove
from tests.executors.surviving import try_all

_BATCHES = 20
_TRIES = 15


def batch(number: int) -> dict[str, int]:
    """A worker pool of its own."""
    return {"tries": _TRIES, "processes left": 0} | try_all(number, _TRIES)


if __name__ == "__main__":
    sys.exit(prove("timeouts", _BATCHES, batch))
