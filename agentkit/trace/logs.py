"""agentkit's own log lines: structlog on the caller's side, plain `logging` underneath.

Importing agentkit configures nothing. A program that uses `logging` sees the lines of the logger
`agentkit` with their fields in the text; one that formats with structlog's `ProcessorFormatter`
finds the fields in `record.agentkit`.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from agentkit.redaction import redacted

__all__ = ["get_logger"]


def get_logger() -> structlog.stdlib.BoundLogger:
    """The logger of this library, whatever structlog itself is configured to do."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger("agentkit"),
        processors=[structlog.stdlib.filter_by_level, _to_record],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


def _to_record(
    _logger: WrappedLogger, _method: str, event: EventDict
) -> tuple[tuple[str], dict[str, Any]]:
    """Event and fields as the arguments of a `logging` call."""
    text = redacted(str(event.pop("event", "")))
    exc_info = event.pop("exc_info", None)
    event = {key: _hidden(value) for key, value in event.items()}
    line = " ".join([text, *(f"{key}={value!r}" for key, value in event.items())])
    return (line,), {"exc_info": exc_info, "extra": {"agentkit": {"event": text, **event}}}


def _hidden(value: Any) -> Any:
    return redacted(value) if isinstance(value, str) else value
