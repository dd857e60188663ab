"""Suites of agentkit's own beside `project`, with worlds in memory, whose state is graded."""

from agentkit_evals.own.context import context_suite
from agentkit_evals.own.faults import faults_suite
from agentkit_evals.own.schema import schema_suite
from agentkit_evals.own.tiny import tiny_suite

__all__ = ["context_suite", "faults_suite", "schema_suite", "tiny_suite"]
