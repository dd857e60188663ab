"""What the model reads when a call brought no value; the same words from every executor."""

from __future__ import annotations

from agentkit.errors import ToolError
from agentkit.messages import ToolResult
from agentkit.schema.phrases import many
from agentkit.toolset import ValidatedCall, result_content

__all__ = ["failed", "lost", "timed_out"]

_MOST_ERROR_TEXT = 4_000
"""Characters: a traceback's worth. What matters stands at the beginning and the end."""


def failed(call: ValidatedCall, error: BaseException) -> ToolResult:
    """The result of a call that raised: a tool's own words, or the kind of the bug too."""
    try:
        words = str(error)
    except Exception:  # noqa: BLE001 - an exception's own text may raise
        words = "(it has no text)"
    if not isinstance(error, ToolError):
        words = f"{type(error).__name__}: {words}".removesuffix(": ")
    text = result_content(f"Error: {words}", cap=_MOST_ERROR_TEXT)
    retry = isinstance(error, Exception) and (not isinstance(error, ToolError) or error.retry)
    return ToolResult(call.call.id, text, is_error=True, kind="error", retry=retry)


def timed_out(call: ValidatedCall, *, ended: bool) -> ToolResult:
    """The result of a call whose time was over.

    Args:
        call: The call.
        ended: Whether its work certainly ended with it.
    """
    within = many(call.tool.timeout or 0, "second")
    text = f"Error: {call.tool.name} did not finish within {within}."
    if not ended:
        text += " It may still complete: check before you call it again."
    return ToolResult(call.call.id, text, is_error=True, kind="timeout")


def lost(call: ValidatedCall, what: str) -> ToolResult:
    """The result of a call whose outcome nobody knows.

    Args:
        call: The call.
        what: Happened, as the beginning of a sentence: "the process died".
    """
    text = (
        f"Error: {what} while {call.tool.name} was running. "
        "It may or may not have taken effect: check before you call it again."
    )
    return ToolResult(call.call.id, text, is_error=True, kind="unknown", retry=True)
