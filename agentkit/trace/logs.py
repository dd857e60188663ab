"""agentkit's own log lines: structlog on the caller's side, plain `logging` underneath.

Importing agentkit configures nothing. A program that uses `logging` sees the lines of the logger
`agentkit` with their fields in the text; one that formats with structlog's `ProcessorFormatter`
finds the fields in `record.agentkit`.
"""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType
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
    exc_info, told = _exception(event.pop("exc_info", None), event.pop("exception", ""))
    event = {key: _hidden(value) for key, value in event.items()}
    line = " ".join([text, *(f"{key}={value!r}" for key, value in event.items())])
    if told:
        line = f"{line}\n{told}"
    return (line,), {"exc_info": exc_info, "extra": {"agentkit": {"event": text, **event}}}


def _exception(given: object, text: str) -> tuple[object, str]:
    """What `logging` is to format of an exception, and what is formatted already.

    A traceback may hold a secret, in a line of code or in the exception's own words, and `logging`
    formats it after us: then it goes on as text.
    """
    if not given:
        return None, redacted(text.rstrip())
    error, frames = _shown(given)
    if error is None:
        return None, ""
    try:
        formatted = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    except Exception as broken:  # noqa: BLE001 - an exception's own text may raise
        return None, f"(a traceback that cannot be written: {type(broken).__name__})"
    hidden = redacted(formatted)
    return (given, "") if hidden == formatted else (None, hidden)


def _hidden(value: Any) -> Any:
    return redacted(value) if isinstance(value, str) else value


def _shown(given: object) -> tuple[BaseException | None, TracebackType | None]:
    """The exception that is meant, as `logging` takes it, and from where on it is shown."""
    if isinstance(given, tuple):
        _, error, frames = given
        return error, frames
    error = given if isinstance(given, BaseException) else sys.exc_info()[1]
    return error, None if error is None else error.__traceback__
