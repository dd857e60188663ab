"""The Berkeley Function-Calling Leaderboard's multi-turn categories as suites."""

from agentkit_evals.bfcl.install import VERSION, install, installed_folder
from agentkit_evals.bfcl.suite import CATEGORIES, BfclSuite

__all__ = ["CATEGORIES", "VERSION", "BfclSuite", "install", "installed_folder"]
