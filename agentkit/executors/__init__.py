"""Where tool calls run: the `Executor` protocol, its kinds, and wrappers around any of them."""

from agentkit.executors.base import (
    Executor,
    JournaledExecutor,
    LocalExecutor,
    RecordedResults,
    RetryingExecutor,
    RoutingExecutor,
    ends_this_task,
)
from agentkit.executors.process import ProcessExecutor

__all__ = [
    "Executor",
    "JournaledExecutor",
    "LocalExecutor",
    "ProcessExecutor",
    "RecordedResults",
    "RetryingExecutor",
    "RoutingExecutor",
    "ends_this_task",
]
