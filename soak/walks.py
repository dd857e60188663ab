"""100,000 random walks through xgrammar over the tools of real MCP servers: every call valid."""

from __future__ import annotations

import sys
from functools import cache

from soak.proof import prove
from tests.gemma4.matcher import Matcher, matcher
from tests.gemma4.walks import walked
from tests.mcp_corpus import load

_BATCHES = 1_000
_WALKS = 100


def batch(number: int) -> dict[str, int]:
    """A hundred walks through one tool; tool after tool."""
    tools = load()
    return dict(walked(tools[number % len(tools)], _process(), _WALKS, number))


@cache
def _process() -> Matcher:
    # It ends with the process of this proof, whose end closes its standard input.
    return matcher("real").__enter__()


if __name__ == "__main__":
    sys.exit(prove("walks", _BATCHES, batch))
