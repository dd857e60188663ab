"""Path operations against a process that swaps links, and every attempt to leave the sandbox."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from soak.proof import prove
from tests.tools.attempts import ATTEMPTS, HEAVY
from tests.tools.escaping import NOBODY, as_user, try_all, try_heavy, world
from tests.tools.racing import race

_BATCHES = 40
_OPERATIONS = 5_000
_MEMORY = "/dev/shm"  # noqa: S108 - a write waits for its disk, and there are many


def batch(number: int) -> dict[str, int]:
    """A race, and each attempt once: as this user, or in every second batch as a plain one."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=_MEMORY if os.path.isdir(_MEMORY) else None) as folder:
        for name, count in race(Path(folder), _OPERATIONS, seed=number).items():
            counts[f"raced: {name}"] += count
    plain = number % 2 == 1 and os.geteuid() == 0
    if plain:
        signs = as_user(NOBODY, "--each")
    else:
        with tempfile.TemporaryDirectory() as folder, world(Path(folder) / "world") as there:
            signs = {**try_all(there, ATTEMPTS), **try_heavy(there)}
    assert not signs, signs
    root = os.geteuid() == 0 and not plain
    counts[f"attempts as {'root' if root else 'a plain user'}"] += len(ATTEMPTS) + len(HEAVY)
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    """Run the proof."""
    return prove("escapes", _BATCHES, batch, argv)


if __name__ == "__main__":
    sys.exit(main())
