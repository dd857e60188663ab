"""Observers of a run's events: log lines and the run file."""

from agentkit.trace.logs import get_logger
from agentkit.trace.runfile import RunFiles, runs_directory

__all__ = ["RunFiles", "get_logger", "runs_directory"]
