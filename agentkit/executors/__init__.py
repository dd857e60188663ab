"""Where tool calls run: the `Executor` protocol and its kinds."""

from agentkit.executors.base import Executor
from agentkit.executors.local import LocalExecutor

__all__ = ["Executor", "LocalExecutor"]
