"""Every tool of the corpus in six drafts, named and not: read, shown, called right and wrong."""

from __future__ import annotations

import sys

from soak.proof import prove
from tests.mcp_corpus import load
from tests.schema.forms import check_tool

_CALLS = 12


def batch(number: int) -> dict[str, int]:
    """One tool."""
    return check_tool(number, _CALLS)


if __name__ == "__main__":
    sys.exit(prove("drafts", len(load()), batch))
