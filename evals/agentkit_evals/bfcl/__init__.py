"""The Berkeley Function-Calling Leaderboard, graded by its own package in child processes."""

from agentkit_evals.bfcl.install import VERSION, install, installed_folder
from agentkit_evals.bfcl.memory import MEMORY, BfclMemorySuite
from agentkit_evals.bfcl.single import SINGLE, BfclSingleSuite
from agentkit_evals.bfcl.suite import CATEGORIES, BfclSuite
from agentkit_evals.core import EvalError, Suite

__all__ = [
    "CATEGORIES",
    "MEMORY",
    "SINGLE",
    "VERSION",
    "BfclMemorySuite",
    "BfclSingleSuite",
    "BfclSuite",
    "bfcl_suite",
    "install",
    "installed_folder",
]


def bfcl_suite(category: str = "multi_turn_base") -> Suite:
    """The suite of a category, as upstream calls it.

    Raises:
        EvalError: There is none.
    """
    if category in SINGLE:
        return BfclSingleSuite(category)
    if category == MEMORY:
        return BfclMemorySuite()
    if category.removeprefix("multi_turn_") in CATEGORIES:
        return BfclSuite(category)
    known = ", ".join([*(f"multi_turn_{name}" for name in CATEGORIES), *SINGLE, MEMORY])
    raise EvalError(f"BFCL has no category {category!r} here; there are {known}")
