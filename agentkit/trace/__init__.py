"""Observers of a run's events, and run files read back. OpenTelemetry is `agentkit.trace.otel`."""

from agentkit.trace.logs import get_logger
from agentkit.trace.recording import TraceError, find_run, parts_of, read_events, requests_of
from agentkit.trace.redaction import keep_secret, secret_headers, without_secrets
from agentkit.trace.runfile import RunFiles, runs_directory

__all__ = [
    "RunFiles",
    "TraceError",
    "find_run",
    "get_logger",
    "keep_secret",
    "parts_of",
    "read_events",
    "requests_of",
    "runs_directory",
    "secret_headers",
    "without_secrets",
]
