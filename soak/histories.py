"""20,000 random histories with faults, crashes and cancels, each request rendered by all three
official templates.
"""

from __future__ import annotations

import sys

from soak.proof import prove
from soak.templates import require_templates
from tests.agent.test_histories import histories

_BATCHES = 100
_HISTORIES = 200


def batch(number: int) -> dict[str, int]:
    """So many histories, half of the batches on trio."""
    first = number * _HISTORIES
    backend = "trio" if number % 2 else "asyncio"
    requests = histories(backend, range(first, first + _HISTORIES), rendered=True)
    return {"histories": _HISTORIES, "requests, each valid under 3 templates": requests}


if __name__ == "__main__":
    require_templates()
    sys.exit(prove("histories", _BATCHES, batch))
