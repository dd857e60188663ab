"""Where tool calls run: the `Executor` protocol, its kinds, and wrappers around any of them."""

from agentkit.executors.base import Executor
from agentkit.executors.journaled import JournaledExecutor
from agentkit.executors.local import LocalExecutor
from agentkit.executors.outcome import ends_this_task
from agentkit.executors.process import ProcessExecutor
from agentkit.executors.retrying import RetryingExecutor
from agentkit.executors.routing import RoutingExecutor

__all__ = [
    "Executor",
    "JournaledExecutor",
    "LocalExecutor",
    "ProcessExecutor",
    "RetryingExecutor",
    "RoutingExecutor",
    "ends_this_task",
]
