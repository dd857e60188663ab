"""Kills runs and the Postgres server that keeps them; what became of every call is judged as for a
file (`tests.journal.crashing`).

`python -m tests.journal.crashing_servers SEED RUNS` prints its counts as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from agentkit.journal.postgres import migrate
from tests.journal.crashing import POINTS, SERVER, Case, play, race
from tests.postgres import Server

_CALLS = 20


def batch(seed: int, runs: int) -> dict[str, int]:
    """Plays so many runs of twenty calls, kept by one server: the server of the first is killed,
    the second dies at a named point, the rest at random; then there is a race for one more.
    """
    counts: Counter[str] = Counter()
    with Server() as server:
        migrate(server.url())
        for number in range(runs + 1):
            with tempfile.TemporaryDirectory() as folder:
                case = Case(Path(folder), seed * 1000 + number, _CALLS, server=server.url())
                if number == runs:
                    counts += race(replace(case, pace=0.02))
                elif number == 0:
                    counts += play(case, (SERVER, "", ""), server)
                elif number == 1:
                    counts += play(case, (POINTS[seed % len(POINTS)],) * 2)
                else:
                    counts += play(case, ("", "", ""))
    return dict(counts)


if __name__ == "__main__":
    first, how_many = sys.argv[1:]
    sys.stdout.write(json.dumps(batch(int(first), int(how_many))))
