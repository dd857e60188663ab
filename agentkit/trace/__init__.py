"""Observers of a run's events, and run files read back. OpenTelemetry is `agentkit.trace.otel`."""

from agentkit.logs import get_logger
from agentkit.redaction import keep_secret, secret_headers, without_secrets
from agentkit.trace.library import RunSummary, find_run, run_files, summary_of
from agentkit.trace.printable import printable
from agentkit.trace.recording import (
    Part,
    Ran,
    Step,
    TraceError,
    parts_of,
    read_events,
    requests_of,
)
from agentkit.trace.runfile import RunFiles, runs_directory

__all__ = [
    "Part",
    "Ran",
    "RunFiles",
    "RunSummary",
    "Step",
    "TraceError",
    "find_run",
    "get_logger",
    "keep_secret",
    "parts_of",
    "printable",
    "read_events",
    "requests_of",
    "run_files",
    "runs_directory",
    "secret_headers",
    "summary_of",
    "without_secrets",
]
