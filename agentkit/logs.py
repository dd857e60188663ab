"""agentkit's own log lines: structlog on the caller's side, plain `logging` underneath.

Importing agentkit configures nothing. A program that uses `logging` sees the lines of the logger
`agentkit` with their fields in the text; one that formats with structlog's `ProcessorFormatter`
finds the fields in `record.agentkit`.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from agentkit.redaction import redacted, without_secrets


def get_logger(name: str = "agentkit") -> structlog.stdlib.BoundLogger:
    """The logger of this library, whatever structlog itself is configured to do.

    Args:
        name: The name of the `logging` logger: `agentkit`, or one below it.
    """
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
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
    exc_info, written = event.pop("exc_info", None), str(event.pop("exception", "")).rstrip()
    event = {key: _hidden(value) for key, value in event.items()}
    line = " ".join([text, *(f"{key}={value!r}" for key, value in event.items())])
    if exc_info and (told := _traceback(exc_info)) != redacted(told):
        line, exc_info = f"{line}\n{redacted(told)}", None
    if written:  # of an exception that was raised elsewhere
        line = f"{line}\n{written}"
    return (redacted(line),), {
        "exc_info": exc_info,
        "extra": {"agentkit": {"event": text, **event}},
    }


def _hidden(value: Any) -> Any:
    """The value without secrets; of an object of any other kind what can be shown of it."""
    match value:
        case str():
            return redacted(value)
        case bytes():
            return without_secrets(value)
        case dict():
            return {_hidden(key): _hidden(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_hidden(inner) for inner in value]
        case set() | frozenset():
            return {_hidden(inner) for inner in value}
        case _:
            told = repr(value)
            hidden = redacted(told)
            return value if told == hidden else hidden


def _traceback(exc_info: Any) -> str:
    """What `logging` would write of it."""
    error = sys.exc_info()[1] if exc_info is True else exc_info
    error = error[1] if isinstance(error, tuple) else error
    try:
        return "" if error is None else "".join(traceback.format_exception(error))
    except Exception as broken:  # noqa: BLE001 - an exception's own text may raise
        return f"(a traceback that cannot be written: {type(broken).__name__})"
