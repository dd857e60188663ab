"""Every way in which `tests/mcp_servers/hostile.py` misbehaves: 0 runs lost, 0 tools mistaken."""

from __future__ import annotations

import functools
import sys
from collections import Counter

import anyio

from soak.proof import prove
from tests.mcp_hostility import faults_of, run_against
from tests.mcp_servers.hostile import NAMES


def batch(number: int) -> dict[str, int]:
    """One server, from its start to the end of a run."""
    name = NAMES[number]
    seen = anyio.run(functools.partial(run_against, name, timeout=10.0))
    wrong = faults_of(name, seen)
    assert not wrong, f"{name}: {'; '.join(wrong)}"
    counts: Counter[str] = Counter(servers=1)
    counts["runs answered"] += seen.result.stop_reason == "answer"
    counts["calls that the server answered"] += not seen.answers[0].startswith("Error")
    counts["calls that failed in words"] += seen.answers[0].startswith("Error")
    counts["calls of another tool by the name"] += (
        name in ("another tool by the name", "tool taken away") and seen.answers[0] == "hello"
    )
    return counts


if __name__ == "__main__":
    sys.exit(prove("mcp_hostile", len(NAMES), batch))
