"""2,000 damages to journals of runs that died, each judged by what was recorded before; and 50,000
mutated records, which may only be read or refused.

Every loss is to be told unless journal and witness are damaged both, no whole record is to be
called lost, and no recorded call may begin again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from soak.proof import prove
from tests.journal.damaging import batch as damages
from tests.journal.mutating import entries, lines

_DAMAGES = 75
_RUNS = 2
_MUTATIONS = 50
_ENTRIES, _LINES = 900, 100


def part(number: int) -> dict[str, int]:
    """Two runs, each damaged in fourteen ways, or a thousand mutated records."""
    if number < _DAMAGES:
        return damages(number, _RUNS)
    with tempfile.TemporaryDirectory() as folder:
        counts = entries(number, _ENTRIES) + lines(Path(folder), number, _LINES)
    return {f"mutated records {what}": count for what, count in counts.items()}


if __name__ == "__main__":
    sys.exit(prove("losses", _DAMAGES + _MUTATIONS, part))
