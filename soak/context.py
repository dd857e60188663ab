"""10,000 random conversations that outgrow their windows, against every promise of the window.

Strategies, pins and summaries are among what is drawn, and at some point of each a second window
goes on from the record. 2,000 of them are rendered under three official templates.
"""

from __future__ import annotations

import sys
from collections import Counter

from soak.proof import prove
from soak.templates import require_templates
from tests.agent.test_histories import rendered_check
from tests.context.histories import check_history

_BATCHES = 200
_HISTORIES = 50
_RENDERED = 10
"""Of each batch, so many are rendered by all three official templates too."""


def batch(number: int) -> dict[str, int]:
    """So many conversations, all promises checked at each request."""
    counts: Counter[str] = Counter()
    for seed in range(number * _HISTORIES, (number + 1) * _HISTORIES):
        if seed % _HISTORIES < _RENDERED:
            counts += check_history(seed, rendered_check)
            counts["histories rendered by 3 templates"] += 1
        else:
            counts += check_history(seed)
    return counts


if __name__ == "__main__":
    require_templates()
    sys.exit(prove("context", _BATCHES, batch))
