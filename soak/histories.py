"""20,000 random histories with faults, crashes and cancels, each request rendered by all three
official templates.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from soak.proof import prove
from tests.agent.test_histories import histories
from tests.gemma4.official import FILES, TEMPLATES

_BATCHES = 100
_HISTORIES = 200


def batch(number: int) -> dict[str, int]:
    """So many histories, half of the batches on trio."""
    first = number * _HISTORIES
    backend = "trio" if number % 2 else "asyncio"
    requests = histories(backend, range(first, first + _HISTORIES), rendered=True)
    return {"histories": _HISTORIES, "requests, each valid under 3 templates": requests}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the proof; the templates must be there."""
    if not (TEMPLATES / FILES["large"]).is_file():
        print(f"no templates in {TEMPLATES}; AGENTKIT_TEMPLATES names their folder")
        return 1
    return prove("histories", _BATCHES, batch, argv)


if __name__ == "__main__":
    sys.exit(main())
