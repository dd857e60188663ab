"""Every exception that agentkit raises.

```
AgentKitError
├─ ModelError                 the server or the wire
│  ├─ ModelConnectionError    retried
│  ├─ ModelTimeoutError       retried
│  ├─ ModelStatusError        .status_code; 429 and 5xx retried, other 4xx not
│  ├─ ModelProtocolError      a stream without a finish reason, broken compression; retried
│  │  ├─ ModelUnreadableError        no chat completion, in the server's words; retried for a moment
│  │  └─ ModelResponseTooLargeError  more bytes than the client takes; not retried
│  └─ ContextWindowError      the newest exchange alone does not fit
├─ ToolDefinitionError        the programmer's mistake, raised where the tool is registered
├─ NoAnswerError              `RunResult.output` of a run that came to none
├─ JournalError               an intent could not be made durable: the tool did not start
└─ ServerNotReadyError        with the sentence that says what to do
ToolError                     raised BY tools; never leaves the executor
```

What a model does wrong (an unknown tool, bad JSON, a schema violation, a cut reply) is data,
a `ToolResult` with a kind, and reaching a limit is a `RunResult` with a stop reason.
Neither is ever an exception.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from agentkit.redaction import redacted

__all__ = [
    "AgentKitError",
    "ContextWindowError",
    "JournalError",
    "ModelConnectionError",
    "ModelError",
    "ModelProtocolError",
    "ModelResponseTooLargeError",
    "ModelStatusError",
    "ModelTimeoutError",
    "ModelUnreadableError",
    "NoAnswerError",
    "RunAtWorkError",
    "ServerNotReadyError",
    "ToolDefinitionError",
    "ToolError",
]


class AgentKitError(Exception):
    """Base of everything agentkit raises on purpose; its text holds no registered secret.

    Attributes:
        result: The `RunResult` of the run that it ended, with all that was done until then.
    """

    result: Any = None

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(redacted(a) if isinstance(a, str) else a for a in arguments))


class ModelError(AgentKitError):
    """The model server, or the wire to it, failed."""


class ModelConnectionError(ModelError):
    """No connection, or one that broke. Retried within the wall-time budget."""


class ModelTimeoutError(ModelError):
    """One of the four clocks (connect, first event, idle, total) ran out."""


class ModelStatusError(ModelError):
    """The server answered with an HTTP status that is not 200.

    Attributes:
        status_code: The HTTP status.
        retry_after: Seconds the server asked to wait, where it said so in a usable form.
    """

    def __init__(self, message: str, *, status_code: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Callable[[str], ModelStatusError], tuple[str], dict[str, Any]]:
        """Pickles, which an exception with keyword arguments does not by itself."""
        make = partial(type(self), status_code=self.status_code, retry_after=self.retry_after)
        return make, (str(self),), self.__dict__


class ModelProtocolError(ModelError):
    """The reply is not what the protocol allows: bad SSE, bad JSON, or no finish reason."""


class ModelUnreadableError(ModelProtocolError):
    """What came is no chat completion; the message holds the server's own words.

    Most often the same question brings the same answer, so it is asked again for a moment only, as
    a proxy may show a page of its own in passing.
    """


class ModelResponseTooLargeError(ModelProtocolError):
    """The server sent more than `max_response_bytes`; the same question would bring as much again,
    so it is not retried.
    """


class ContextWindowError(ModelError):
    """The prompt does not fit the model's window and nothing more can be left out."""


class NoAnswerError(AgentKitError):
    """A run of an agent with an `output_type` ended without an answer, and it was asked for.

    Attributes:
        stop_reason: Why the run ended.
    """

    def __init__(self, stop_reason: str, explanation: str = "") -> None:
        why = f": {explanation}" if explanation else ""
        super().__init__(
            f"the run has no output, it ended by {stop_reason!r}{why}. Look at "
            "RunResult.stop_reason before .output; .said is what there is of a text"
        )
        self.stop_reason = stop_reason
        self._given = (stop_reason, explanation)

    def __reduce__(self) -> tuple[type[NoAnswerError], tuple[str, str], dict[str, Any]]:
        """Pickles by what it was made of, not by its text."""
        return type(self), self._given, self.__dict__


class ToolDefinitionError(AgentKitError):
    """A function cannot become a tool; the message names it, the parameter and the remedy."""


class JournalError(AgentKitError):
    """An intent could not be made durable, so the tool was not started."""


class RunAtWorkError(JournalError):
    """A run cannot be taken over: its owner is alive, as far as can be known."""


class ServerNotReadyError(AgentKitError):
    """The server cannot do what the run needs; the message says what to change."""


class ToolError(AgentKitError):
    """Raise this in a tool to tell the model what went wrong.

    Args:
        message: What the model reads. Say what to do instead, if you know.
        retry: True when the same call may succeed if tried again at once; the executor then
            uses the tool's own retries before it tells the model.
    """

    def __init__(self, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.retry = retry
