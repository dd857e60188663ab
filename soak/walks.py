"""100,000 random walks through xgrammar over the tools of real MCP servers: every call valid."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import cache

from soak.proof import prove
from tests.gemma4.matcher import Matcher, matcher
from tests.gemma4.walks import walked
from tests.mcp_corpus import load

_BATCHES = 1_000
_WALKS = 100
_open = ExitStack()  # what it holds ends with this process, whose end closes its standard input


def batch(number: int) -> dict[str, int]:
    """A hundred walks through one tool; tool after tool."""
    tools = load()
    return dict(walked(tools[number % len(tools)], _process(), _WALKS, number))


@cache
def _process() -> Matcher:
    return _open.enter_context(matcher("real"))


if __name__ == "__main__":
    sys.exit(prove("walks", _BATCHES, batch))
