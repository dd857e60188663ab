"""Path operations against a process that swaps links, and every attempt to leave the sandbox."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from soak.proof import prove
from tests.tools.attempts import ATTEMPTS, HEAVY
from tests.tools.bare import effective_attempts
from tests.tools.escaping import NOBODY, as_user, try_all, try_heavy, world
from tests.tools.planting import as_user as planted_by
from tests.tools.planting import each, system_python, template, together, usable
from tests.tools.racing import race

_BATCHES = 50
_OPERATIONS = 10_000
_MEMORY = "/dev/shm"  # noqa: S108 - a write waits for its disk, and there are many
_PARTS = _BATCHES // 2
"""What is planted is tried once by root and once by a plain user, a part in each batch."""


def batch(number: int) -> dict[str, int]:
    """A race, a part of what can be planted, and in every fifth batch each attempt once.

    Every second batch works as a plain user, the others as this one, who may be root.
    """
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=_MEMORY if os.path.isdir(_MEMORY) else None) as folder:
        for name, count in race(Path(folder), _OPERATIONS, seed=number).items():
            counts[f"raced: {name}"] += count
    plain = number % 2 == 1 and os.geteuid() == 0
    user = "root" if os.geteuid() == 0 and not plain else "a plain user"
    counts[f"planted by {user}: 0 of it ran outside"] += _planted(number, plain, counts)
    if number % 5 == 0:
        counts[f"attempts as {user}: 0 escapes"] += _attempts(plain)
    if number == 0 and os.geteuid() == 0:
        counts["different attempts shown to work without the sandbox"] += len(effective_attempts())
    return counts


def _planted(number: int, plain: bool, counts: Counter[str]) -> int:
    """Tries a part of the plants; the first time each is also carried out without the sandbox."""
    with template() as made:
        part = usable(made)[number // 2 :: _PARTS]
        if number % 2 == 0:
            shown = each(made, part, within=False)
            assert set(shown) == {plant.name for plant in part}, f"only {sorted(shown)} work at all"
            counts["different plants shown to run outside without the sandbox"] += len(shown)
        if not plain:
            ran = together(made, part)
        else:
            ran = planted_by(NOBODY, part) if system_python() else []
    assert not ran, ran
    return 0 if plain and not system_python() else len(part)


def _attempts(plain: bool) -> int:
    if plain:
        signs = as_user(NOBODY, "--each")
    else:
        with tempfile.TemporaryDirectory() as folder, world(Path(folder) / "world") as there:
            signs = {**try_all(there, ATTEMPTS), **try_heavy(there)}
    assert not signs, signs
    return len(ATTEMPTS) + len(HEAVY)


if __name__ == "__main__":
    sys.exit(prove("escapes", _BATCHES, batch))
